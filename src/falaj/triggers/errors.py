"""What can go wrong with triggers; below the one root."""

from __future__ import annotations

from falaj.core.errors import Conflict, Forbidden


class NobodyActs(Forbidden):
    """A trigger names nobody who may act for it."""

    code = "trigger_actor"


class TakenOver(Conflict):
    """Another process carries out this start by now."""

    code = "start_taken_over"


class NothingRegistered(Conflict):
    """A run that a trigger started registered no version of the model that it should propose."""

    code = "nothing_registered"
