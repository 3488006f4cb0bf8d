"""Starts of triggers: noted once for each cause, begun once, and carried to their end whoever dies on the way."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from falaj.core.encoding import decode
from falaj.core.entries import Entry
from falaj.core.records import Record
from falaj.store.metadata import Transaction
from falaj.store.metadata.queries import queries
from falaj.store.metadata.tables import Table
from falaj.store.unit import Unit

SQL = queries("triggers")
MOST = 1_000_000
StartState = Literal["met", "due", "running", "done", "refused", "failed", "covered"]


class Start(Record, frozen=True, kw_only=True):
    """What one cause of one trigger came to.

    Attributes:
        trigger: id of the trigger's asset.
        entry: id of the entry that is the cause; (trigger, entry) is unique, so no cause starts anything twice.
        number: 1, 2, … in the order in which the trigger's causes were noted.
        version: of the trigger, as it was in force when the cause was noted, and from the first attempt on as it was
            then.
        conditions: those that the entry meets; none for a start that a person asked for.
        state: `met`: it waits for the other conditions of an `all`; `due`: it waits to begin; `covered`: another start
            stands for it.
        covered_by: entry of the start that stands for it.
        owner: the process that carries it out, as runs have it.
        attempt: how often it was begun; only the newest attempt may change the row.
        pipeline, params: what is run, with the versions that were in force when it first began.
        runs: of the pipeline, oldest first; more than one where a process died.
        registered: the version that came out, `model/delay:7`.
        promotion: the run that judged it.
        outcome: what became of that version.
    """

    trigger: str
    entry: str
    project: str
    number: int
    version: int
    conditions: tuple[str, ...]
    state: StartState
    noted_at: str
    covered_by: str | None = None
    owner: str = ""
    attempt: int = 0
    began_at: str | None = None
    ended_at: str | None = None
    pipeline: str = ""
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    runs: tuple[str, ...] = ()
    registered: str = ""
    promotion: str = ""
    outcome: dict[str, Any] = msgspec.field(default_factory=dict)
    error: dict[str, Any] | None = None


class Cursor(Record, frozen=True, kw_only=True):
    """How far a trigger has read: every leaf before `leaf`. `lease_until`: whoever works on a start says so again."""

    trigger: str
    leaf: int
    lease_until: str = ""


class Leaf(msgspec.Struct, frozen=True):
    """An entry with its leaf number."""

    number: int
    entry: Entry


START = Table("trigger_start", Start, ("trigger", "entry"), governed=True)
CURSOR = Table("trigger_cursor", Cursor, ("trigger",))


def unread(tx: Transaction, project: str, start: int, stop: int, limit: int) -> list[Leaf]:
    """Entries from leaf `start` up to before `stop` that may be a cause, in their order."""
    params = {"project": project, "start": start, "stop": stop, "limit": limit}
    return [Leaf(int(row[0]), decode(bytes(row[1]), Entry, "entry")) for row in tx.rows(SQL["unread"], params)]


def next_number(tx: Transaction, trigger: str) -> int:
    """The number of the next start; the caller holds the lock of the trigger's asset."""
    row = tx.row(SQL["last_number"], {"trigger": trigger})
    return 1 + (int(row[0]) if row and row[0] is not None else 0)


def in_state(tx: Transaction, trigger: str, state: StartState, *, limit: int = MOST) -> list[Start]:
    """Starts in a state, oldest first."""
    params = {"trigger": trigger, "state": state}
    return START.where(tx, "trigger = :trigger AND state = :state ORDER BY number", params, limit=limit)


def newest(tx: Transaction, trigger: str, limit: int) -> list[Start]:
    """The newest starts, newest first."""
    return START.where(tx, "trigger = :trigger ORDER BY number DESC", {"trigger": trigger}, limit=limit)


def read_on(tx: Transaction, trigger: str, leaf: int) -> None:
    """Remember how far a trigger has read: every leaf before `leaf`. Its lease stays as it is."""
    tx.run(SQL["read_on"], {"trigger": trigger, "leaf": leaf})


def lease(tx: Transaction, cursor: Cursor) -> None:
    """A start of a trigger begins, or goes on. The caller holds the lock of the trigger's asset."""
    tx.run(CURSOR.upsert_sql, CURSOR.params(cursor))


def current(tx: Transaction, start: Start) -> Start | None:
    """The row of a start as it is now, locked; None where another attempt carries it out by now, or it has ended."""
    now = START.get(tx, start.trigger, start.entry, lock=True)
    return now if now is not None and now.state == "running" and now.attempt == start.attempt else None


def renew_lease(tx: Transaction, start: Start, until: str) -> bool:
    """Whoever carries out a start says that they are still at it; False, and nothing changes, where others are."""
    if current(tx, start) is None:
        return False
    tx.run(SQL["renew_lease"], {"trigger": start.trigger, "until": until})
    return True


def change(unit: Unit, start: Start, **changes: Any) -> Start:
    """The start with other values, as a row. The caller says the entry."""
    return unit.put(START, msgspec.structs.replace(start, **changes))
