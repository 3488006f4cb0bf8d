"""Judging: every rule, one verdict; what was not measured is a refusal."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.encoding import canonical, decode
from falaj.core.records import Approval
from falaj.gates import (
    ApprovalRule,
    BoundRule,
    CheckRule,
    Context,
    Evidence,
    Gate,
    HolderRule,
    Latency,
    LatencyRule,
    Slice,
    Verdict,
    approved,
    judge,
)
from falaj.gates.records import Check, Difference

CONTEXT = Context(candidate="sha256:" + "a" * 64, ref="delay@production", gate_version=3, holder=5)
AUC = BoundRule(metric="auc", at_least=0.70)
BRIER = BoundRule(metric="brier", at_most=0.15)
BY_ORIGIN = BoundRule(metric="auc", at_least=0.66, by="origin")
HOLDER = HolderRule(metric="brier", against="holder", no_worse_than=0.002)
FOUR_EYES = ApprovalRule(role="maintainer")


def gate(*rules) -> Gate:
    return Gate(name="production", guards=("delay@production",), rules=rules)


def one(rule, evidence, context=CONTEXT):
    verdict = judge(gate(rule), evidence, context)
    return verdict, verdict.findings[0]


@pytest.mark.parametrize(
    ("rule", "value", "passes"),
    [(AUC, 0.70, True), (AUC, 0.6999, False), (BRIER, 0.15, True), (BRIER, 0.1501, False), (AUC, 0.9, True)],
)
def test_a_value_on_the_bound_passes_and_beyond_it_fails(rule, value, passes):
    verdict, finding = one(rule, Evidence(metrics={rule.metric: value}, rows=10))
    assert (verdict.passed, finding.passed, finding.observed) == (passes, passes, value)


@pytest.mark.parametrize(
    "metrics", [{}, {"auc": None}, {"auc": nan}, {"auc": inf}], ids=["absent", "none", "nan", "inf"]
)
def test_an_unmeasured_metric_is_a_refusal(metrics):
    verdict, finding = one(AUC, Evidence(metrics=metrics, rows=10))
    assert not verdict.passed
    assert (finding.state, finding.observed, finding.note) == ("failed", None, "not measured")


@pytest.mark.parametrize(("p99", "passes"), [(5.0, True), (5.01, False), (nan, False), (None, False)])
def test_a_latency_on_the_bound_passes_and_an_unmeasured_one_does_not(p99, passes):
    found = None if p99 is None else Latency(p50_ms=1, p99_ms=p99, rows=500, rounds=1)
    verdict, finding = one(LatencyRule(at_most_ms=5), Evidence(latency=found))
    assert (verdict.passed, finding.passed, finding.bound) == (passes, passes, 5)


def test_no_rules_at_all_is_a_refusal():
    assert not judge(gate(), Evidence(metrics={"auc": 1.0}), CONTEXT).passed


def test_all_rules_are_judged_and_every_failure_is_named():
    verdict = judge(
        gate(AUC, BRIER, CheckRule(check="signature")), Evidence(metrics={"auc": 0.1, "brier": 0.9}), CONTEXT
    )
    assert [f.rule for f in verdict.failed] == ["auc ≥ 0.7", "brier ≤ 0.15", "check signature"]


def test_a_verdict_is_bound_to_what_it_was_given_for():
    verdict = judge(gate(AUC), Evidence(metrics={"auc": 0.9}), CONTEXT)
    assert (verdict.candidate, verdict.ref, verdict.gate, verdict.gate_version, verdict.holder) == (
        CONTEXT.candidate,
        "delay@production",
        "production",
        3,
        5,
    )
    assert decode(canonical(verdict), Verdict) == verdict


def slices(**values):
    return Evidence(
        slices={"origin": tuple(Slice(value=v, rows=r, metrics={"auc": a}) for v, (a, r) in values.items())}
    )


def test_a_small_slice_is_told_and_not_judged():
    verdict, finding = one(BY_ORIGIN, slices(EWR=(0.7, 900), JFK=(0.68, 300), XXX=(0.1, 199)))
    assert verdict.passed
    assert finding.note == "1 of 3 slices not judged: fewer than 200 rows"
    assert [(s.value, s.state) for s in finding.slices] == [("JFK", "passed"), ("EWR", "passed"), ("XXX", "not_judged")]
    assert (finding.observed, finding.rows) == (0.68, 1200)


def test_one_slice_below_the_bound_fails_the_rule_and_stands_first():
    verdict, finding = one(BY_ORIGIN, slices(EWR=(0.7, 900), LGA=(0.641, 8214)))
    assert not verdict.passed
    assert (finding.slices[0].value, finding.slices[0].state, finding.observed) == ("LGA", "failed", 0.641)


def test_an_undefined_metric_in_a_slice_with_enough_rows_fails():
    _, finding = one(BY_ORIGIN, slices(EWR=(0.7, 900), LGA=(None, 900)))
    assert (finding.state, finding.slices[0].value) == ("failed", "LGA")


@pytest.mark.parametrize("evidence", [Evidence(), slices(EWR=(0.9, 10))], ids=["no slices", "only small ones"])
def test_slices_of_which_none_was_judged_are_a_refusal(evidence):
    verdict, finding = one(BY_ORIGIN, evidence)
    assert not verdict.passed
    assert finding.state == "not_judged"


def paired(worse, low, high):
    return Evidence(differences={"brier": Difference(worse_by=worse, low=low, high=high, rows=27_010)})


@pytest.mark.parametrize(
    ("worse", "low", "high", "passes"),
    [
        (0.006, 0.003, 0.009, False),
        (-0.01, -0.02, 0.0, True),
        (0.001, 0.0, 0.002, True),
        (0.001, -0.003, 0.005, False),
        (0.0, 0.0, 0.0, True),
    ],
    ids=["worse", "better", "on the bound", "too uncertain", "the same model"],
)
def test_no_worse_than_the_holder_is_judged_by_the_interval(worse, low, high, passes):
    verdict, finding = one(HOLDER, paired(worse, low, high))
    assert verdict.passed is passes
    assert (finding.observed, finding.interval, finding.rows) == (worse, (low, high), 27_010)


def test_without_a_holder_there_is_nothing_to_be_worse_than():
    _, finding = one(HOLDER, Evidence(), Context(candidate="x", ref="d@p", gate_version=1))
    assert (finding.passed, finding.note) == (True, "no holder")


@pytest.mark.parametrize("evidence", [Evidence(), paired(None, None, None), paired(0.0, nan, nan)])
def test_a_holder_that_was_not_measured_is_a_refusal(evidence):
    assert not one(HOLDER, evidence)[0].passed


@pytest.mark.parametrize(
    ("checks", "passes"), [({}, False), ({"format": Check(ok=False)}, False), ({"format": Check(ok=True)}, True)]
)
def test_a_check_passes_only_where_it_was_established(checks, passes):
    assert one(CheckRule(check="format"), Evidence(checks=checks))[0].passed is passes


def test_an_approval_is_pending_and_does_not_fail_the_verdict():
    verdict = judge(gate(AUC, FOUR_EYES), Evidence(metrics={"auc": 0.9}), CONTEXT)
    assert (verdict.passed, verdict.approvals, verdict.findings[1].state) == (True, ("maintainer",), "pending")


def test_nobody_is_asked_to_approve_what_another_rule_refuses():
    verdict = judge(gate(AUC, FOUR_EYES), Evidence(metrics={"auc": 0.1}), CONTEXT)
    assert (verdict.passed, verdict.approvals) == (False, ())
    assert [f.state for f in verdict.findings] == ["failed", "not_needed"]
    assert [f.rule for f in verdict.failed] == [str(AUC)]


def test_embedded_a_waiver_is_told_as_waived_and_without_one_the_rule_fails():
    alone = Context(candidate="x", ref="d@p", gate_version=1, embedded=True)
    waived = judge(gate(ApprovalRule(role="maintainer", embedded="waive")), Evidence(), alone)
    assert (waived.passed, waived.approvals, waived.findings[0].state) == (True, (), "waived")
    refused = judge(gate(FOUR_EYES), Evidence(), alone)
    assert (refused.passed, refused.approvals, refused.findings[0].state) == (False, (), "failed")


def yes(person, *roles):
    return Approval(proposal="p", person=person, by=f"token-{person}", roles=roles, at="2026-01-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("rules", "given", "states"),
    [
        ([FOUR_EYES], [], ["pending"]),
        ([FOUR_EYES], [yes("b", "maintainer")], ["passed"]),
        ([FOUR_EYES], [yes("b", "viewer")], ["pending"]),
        ([FOUR_EYES], [yes("proposer", "maintainer")], ["pending"]),
        ([FOUR_EYES, ApprovalRule(role="owner")], [yes("b", "maintainer", "owner")], ["passed", "pending"]),
        (
            [FOUR_EYES, ApprovalRule(role="owner")],
            [yes("b", "maintainer", "owner"), yes("c", "maintainer")],
            ["passed"] * 2,
        ),
    ],
    ids=["none", "another person", "too small a role", "the proposer", "one person, two rules", "shared out"],
)
def test_approvals_are_counted_by_persons(rules, given, states):
    assert [f.state for f in approved(gate(*rules), given, "proposer", embedded=False)] == states


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_better_value_never_turns_a_pass_into_a_refusal(bound, value, better):
    low, high = sorted((value, better))
    rule = BoundRule(metric="auc", at_least=bound)
    if one(rule, Evidence(metrics={"auc": low}))[0].passed:
        assert one(rule, Evidence(metrics={"auc": high}))[0].passed


@given(st.permutations([AUC, BRIER, HOLDER, FOUR_EYES]))
def test_the_order_of_rules_changes_nothing_but_the_order_of_findings(rules):
    evidence = Evidence(metrics={"auc": 0.8, "brier": 0.2})
    verdict = judge(gate(*rules), evidence, CONTEXT)
    assert not verdict.passed
    assert sorted(f.rule for f in verdict.failed) == ["brier against holder no worse than 0.002", "brier ≤ 0.15"]
