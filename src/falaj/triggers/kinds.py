"""The kind of this room: `trigger`. A file holds several; each is in force while its `main` holds a version."""

from __future__ import annotations

from falaj.store.kinds import Kind
from falaj.triggers.records import Trigger, parse_trigger

TRIGGER = Kind(
    "trigger",
    Trigger,
    config=True,
    folder="triggers.yaml",
    several=True,
    parse=parse_trigger,
    project_fields=lambda trigger: {"start": trigger.start, "propose": trigger.propose or None},
)
