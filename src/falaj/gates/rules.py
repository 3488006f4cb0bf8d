"""Pure: a gate and its evidence in, a verdict out. No clock, no database, no network.

All rules are judged, so one verdict names every failure. What was not measured is refused: a missing or undefined
metric fails its rule, slices of which none has enough rows fail theirs, and a gate without rules lets nothing pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from falaj.core.records import Approval
from falaj.gates.records import (
    AnyRule,
    ApprovalRule,
    BoundRule,
    CheckRule,
    Context,
    Evidence,
    Finding,
    Gate,
    HolderRule,
    SliceFinding,
    Verdict,
)


def judge(gate: Gate, evidence: Evidence, context: Context) -> Verdict:
    """Judge a candidate by every rule of the gate.

    Approvals are given later, at move time: they are pending (or waived, or, embedded without a waiver, failed).
    """
    findings = tuple(_find(rule, evidence, context) for rule in gate.rules)
    return Verdict(
        candidate=context.candidate,
        ref=context.ref,
        gate=gate.name,
        gate_version=context.gate_version,
        holder=context.holder,
        data_version=context.data_version,
        passed=bool(findings) and all(f.passed or f.state == "pending" for f in findings),
        findings=findings,
        approvals=tuple(
            rule.role
            for rule, found in zip(gate.rules, findings, strict=True)
            if isinstance(rule, ApprovalRule) and found.state == "pending"
        ),
        rows=evidence.rows,
        unlabelled=evidence.unlabelled,
    )


def approved(gate: Gate, approvals: Sequence[Approval], proposer_person: str, embedded: bool) -> tuple[Finding, ...]:
    """How the gate's approval rules stand, one finding each.

    One person fills at most one rule, the proposing person none, whatever tokens they used. Where the persons can be
    shared out so that more rules are filled, they are.
    """
    rules = [rule for rule in gate.rules if isinstance(rule, ApprovalRule)]
    persons: dict[str, set[str]] = {}
    for approval in approvals:
        if approval.person != proposer_person:
            persons.setdefault(approval.person, set()).update(approval.roles)
    filled = {} if embedded else _share_out([rule.role for rule in rules], persons)
    findings = []
    for i, rule in enumerate(rules):
        if i in filled:
            findings.append(Finding(rule=str(rule), state="passed", passed=True, note=f"given by {filled[i]}"))
        else:
            findings.append(_approval(rule, embedded))
    return tuple(findings)


def _share_out(roles: Sequence[str], persons: dict[str, set[str]]) -> dict[int, str]:
    """Rule number → person, as many rules as can be filled (augmenting paths; Kuhn 1955)."""
    holder: dict[str, int] = {}

    def place(rule: int, tried: set[str]) -> bool:
        for person in sorted(persons):
            if roles[rule] in persons[person] and person not in tried:
                tried.add(person)
                if person not in holder or place(holder[person], tried):
                    holder[person] = rule
                    return True
        return False

    for rule in range(len(roles)):
        place(rule, set())
    return {rule: person for person, rule in holder.items()}


def _find(rule: AnyRule, evidence: Evidence, context: Context) -> Finding:
    match rule:
        case BoundRule(by=None):
            return _overall(rule, evidence)
        case BoundRule():
            return _sliced(rule, evidence)
        case HolderRule():
            return _against(rule, evidence, context)
        case CheckRule():
            return _check(rule, evidence)
        case ApprovalRule():
            return _approval(rule, context.embedded)


def _overall(rule: BoundRule, evidence: Evidence) -> Finding:
    observed = _number(evidence.metrics.get(rule.metric))
    ok = rule.holds(observed)
    note = "" if observed is not None else "not measured"
    return Finding(
        rule=str(rule),
        state=_state(ok),
        passed=ok,
        observed=observed,
        bound=_bound(rule),
        rows=evidence.rows,
        note=note,
    )


def _sliced(rule: BoundRule, evidence: Evidence) -> Finding:
    found = []
    for part in evidence.slices.get(rule.by or "", ()):
        observed = _number(part.metrics.get(rule.metric))
        if part.rows < rule.min_rows:
            found.append(SliceFinding(value=part.value, state="not_judged", observed=observed, rows=part.rows))
        else:
            state = _state(rule.holds(observed))
            found.append(SliceFinding(value=part.value, state=state, observed=observed, rows=part.rows))
    sign = 1 if rule.at_least is not None else -1
    found.sort(key=lambda s: (s.state == "not_judged", -math.inf if s.observed is None else sign * s.observed, s.value))
    judged = [s for s in found if s.state != "not_judged"]
    few = len(found) - len(judged)
    notes = [f"{few} of {len(found)} slices not judged: fewer than {rule.min_rows} rows"] if few and judged else []
    failed = [s for s in judged if s.state == "failed"]
    if failed:
        notes.insert(0, f"{len(failed)} of {len(judged)} slices failed")
    if not judged:
        notes = [f"no slice of {rule.by} has {rule.min_rows} rows" if found else f"not measured by {rule.by}"]
    ok = bool(judged) and not failed
    return Finding(
        rule=str(rule),
        state=_state(ok) if judged else "not_judged",
        passed=ok,
        observed=judged[0].observed if judged else None,
        bound=_bound(rule),
        rows=sum(s.rows for s in judged),
        note="; ".join(notes),
        slices=tuple(found),
    )


def _against(rule: HolderRule, evidence: Evidence, context: Context) -> Finding:
    text, bound = str(rule), rule.no_worse_than
    if context.holder is None:
        return Finding(rule=text, state="passed", passed=True, bound=bound, note="no holder")
    found = evidence.differences.get(rule.metric)
    worse, low, high = (_number(found.worse_by), _number(found.low), _number(found.high)) if found else (None,) * 3
    if found is None or worse is None or low is None or high is None:
        note = f"not measured against v{context.holder}"
        return Finding(rule=text, state="failed", passed=False, bound=bound, note=note)
    ok = high <= bound
    note = f"v{context.holder} on the same rows"
    if not ok and worse <= bound:
        note += "; the interval does not exclude a greater worsening"
    return Finding(
        rule=text,
        state=_state(ok),
        passed=ok,
        observed=worse,
        bound=bound,
        rows=found.rows,
        interval=(low, high),
        note=note,
    )


def _check(rule: CheckRule, evidence: Evidence) -> Finding:
    found = evidence.checks.get(rule.check)
    ok = found is not None and found.ok
    return Finding(rule=str(rule), state=_state(ok), passed=ok, note=found.note if found else "not measured")


def _approval(rule: ApprovalRule, embedded: bool) -> Finding:
    if not embedded:
        return Finding(rule=str(rule), state="pending", passed=False, note="not given yet")
    if rule.embedded == "waive":
        note = "waived: embedded, one operating-system user cannot be two persons"
        return Finding(rule=str(rule), state="waived", passed=True, note=note)
    note = "embedded, one operating-system user cannot be two persons; use a server, or write embedded: waive"
    return Finding(rule=str(rule), state="failed", passed=False, note=note)


def _state(ok: bool) -> Literal["passed", "failed"]:
    return "passed" if ok else "failed"


def _bound(rule: BoundRule) -> float | None:
    return rule.at_least if rule.at_least is not None else rule.at_most


def _number(value: float | None) -> float | None:
    """The value where it is a finite number: NaN and infinities count as not measured."""
    return value if value is not None and math.isfinite(value) else None
