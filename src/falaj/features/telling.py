"""A person's file of definitions, imported in a process of its own that tells what it defines.

Nothing of the person's code runs in the process of a store or server. What is told is JSON on the last line of the
output, after a mark, so that a `print` in the file does no harm. Features and pipelines are read by it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import msgspec

from falaj.core.errors import Invalid

TIMEOUT_S = 60
MARK = "falaj-definitions "
_OURS = re.compile(r"falaj\.[\w.]+: ")
_FRAME = re.compile(r'^  File "([^"]+)", line (\d+)', re.MULTILINE)


def told_by(file: Path, module: str, wrong: type[Invalid]) -> str:
    """What `python -m MODULE FILE` tells of a file, by `tell`.

    Args:
        wrong: raised where the file fails, tells nothing, or takes longer than a minute.
    """
    try:
        done = subprocess.run(  # noqa: S603  this interpreter on the person's own file
            [sys.executable, "-m", module, str(file)],
            cwd=file.parent,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except subprocess.TimeoutExpired:
        raise wrong(f"{file.name}: not read within {TIMEOUT_S} s", next_step="define, and do no work") from None
    told = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not told:
        last = "".join(done.stderr.strip().splitlines()[-1:]) or "it ended without a word"
        ours = _OURS.match(last)  # what Falaj refuses says so itself; what Python does begins with its sort
        last = last[ours.end() :] if ours else last
        where = _place(done.stderr, file)
        raise wrong(f"{where or file.name}: {last[:300]}", next_step=f"python {file.name} shows more")
    return told[-1].removeprefix(MARK)


def _place(errors: str, file: Path) -> str:
    """The last line of the person's own code that a traceback goes through, `features/late.py:31`; "" for none."""
    own = f"{file.resolve().parent}{os.sep}"
    found = [(path, line) for path, line in _FRAME.findall(errors) if path.startswith(own)]
    return f"{found[-1][0].removeprefix(own)}:{found[-1][1]}" if found else ""


def imported(path: Path, name: str) -> ModuleType:
    """The file as the module of that name; its folder is where it imports from. Raises: whatever the file raises."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path.name}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def tell(told: msgspec.Struct) -> None:
    """The last line of such a process."""
    sys.stdout.write("\n" + MARK + msgspec.json.encode(told).decode() + "\n")
