"""A gate is read strictly: what could not be judged is refused when the file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from falaj.core.encoding import canonical, decode
from falaj.core.errors import Invalid
from falaj.gates import ApprovalRule, BoundRule, CheckRule, Gate, HolderRule, LatencyRule, parse_gate

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights" / "tour" / "gates" / "production.yaml"

HEAD = (
    "gate: production\nguards: [delay@production]\nevidence: {data: flights@holdout, label: arr_delay > 30}\nrules:\n"
)


def gate(rules: str, head: str = HEAD) -> Gate:
    return parse_gate(head + rules, file="production.yaml")


def test_every_sort_of_rule_is_read():
    read = gate(
        """
  - metric: auc
    at_least: 0.7
  - {metric: auc, by: origin, at_least: 0.66, min_rows: 500}
  - {metric: brier, against: holder, no_worse_than: 0.002}
  - check: lineage_complete
  - latency_p99: 5ms
  - {latency_p99: 0.5 s}
  - approval: {from: maintainer, not: proposer}
    embedded: waive
"""
    )
    assert read.name == "production"
    assert read.guards == ("delay@production",)
    assert read.rules == (
        BoundRule(metric="auc", at_least=0.7),
        BoundRule(metric="auc", at_least=0.66, by="origin", min_rows=500),
        HolderRule(metric="brier", against="holder", no_worse_than=0.002),
        CheckRule(check="lineage_complete"),
        LatencyRule(at_most_ms=5),
        LatencyRule(at_most_ms=500),
        ApprovalRule(role="maintainer", embedded="waive"),
    )
    assert read.metrics == ("auc", "brier")
    assert read.slices == ("origin",)
    assert read.latency_ms == 5


def test_the_example_is_a_gate():
    read = parse_gate(EXAMPLE.read_text(), file=EXAMPLE.name)
    assert read.guards == ("delay@production",)
    assert len(read.rules) == 7


def test_a_gate_survives_storage():
    read = parse_gate(EXAMPLE.read_text())
    assert decode(canonical(read), Gate) == read


REFUSED = [
    ("unknown check", "  - check: no_leaks", "line 5", "no_leaks"),
    ("unknown metric", "  - {metric: f1, at_least: 0.5}", "line 5", "f1"),
    ("unknown sort", "  - latency_p50: 5ms", "line 5", "latency_p50"),
    ("latency without a unit", "  - latency_p99: 5", "line 5", "such as 5ms"),
    ("latency of nothing", "  - latency_p99: 0ms", "line 5", "> 0"),
    ("latency of two minutes", "  - latency_p99: 120s", "line 5", "<= 60000"),
    ("latency by slice", "  - {latency_p99: 5ms, by: origin}", "by", "unknown field"),
    ("typo in a field", "  - {metric: auc, atleast: 0.5}", "atleast", "known here"),
    ("no bound", "  - metric: auc", "exactly one", ""),
    ("two bounds", "  - {metric: auc, at_least: 0.5, at_most: 0.9}", "exactly one", ""),
    ("bound is text", "  - {metric: auc, at_least: high}", "at_least", "float"),
    ("bound is true", "  - {metric: auc, at_least: true}", "at_least", "float"),
    ("bound overflows", "  - {metric: auc, at_least: 1e999}", "line 5", "too large"),
    ("min_rows without by", "  - {metric: auc, at_least: 0.5, min_rows: 10}", "min_rows", ""),
    ("min_rows of one", "  - {metric: auc, at_least: 0.5, by: origin, min_rows: 1}", "min_rows", ">= 2"),
    ("against someone else", "  - {metric: brier, against: champion, no_worse_than: 0.1}", "champion", ""),
    ("against without how much", "  - {metric: brier, against: holder}", "no_worse_than", ""),
    ("against by slice", "  - {metric: brier, against: holder, no_worse_than: 0.1, by: origin}", "by", ""),
    ("negative tolerance", "  - {metric: brier, against: holder, no_worse_than: -0.1}", "no_worse_than", ">= 0"),
    ("unpaired against holder", "  - {metric: mean_error, against: holder, no_worse_than: 0.1}", "mean_error", ""),
    ("approval from nobody", "  - approval: {not: proposer}", "approval", "maintainer"),
    ("approval of a made-up role", "  - approval: {from: boss}", "boss", "maintainer"),
    ("approval by the proposer", "  - approval: {from: owner, not: robot}", "robot", ""),
    ("waiver misspelt", "  - {approval: {from: owner}, embedded: skip}", "embedded", "skip"),
    ("the tag as a field", "  - {rule: bound, metric: auc, at_least: 0.5}", "rule", "unknown field"),
    ("same rule twice", "  - check: format\n  - check: format", "second time", ""),
    ("a rule that is text", "  - auc", "expected fields", ""),
    ("key twice", "  - {metric: auc, at_least: 0.1, at_least: 0.9}", "second time", ""),
    ("yaml tag", "  - !!python/object/apply:os.system [true]", "tag", ""),
]


@pytest.mark.parametrize(("rules", "one", "two"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_rule_that_could_not_be_judged_is_refused(rules, one, two):
    with pytest.raises(Invalid) as refused:
        gate(rules)
    told = refused.value.message + " " + refused.value.next_step
    assert one in told
    assert two in told
    assert "production.yaml" in told


TOPS = [
    ("no rules", "gate: g\nguards: [d@p]\nrules: []", "rules"),
    ("no guards", "gate: g\nrules: [{check: format}]", "guards"),
    ("guard is no ref", "gate: g\nguards: [delay]\nrules: [{check: format}]", "not a ref"),
    ("guard with a path", "gate: g\nguards: ['../x@p']\nrules: [{check: format}]", "guards"),
    ("guard twice", "gate: g\nguards: [d@p, d@p]\nrules: [{check: format}]", "second time"),
    ("metric without evidence", "gate: g\nguards: [d@p]\nrules: [{metric: auc, at_least: 0.5}]", "evidence"),
    ("latency without evidence", "gate: g\nguards: [d@p]\nrules: [{latency_p99: 5ms}]", "measure latency"),
    ("evidence without label", "gate: g\nguards: [d@p]\nevidence: {data: a@b}\nrules: [{check: format}]", "label"),
    (
        "evidence is no ref",
        "gate: g\nguards: [d@p]\nevidence: {data: a, label: x}\nrules: [{check: format}]",
        "ref of a dat",
    ),
    (
        "evidence of a model",
        "gate: g\nguards: [d@p]\nevidence: {data: model/a@b, label: x}\nrules: [{check: format}]",
        "dataset",
    ),
    ("unknown top field", "gate: g\nguards: [d@p]\nrules: [{check: format}]\nmode: dry", "mode"),
    ("a list", "- a", "expected fields"),
    ("empty", "", "empty"),
    ("bad name", "gate: ../g\nguards: [d@p]\nrules: [{check: format}]", "gate"),
]


@pytest.mark.parametrize(("text", "told"), [c[1:] for c in TOPS], ids=[c[0] for c in TOPS])
def test_a_gate_that_guards_nothing_or_measures_nothing_is_refused(text, told):
    with pytest.raises(Invalid, match=told):
        parse_gate(text, file="g.yaml")
