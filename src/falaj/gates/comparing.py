"""Pure: what a gate found then beside what it finds now, on the same versions by the same rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from falaj.gates.records import Basis, Finding
from falaj.gates.views import Compared

TOLERANCE: Final = 1e-9
"""Figures are equal up to this share of them: another processor adds in another order, and nothing else may differ."""
BY_NATURE: Final = ("latency_p99",)


def compared(then: Sequence[Finding], now: Sequence[Finding]) -> tuple[Compared, ...]:
    """Rule by rule, in the order of then. What was not measured now differs; approvals and times are not compared."""
    found = {one.rule: one for one in now}
    return tuple(_one(one, found.get(one.rule)) for one in then)


def programs(then: Basis | None, now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What is of another version now: name -> (then, now)."""
    before = then.program if then else {}
    return {name: (was, now.get(name, "")) for name, was in before.items() if was != now.get(name, "")}


def _one(then: Finding, now: Finding | None) -> Compared:
    outcome: Literal["same", "differs", "not_compared"] = "not_compared"
    if not (then.title in BY_NATURE or then.rule.startswith("approval ")):
        outcome = "same" if now is not None and _is_same(then, now) else "differs"
    return Compared(rule=then.rule, outcome=outcome, then=_told(then), now=_told(now) if now else "not measured")


def _told(one: Finding) -> str:
    return f"{one.state.replace('_', ' ')}: {one.text or one.note}"


def _is_same(then: Finding, now: Finding) -> bool:
    if then.state != now.state or then.rows != now.rows or not _near(then.observed, now.observed):
        return False
    if not all(map(_near, then.interval or (), now.interval or ())) or bool(then.interval) != bool(now.interval):
        return False
    before, after = ({s.value: s for s in one.slices} for one in (then, now))
    return before.keys() == after.keys() and all(
        (one.state, one.rows) == (after[value].state, after[value].rows) and _near(one.observed, after[value].observed)
        for value, one in before.items()
    )


def _near(then: float | None, now: float | None) -> bool:
    if then is None or now is None:
        return then is now
    return math.isclose(then, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
