"""What the operations on triggers answer."""

from __future__ import annotations

from typing import Any

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the answers."""


class StartView(View, frozen=True, kw_only=True):
    """A start of a trigger, as people read it.

    Attributes:
        cause: id of the entry that is its cause; `cause_entry`: that entry's number.
        conditions: those that the cause meets; none where a person fired it.
        state: `met`, `due`, `running`, `done`, `refused`, `failed`, `covered`; `rests`: it waits for its next attempt.
        covered_by: number of the start that stands for it.
        runs: of the pipeline, oldest first.
        registered: the version that came out.
        became: what became of it: `promote`, `proposed`, `rollout`, `unchanged`, …; "" while nothing has.
        proposal, rollout: by which it goes on; `stands`: how that one is now.
        verdicts: of the gates that judged it.
    """

    trigger: str
    number: int
    cause: str
    cause_entry: int | None
    conditions: tuple[str, ...]
    state: str
    noted_at: str
    began_at: str | None
    ended_at: str | None
    attempt: int
    covered_by: int | None
    pipeline: str
    params: dict[str, Any]
    runs: tuple[str, ...]
    registered: str
    became: str
    proposal: str | None
    rollout: str | None
    stands: str
    verdicts: tuple[str, ...]
    error: dict[str, Any] | None


class TriggerView(View, frozen=True, kw_only=True):
    """A trigger in force, and its newest starts.

    Attributes:
        needs: `any` or `all` of the conditions.
        acts_as: the service that acts on a server; "" for the operating-system user.
        read: every entry before this number was read.
        causes: entries not read yet that are causes, as far as one look goes.
        lag: how many entries were not read yet.
        due: a start may begin or go on now.
        absent: what it waits for or starts, and is not there.
    """

    trigger: str
    version: int
    needs: str
    conditions: tuple[str, ...]
    start: str
    params: dict[str, Any]
    propose: str
    acts_as: str
    starts: str
    paused: bool
    read: int
    lag: int
    causes: int
    due: bool
    absent: tuple[str, ...]
    history: tuple[StartView, ...]


class Ticked(View, frozen=True, kw_only=True):
    """What a look at the ledger found. `more`: there is more to read than one look takes."""

    trigger: str
    noted: tuple[StartView, ...]
    more: bool
    entry_id: str = ""
    entry: int | None = None


class Started(View, frozen=True, kw_only=True):
    """What a start came to; `outcome` is None where nothing was due, or somebody else carries it out."""

    trigger: str
    outcome: StartView | None
    entry_id: str = ""
    entry: int | None = None
