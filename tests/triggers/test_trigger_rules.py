"""The pure rules of triggers, against plain statements of what they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.encoding import moment
from falaj.core.entries import Change, Entry, What
from falaj.store.triggers import Start
from falaj.triggers import rules
from falaj.triggers.records import Condition, Trigger

FLIGHTS = Condition("new_version", "dataset/flights@main")
DRIFT = Condition("drift", "delay")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def entry(what: What, *on: str, moved: str = "") -> Entry:
    changes = (Change("ref", "x", None), Change("ref_move", moved, None)) if moved else ()
    return Entry(id="e", at=moment(NOW), what=what, op="o", by="b", person="p", on=on, changes=changes)


@pytest.mark.parametrize(
    ("said", "met"),
    [
        (entry(What.REF_MOVED, "F", moved="F/main/3"), (FLIGHTS,)),
        (entry(What.REF_MOVED, "F", moved="F/main2/3"), ()),
        (entry(What.REF_MOVED, "F", moved="F/rejected/3"), ()),
        (entry(What.REF_MOVED, "G", moved="G/main/3"), ()),
        (entry(What.REF_MOVED, "F"), ()),
        (entry(What.REF_ROLLED_BACK, "F", moved="F/main/3"), ()),
        (entry(What.DRIFT_FOUND, "D", "R"), (DRIFT,)),
        (entry(What.DRIFT_FOUND, "R", "D"), ()),
        (entry(What.SCORE_FELL, "D", "R"), ()),
        (entry(What.RUN_ENDED, "F"), ()),
    ],
    ids=lambda one: one.what if isinstance(one, Entry) else None,
)
def test_an_entry_is_a_cause_by_what_it_says_of_which_thing(said: Entry, met: tuple[Condition, ...]) -> None:
    assert rules.conditions_met({FLIGHTS: "F", DRIFT: "D"}, said) == met


CONDITIONS = tuple(Condition("drift", f"d{i}") for i in range(3))


@given(st.lists(st.sampled_from(CONDITIONS), min_size=1), st.booleans())
def test_all_starts_once_every_condition_was_met_since_the_last_start(found: list[Condition], is_all: bool) -> None:
    trigger = Trigger(name="t", needs="all" if is_all else "any", conditions=CONDITIONS, start="pipeline/p")
    since: list[str] = []
    for condition in found:
        state = rules.state_of(trigger, [str(condition)], since)
        since.append(str(condition))
        assert (state == "due") == (not is_all or len(set(since)) == len(CONDITIONS))
        if state == "due":
            since = []


def start(number: int, **more: Any) -> Start:
    return Start(
        trigger="t",
        entry=f"e{number}",
        project="p",
        number=number,
        version=1,
        conditions=(),
        state=more.pop("state", "due"),
        noted_at=moment(NOW),
        **more,
    )


@given(st.integers(1, 30), st.sampled_from(["latest", "each"]))
def test_every_cause_begins_or_is_covered_once(count: int, rule: Any) -> None:
    waiting = [start(number) for number in range(1, count + 1)]
    begun, covered = [], []
    while (following := rules.next_start(rule, waiting, NOW)) is not None:
        begun.append(following.start.number)
        covered += [one.number for one in following.covered]
        gone = {following.start.number, *covered}
        waiting = [one for one in waiting if one.number not in gone]
    every = list(range(1, count + 1))
    assert (begun, covered) == (([count], every[:-1]) if rule == "latest" else (every, []))


def test_one_that_began_is_overtaken_by_none() -> None:
    waiting = [start(1), start(2, attempt=1, began_at=moment(NOW)), start(3)]
    assert rules.next_start("latest", waiting, NOW) == rules.Next(waiting[1])
    rests = [start(1), start(2, attempt=9, began_at=moment(NOW)), start(3)]
    assert rules.next_start("latest", rests, NOW) is None


@given(st.integers(0, 60), st.integers(0, 2_000))
def test_pauses_grow_up_to_ten_minutes_and_nothing_is_given_up(attempt: int, after_s: int) -> None:
    one = start(1, attempt=attempt, began_at=moment(NOW))
    rested = rules.is_rested(one, NOW + timedelta(seconds=after_s))
    assert rested or (attempt >= rules.AT_ONCE and after_s < min(2 ** (attempt - rules.AT_ONCE), 600))
    assert rested or not rules.is_rested(one, NOW + timedelta(seconds=after_s - 1))


@pytest.mark.parametrize(
    ("alive", "mine", "lease", "abandoned"),
    [
        (False, False, 60, True),
        (True, False, -60, False),
        (True, True, 60, False),
        (True, True, -60, True),
        (None, False, 60, False),
        (None, False, -60, True),
        (None, False, None, True),
    ],
)
def test_a_start_is_abandoned_when_its_process_is_gone_or_its_lease_ran_out(
    alive: bool | None, mine: bool, lease: int | None, abandoned: bool
) -> None:
    until = moment(NOW + timedelta(seconds=lease)) if lease is not None else ""
    assert (
        rules.is_abandoned(start(1, state="running"), alive=alive, mine=mine, lease_until=until, now=NOW) is abandoned
    )
