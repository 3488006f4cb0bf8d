"""Pure rules of triggers: what is a cause, which start begins, when one that was left alone is taken up again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from falaj.core.encoding import parse_moment
from falaj.core.entries import Entry
from falaj.store.triggers import Start
from falaj.triggers.records import Condition, Trigger

LEASE: Final = timedelta(minutes=10)
AT_ONCE: Final = 3
"""So many attempts follow one another at once; then longer and longer pauses."""
LONGEST_PAUSE_S: Final = 600

_WHAT: Final[Mapping[str, str]] = {"drift": "drift.found", "score": "score.fell", "new_version": "ref.moved"}


def conditions_met(conditions: Mapping[Condition, str], entry: Entry) -> tuple[Condition, ...]:
    """The conditions that an entry meets.

    A ref that was rolled back holds nothing new, so it is no cause; nor is a move of another ref of the asset.

    Args:
        conditions: each with the id of its asset; one whose asset is not there yet is left out.
    """
    return tuple(condition for condition, asset in conditions.items() if _meets(condition, asset, entry))


def _meets(condition: Condition, asset: str, entry: Entry) -> bool:
    if entry.what != _WHAT[condition.sort]:
        return False
    if condition.sort == "new_version":
        moved = f"{asset}/{condition.target.ref}/"
        return any(change.table == "ref_move" and change.key.startswith(moved) for change in entry.changes)
    return entry.on[:1] == (asset,)


def state_of(trigger: Trigger, found: Collection[str], met: Collection[str]) -> Literal["due", "met"]:
    """Whether a cause is enough to start.

    Args:
        found: the conditions that it meets.
        met: those met by entries since the last start.
    """
    if trigger.needs == "any":
        return "due"
    return "due" if {*found, *met} >= {str(condition) for condition in trigger.conditions} else "met"


class Next(NamedTuple):
    """The start that begins or goes on, and those that it stands for."""

    start: Start
    covered: tuple[Start, ...] = ()


def next_start(rule: Literal["latest", "each"], due: Sequence[Start], now: datetime) -> Next | None:
    """What begins now, of the starts that wait, oldest first; None where nothing may.

    One that began before goes first, and nothing overtakes it.
    """
    begun = [start for start in due if start.attempt]
    if begun:
        return Next(begun[0]) if is_rested(begun[0], now) else None
    if not due:
        return None
    return Next(due[0]) if rule == "each" else Next(due[-1], tuple(due[:-1]))


def is_rested(start: Start, now: datetime) -> bool:
    """Whether a start may be attempted again: what fails again and again is tried less and less often."""
    until = rests_until(start)
    return until is None or now >= until


def rests_until(start: Start) -> datetime | None:
    """When a start may be attempted again; None where it may be at once."""
    if start.attempt < AT_ONCE or start.began_at is None:
        return None
    pause = timedelta(seconds=min(2 ** min(start.attempt - AT_ONCE, 20), LONGEST_PAUSE_S))
    return parse_moment(start.began_at) + pause


def is_abandoned(start: Start, *, alive: bool | None, mine: bool, lease_until: str, now: datetime) -> bool:
    """Whether nobody carries out a start that is underway.

    Args:
        alive: whether its process runs; None for one of another host, of which only its lease can tell.
        mine: it is this very process, which may have given it up and go on all the same.
    """
    if alive is False:
        return True
    if alive and not mine:
        return False
    return not lease_until or parse_moment(lease_until) <= now
