"""What a finding says to a person."""

from __future__ import annotations

import pytest

from falaj.gates import BoundRule, CheckRule, Context, Evidence, Gate, HolderRule, Latency, LatencyRule, Slice, judge
from falaj.gates.records import Difference, Finding
from falaj.gates.views import what_next
from falaj.gates.words import against_bound

AUC = BoundRule(metric="auc", at_least=0.66)
ERROR = BoundRule(metric="mean_error", at_most=0.1)
BY = BoundRule(metric="auc", at_least=0.66, by="origin")
LATENCY = LatencyRule(at_most_ms=5)
HOLDER = HolderRule(metric="brier", against="holder", no_worse_than=0.002)


def text(rule, **evidence) -> tuple[str, str]:
    context = Context(candidate="c", ref="delay@production", gate_version=1, holder=5)
    found = judge(Gate(name="g", guards=("d@p",), rules=(rule,)), Evidence(**evidence), context).findings[0]
    return found.title, found.text


def part(value: str, rows: int, auc: float | None) -> Slice:
    return Slice(value=value, rows=rows, metrics={"auc": auc})


def worse(by: float, low: float, high: float) -> dict[str, Difference]:
    return {"brier": Difference(worse_by=by, low=low, high=high, rows=27_010)}


CASES = [
    (AUC, {"metrics": {"auc": 0.741}, "rows": 27_010}, ("auc", "0.741 ≥ 0.66, 27,010 rows")),
    (AUC, {"metrics": {"auc": 0.641}, "rows": 1}, ("auc", "0.641 < 0.66, 1 row")),
    (ERROR, {"metrics": {"mean_error": 0.2}, "rows": 9}, ("mean_error", "0.2 > 0.1, 9 rows")),
    (AUC, {}, ("auc", "not measured")),
    (AUC, {"unmeasured": {"metrics": "no data"}}, ("auc", "not measured: no data")),
    (
        BY,
        {"slices": {"origin": (part("LGA", 8214, 0.641), part("JFK", 9000, 0.7), part("SWF", 3, 1.0))}},
        (
            "auc by origin",
            "LGA 0.641 < 0.66, 8,214 rows; 1 of 2 slices failed; 1 of 3 slices not judged: fewer than 200 rows",
        ),
    ),
    (
        BY,
        {"slices": {"origin": (part("LGA", 8214, 0.68), part("JFK", 9000, 0.7))}},
        ("auc by origin", "worst LGA 0.68 ≥ 0.66, 8,214 rows, 2 slices"),
    ),
    (BY, {"slices": {"origin": (part("LGA", 8214, None),)}}, ("auc by origin", None)),
    (BY, {"unmeasured": {"origin": "600 slices"}}, ("auc by origin", "not measured: 600 slices")),
    (
        HOLDER,
        {"differences": worse(0.006, 0.003, 0.009)},
        (
            "brier against holder",
            "+0.006 > +0.002, 95 % interval +0.003 … +0.009, v5 on the same 27,010 rows",
        ),
    ),
    (
        HOLDER,
        {"differences": worse(0.001, -0.001, 0.003)},
        (
            "brier against holder",
            "+0.001, not shown to be ≤ +0.002, 95 % interval -0.001 … +0.003, v5 on the same 27,010 rows",
        ),
    ),
    (HOLDER, {"unmeasured": {"holder": "gone"}}, ("brier against holder", "not measured against v5: gone")),
    (CheckRule(check="format"), {}, ("check format", "not measured")),
    (
        LATENCY,
        {"latency": Latency(p50_ms=1.92, p99_ms=3.14159, rows=500, rounds=1)},
        ("latency_p99", "3.14 ms ≤ 5 ms, 500 single rows, there and back, p50 1.92 ms"),
    ),
    (
        LATENCY,
        {"latency": Latency(p50_ms=1.92, p99_ms=5.001, rows=500, rounds=3)},
        ("latency_p99", "5.001 ms > 5 ms, 500 single rows, there and back, p50 1.92 ms, each row's best of 3 rounds"),
    ),
    (LATENCY, {"unmeasured": {"latency": "9 rows in 10 s"}}, ("latency_p99", "not measured: 9 rows in 10 s")),
    (LATENCY, {"unmeasured": {"metrics": "no data"}}, ("latency_p99", "not measured: no data")),
]


@pytest.mark.parametrize(("rule", "evidence", "told"), CASES)
def test_a_finding_is_told_with_its_figures(rule, evidence, told):
    title, found = text(rule, **evidence)
    assert title == told[0]
    assert told[1] in {found, None}


def test_two_numbers_that_differ_are_never_told_as_equal():
    assert against_bound(BoundRule(metric="auc", at_least=0.7), 0.69999) == "0.69999 < 0.7"
    assert against_bound(BoundRule(metric="auc", at_least=0.7), 0.7) == "0.7 ≥ 0.7"
    assert against_bound(BoundRule(metric="auc", at_least=0.7), 0.7 - 1e-16) == "0.69999999999999984 < 0.7"


def finding(rule: str, **more) -> Finding:
    return Finding(rule=rule, title=rule, state="failed", passed=False, **more)


NEXT: list[tuple[str, list[Finding], str]] = [
    ("a figure", [finding("auc", observed=0.5), finding("check signature")], "promote a version that passes"),
    ("not measured", [finding("auc", note="not measured: no rows"), finding("check format")], "put right what was not"),
    ("a leak", [finding("check no_leakage")], "train without the columns"),
    ("two checks", [finding("check signature"), finding("check lineage_complete")], "from its run; register it from a"),
    ("slow", [finding("latency_p99", observed=9.0)], "judge it where less else runs"),
    ("alone", [finding("approval from a maintainer other than the proposer")], "use a server"),
]


@pytest.mark.parametrize(("failed", "says"), [one[1:] for one in NEXT], ids=[one[0] for one in NEXT])
def test_a_refusal_says_what_to_do_by_what_failed(failed: list[Finding], says: str) -> None:
    assert says in what_next("model/kite@production", 7, failed)
