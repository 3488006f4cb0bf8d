"""Reading a project's `features.py`: imported in a process of its own, which prints what it defines.

    python -m falaj.features.define features.py

The definitions come back as JSON on the last line of the output, so that a `print` in the file does no harm. Nothing of
the person's code runs in the process of a store or server.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from falaj.core.encoding import decode
from falaj.features.definitions import FeatureService, FeatureView
from falaj.features.errors import FeatureInvalid
from falaj.features.records import Service, View

TIMEOUT_S = 60
MARK = "falaj-definitions "


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """What a file defines."""

    views: tuple[View, ...] = ()
    services: tuple[Service, ...] = ()


def defined_in(file: Path) -> Definitions:
    """The views and services that a file's top level names, read in another process.

    Raises: FeatureInvalid where the file fails, takes longer than a minute, or names two things alike.
    """
    command = [sys.executable, "-m", "falaj.features.define", str(file)]
    try:
        done = subprocess.run(  # noqa: S603  this interpreter on the person's own file
            command,
            cwd=file.parent,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except subprocess.TimeoutExpired:
        raise FeatureInvalid(
            f"{file.name}: not read within {TIMEOUT_S} s", next_step="define, and do no work"
        ) from None
    told = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not told:
        last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise FeatureInvalid(f"{file.name}: {last[0][:300]}", next_step=f"python {file.name} shows where")
    return checked(decode(told[-1].removeprefix(MARK), Definitions, file.name))


def checked(definitions: Definitions) -> Definitions:
    """Raises: FeatureInvalid where two are named alike, or a service takes from a view that is not there."""
    names = [view.view for view in definitions.views] + [service.service for service in definitions.services]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise FeatureInvalid(f"{twice[0]}: defined twice", next_step="give each view and service a name of its own")
    known = {view.view for view in definitions.views}
    for service in definitions.services:
        missing = [name for name in service.views if name not in known]
        if missing:
            raise FeatureInvalid(
                f"feature service {service.service}: no view {missing[0]}", next_step="define it in the same file"
            )
    return definitions


def collect(names: dict[str, Any]) -> Definitions:
    """What a module's names hold: every view and service, each once."""
    values = list({id(value): value for value in names.values()}.values())
    return Definitions(
        views=tuple(value.record for value in values if isinstance(value, FeatureView)),
        services=tuple(value.record for value in values if isinstance(value, FeatureService)),
    )


def main(file: str) -> None:
    """Import the file and print what it defines."""
    path = Path(file).resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("features", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path.name}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["features"] = module
    spec.loader.exec_module(module)
    sys.stdout.write("\n" + MARK + msgspec.json.encode(collect(vars(module))).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
