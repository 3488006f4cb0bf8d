"""Reading a project's `features.py`: imported in a process of its own, which prints what it defines.

    python -m falaj.features.define features.py

See `telling` for how.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from falaj.core.encoding import decode
from falaj.features.definitions import FeatureService, FeatureView
from falaj.features.errors import FeatureInvalid
from falaj.features.records import Service, View
from falaj.features.telling import imported, tell, told_by


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """What a file defines."""

    views: tuple[View, ...] = ()
    services: tuple[Service, ...] = ()


def defined_in(file: Path) -> Definitions:
    """The views and services that a file's top level names, read in another process.

    Raises: FeatureInvalid where the file fails, takes longer than a minute, or names two things alike.
    """
    told = told_by(file, "falaj.features.define", FeatureInvalid)
    return checked(decode(told, Definitions, file.name))


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
    tell(collect(vars(imported(Path(file).resolve(), "features"))))


if __name__ == "__main__":
    main(sys.argv[1])
