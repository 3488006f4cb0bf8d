"""Pure: a gate and its evidence in, a verdict out. No clock, no database, no network.

All rules are judged, so one verdict names every failure. What was not measured is refused: a missing or undefined
metric fails its rule, slices of which none has enough rows fail theirs, and a gate without rules lets nothing pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from falaj.core.records import Approval
from falaj.gates import words
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
    LatencyRule,
    SliceFinding,
    State,
    Verdict,
)
from falaj.store.guards import share_out


def judge(gate: Gate, evidence: Evidence, context: Context) -> Verdict:
    """Judge a candidate by every rule of the gate.

    Approvals are given later, at move time: they are pending (or waived, or, embedded without a waiver, failed). Where
    another rule fails nobody is asked for one.
    """
    findings = tuple(_find(rule, evidence, context) for rule in gate.rules)
    passed = bool(findings) and all(f.passed or f.state == "pending" for f in findings)
    if not passed:
        findings = tuple(_not_needed(f) if f.state == "pending" else f for f in findings)
    return Verdict(
        candidate=context.candidate,
        ref=context.ref,
        gate=gate.name,
        gate_version=context.gate_version,
        holder=context.holder,
        data_version=context.data_version,
        passed=passed,
        findings=findings,
        approvals=tuple(
            rule.role
            for rule, found in zip(gate.rules, findings, strict=True)
            if isinstance(rule, ApprovalRule) and found.state == "pending"
        ),
        rows=evidence.rows,
        unlabelled=evidence.unlabelled,
        basis=context.basis,
    )


def approved(
    gate: Gate,
    approvals: Sequence[Approval],
    proposer_person: str,
    embedded: bool,
    names: Mapping[str, str] | None = None,
) -> tuple[Finding, ...]:
    """How the gate's approval rules stand, one finding each; `names`: what persons are called.

    One person fills at most one rule, the proposing person none, whatever tokens they used. Where the persons can be
    shared out so that more rules are filled, they are.
    """
    rules = [rule for rule in gate.rules if isinstance(rule, ApprovalRule)]
    persons: dict[str, set[str]] = {}
    for approval in approvals:
        if approval.person != proposer_person:
            persons.setdefault(approval.person, set()).update(approval.roles)
    filled = {} if embedded else share_out([rule.role for rule in rules], persons)
    findings = []
    for i, rule in enumerate(rules):
        if i in filled:
            note = f"given by {(names or {}).get(filled[i], filled[i])}"
            findings.append(
                Finding(rule=str(rule), title=rule.title, state="passed", passed=True, note=note, text=note)
            )
        else:
            findings.append(_approval(rule, embedded))
    return tuple(findings)


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
        case LatencyRule():
            return _latency(rule, evidence)
        case ApprovalRule():
            return _approval(rule, context.embedded)


def _overall(rule: BoundRule, evidence: Evidence) -> Finding:
    observed = _number(evidence.metrics.get(rule.metric))
    ok = rule.holds(observed)
    note = "" if observed is not None else _not_measured(evidence, "metrics")
    return Finding(
        rule=str(rule),
        title=rule.title,
        state=_state(ok),
        passed=ok,
        observed=observed,
        bound=_bound(rule),
        rows=evidence.rows,
        note=note,
        text=words.bound_text(rule, observed, evidence.rows, note),
    )


def _sliced(rule: BoundRule, evidence: Evidence) -> Finding:
    found = _slices(rule, evidence)
    judged = [s for s in found if s.state != "not_judged"]
    failed = [s for s in judged if s.state == "failed"]
    few = len(found) - len(judged)
    notes = [f"{few} of {len(found)} slices not judged: fewer than {rule.min_rows} rows"] if few and judged else []
    if failed:
        notes.insert(0, f"{len(failed)} of {len(judged)} slices failed")
    if not judged:
        none = f"no slice of {rule.by} has {rule.min_rows} rows"
        notes = [none if found else _not_measured(evidence, rule.by or "", "metrics")]
    ok = bool(judged) and not failed
    note = "; ".join(notes)
    return Finding(
        rule=str(rule),
        title=rule.title,
        state=_state(ok) if judged else "not_judged",
        passed=ok,
        observed=judged[0].observed if judged else None,
        bound=_bound(rule),
        rows=sum(s.rows for s in judged),
        note=note,
        text=words.slices_text(rule, found, note),
        slices=tuple(found),
    )


def _slices(rule: BoundRule, evidence: Evidence) -> list[SliceFinding]:
    """Each slice judged: the judged ones first, the worst of them at the head."""
    found = []
    for part in evidence.slices.get(rule.by or "", ()):
        observed = _number(part.metrics.get(rule.metric))
        state: State = "not_judged" if part.rows < rule.min_rows else _state(rule.holds(observed))
        found.append(SliceFinding(value=part.value, state=state, observed=observed, rows=part.rows))
    sign = 1 if rule.at_least is not None else -1
    found.sort(key=lambda s: (s.state == "not_judged", -math.inf if s.observed is None else sign * s.observed, s.value))
    return found


def _against(rule: HolderRule, evidence: Evidence, context: Context) -> Finding:
    text, bound = str(rule), rule.no_worse_than
    if context.holder is None:
        note = "no holder"
        return Finding(rule=text, title=rule.title, state="passed", passed=True, bound=bound, note=note, text=note)
    found = evidence.differences.get(rule.metric)
    worse, low, high = (_number(found.worse_by), _number(found.low), _number(found.high)) if found else (None,) * 3
    if found is None or worse is None or low is None or high is None:
        why = evidence.unmeasured.get("holder") or evidence.unmeasured.get("metrics")
        note = f"not measured against v{context.holder}{f': {why}' if why else ''}"
        return Finding(rule=text, title=rule.title, state="failed", passed=False, bound=bound, note=note, text=note)
    ok = high <= bound
    note = f"v{context.holder} on the same rows"
    if not ok and worse <= bound:
        note += "; the interval does not exclude a greater worsening"
    return Finding(
        rule=text,
        title=rule.title,
        state=_state(ok),
        passed=ok,
        observed=worse,
        bound=bound,
        rows=found.rows,
        interval=(low, high),
        note=note,
        text=words.holder_text(rule, worse, low, high, found.rows, context.holder),
    )


def _check(rule: CheckRule, evidence: Evidence) -> Finding:
    found = evidence.checks.get(rule.check)
    ok = found is not None and found.ok
    note = found.note if found else "not measured"
    if rule.check == "no_leakage" and evidence.alone:
        told = ", ".join(f"{name} (AUC {auc:.2f})" for name, auc in evidence.alone.items())
        note = f"{note}; alarm: told by one column alone: {told}"
    return Finding(rule=str(rule), title=rule.title, state=_state(ok), passed=ok, note=note, text=note or _state(ok))


def _latency(rule: LatencyRule, evidence: Evidence) -> Finding:
    found = evidence.latency
    observed = _number(found.p99_ms) if found else None
    ok = observed is not None and observed <= rule.at_most_ms
    note = "" if found and observed is not None else _not_measured(evidence, "latency", "metrics")
    return Finding(
        rule=str(rule),
        title=rule.title,
        state=_state(ok),
        passed=ok,
        observed=observed,
        bound=rule.at_most_ms,
        rows=found.rows if found else None,
        note=note or words.latency_note(found),
        text=words.latency_text(rule, found) if found and not note else note,
    )


def _approval(rule: ApprovalRule, embedded: bool) -> Finding:
    state: State = "pending" if not embedded else "waived" if rule.embedded == "waive" else "failed"
    alone = "embedded, one operating-system user cannot be two persons"
    note = {"pending": "not given yet", "waived": alone, "failed": f"{alone}; use a server or write embedded: waive"}[
        state
    ]
    return Finding(rule=str(rule), title=rule.title, state=state, passed=state == "waived", note=note, text=note)


def _not_needed(pending: Finding) -> Finding:
    note = "not asked for: another rule failed"
    return msgspec.structs.replace(pending, state="not_needed", note=note, text=note)


def _not_measured(evidence: Evidence, *subjects: str) -> str:
    why = next((evidence.unmeasured[s] for s in subjects if s in evidence.unmeasured), "")
    return f"not measured{f': {why}' if why else ''}"


def _state(ok: bool) -> Literal["passed", "failed"]:
    return "passed" if ok else "failed"


def _bound(rule: BoundRule) -> float | None:
    return rule.at_least if rule.at_least is not None else rule.at_most


def _number(value: float | None) -> float | None:
    """The value where it is a finite number: NaN and infinities count as not measured."""
    return value if value is not None and math.isfinite(value) else None
