"""Metrics against scikit-learn, plain slow versions and simulation."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from falaj.core.errors import Invalid
from falaj.gates import BoundRule, EvidenceSource, Gate, HolderRule
from falaj.gates import metrics as m

two_classes = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def sample(rows=2000, seed=3):
    draw = np.random.default_rng(seed)
    chance = draw.uniform(size=rows) ** 2
    return draw.uniform(size=rows) < chance, chance, np.clip(chance + draw.normal(0, 0.1, rows), 0, 1)


@given(two_classes)
def test_every_metric_agrees_with_scikit_learn_ties_included(rows):
    y = np.array([label for label, _ in rows])
    p = np.array([score / 8 for _, score in rows])
    assert m.auc(y, p) == pytest.approx(oracle.roc_auc_score(y, p), abs=1e-12)
    assert m.brier(y, p) == pytest.approx(oracle.brier_score_loss(y, p), abs=1e-12)
    assert m.log_loss(y, p) == pytest.approx(oracle.log_loss(y, p), abs=1e-9)
    assert m.accuracy(y, p) == pytest.approx(oracle.accuracy_score(y, p >= 0.5), abs=1e-12)
    assert m.mean_error(y, p) == pytest.approx(p.mean() - y.mean(), abs=1e-12)


def test_a_column_that_tells_the_label_alone_is_suspicious():
    label, chance, _ = sample()
    draw = np.random.default_rng(4)
    told = np.where(label, 50.0, -10.0) + draw.normal(0, 10, len(label))
    gaps = np.where(draw.uniform(size=len(label)) < 0.5, told, np.nan)
    few = np.where(np.arange(len(label)) < 199, told, np.nan)
    columns = {"told": told, "against": -told, "gaps": gaps, "few": few, "chance": chance, "same": np.zeros(len(label))}
    found = m.suspicious([bool(one) for one in label], columns)
    assert set(found) == {"told", "against", "gaps"}
    assert found["told"] == pytest.approx(oracle.roc_auc_score(label, told))
    assert found["told"] == pytest.approx(found["against"])
    here = ~np.isnan(gaps)
    assert found["gaps"] == pytest.approx(oracle.roc_auc_score(label[here], gaps[here]))
    assert m.suspicious([None] * len(label), columns) == {}
    assert m.suspicious([True] * len(label), columns) == {}


@given(two_classes)
def test_auc_is_the_share_of_pairs_in_order(rows):
    wins = [(a > b) + (a == b) / 2 for yes, a in rows if yes for no, b in rows if not no]
    assert m.auc([r[0] for r in rows], [r[1] / 8 for r in rows]) == pytest.approx(sum(wins) / len(wins))


@given(two_classes)
def test_calibration_error_agrees_with_a_loop_over_bins(rows):
    y, p = [r[0] for r in rows], [r[1] / 8 for r in rows]
    total = 0.0
    for k in range(15):
        inside = [(a, b) for a, b in zip(y, p, strict=True) if k / 15 <= b < (k + 1) / 15 or (k == 14 and b == 1)]
        total += abs(sum(b - a for a, b in inside))
    assert m.calibration_error(y, p) == pytest.approx(total / len(rows), abs=1e-9)


def test_what_is_undefined_is_nan():
    assert isnan(m.auc([True, True], [0.1, 0.2]))
    assert all(isnan(metric([], [])) for metric in m.METRICS.values())


@pytest.mark.parametrize("bad", [[0.5, np.nan], [0.5, 1.5], [-0.1, 0.5], [np.inf, 0.5], [0.5], [[0.5, 0.5]]])
def test_scores_that_are_not_probabilities_are_refused(bad):
    with pytest.raises(Invalid):
        m.brier([True, False], bad)


def test_labels_other_than_two_are_refused():
    with pytest.raises(Invalid):
        m.auc([0, 2], [0.1, 0.2])


@pytest.mark.parametrize("metric", ["auc", "brier", "log_loss", "accuracy"])
def test_a_model_is_not_worse_than_itself(metric):
    y, p, _ = sample()
    same = m.difference(metric, y, p, p)
    assert (same.worse_by, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-15)


@pytest.mark.parametrize("metric", ["auc", "brier", "log_loss", "accuracy"])
def test_the_difference_is_that_of_the_metrics_and_turns_with_the_models(metric):
    y, p, q = sample()
    forth, back = m.difference(metric, y, q, p), m.difference(metric, y, p, q)
    sign = -1 if metric in ("auc", "accuracy") else 1
    assert forth.worse_by == pytest.approx(sign * (m.METRICS[metric](y, q) - m.METRICS[metric](y, p)), abs=1e-12)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


def test_delong_agrees_with_the_plain_slow_form():
    y, p, q = sample(120)
    x1, x0 = np.flatnonzero(y), np.flatnonzero(~y)

    def components(s):
        kernel = (s[x1][:, None] > s[x0][None, :]) + (s[x1][:, None] == s[x0][None, :]) / 2
        return kernel.mean(axis=1), kernel.mean(axis=0)

    (v10, v01), (w10, w01) = components(p), components(q)
    spread = np.sqrt((v10 - w10).var(ddof=1) / len(x1) + (v01 - w01).var(ddof=1) / len(x0))
    found = m.difference("auc", y, p, q)
    assert found.high - found.low == pytest.approx(2 * m.Z95 * spread, rel=1e-9)


@pytest.mark.parametrize("metric", ["auc", "brier"])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(metric):
    big = m.difference(metric, *sample(400_000, seed=1))
    hits = 0
    for seed in range(300):
        found = m.difference(metric, *sample(400, seed=seed + 10))
        hits += found.low <= big.worse_by <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_too_few_rows_give_no_interval():
    assert m.difference("brier", [True], [0.5], [0.4]).high is None
    assert m.difference("auc", [True, False, False], [0.5, 0.1, 0.2], [0.4, 0.1, 0.3]).high is None


def test_an_unpaired_metric_has_no_difference():
    with pytest.raises(Invalid, match="paired"):
        m.difference("calibration_error", [True], [0.5], [0.5])


def test_slices_hold_every_row_once_and_null_is_a_value():
    y, p, _ = sample(300)
    values = [("a", "b", None)[i % 3] for i in range(300)]
    found = m.slices(y, p, values, ["auc", "brier"])
    assert [(s.value, s.rows) for s in found] == [("a", 100), ("b", 100), ("null", 100)]
    assert found[1].metrics["auc"] == pytest.approx(oracle.roc_auc_score(y[1::3], p[1::3]))


def test_a_column_of_too_many_values_is_not_a_slice():
    with pytest.raises(Invalid, match="501"):
        m.slices([True] * 501, [0.5] * 501, list(range(501)), ["brier"])


GATE = Gate(
    name="g",
    guards=("d@p",),
    evidence=EvidenceSource(data="f@h", label="late"),
    rules=(
        BoundRule(metric="auc", at_least=0.5, by="origin"),
        HolderRule(metric="brier", against="holder", no_worse_than=0.1),
        BoundRule(metric="mean_error", at_most=0.1),
    ),
)


def test_measure_leaves_rows_without_a_label_out_and_counts_them():
    y, p, q = sample(300)
    label = [None if i % 10 == 0 else bool(v) for i, v in enumerate(y)]
    keep = [i for i in range(300) if i % 10]
    found = m.measure(GATE, label, p, columns={"origin": ["x"] * 300}, holder=q)
    assert (found.rows, found.unlabelled) == (270, 30)
    assert found.metrics["auc"] == pytest.approx(m.auc(y[keep], p[keep]))
    assert set(found.differences) == {"auc", "brier"}
    assert found.slices["origin"][0].rows == 270
    assert m.measure(GATE, label, p, columns={"origin": ["x"] * 300}).differences == {}


@pytest.mark.parametrize(
    ("columns", "why"),
    [({}, "'origin' is not in the evidence"), ({"origin": list(range(600))}, "600 slices; at most 500")],
    ids=["not there", "a measure"],
)
def test_a_column_that_makes_no_slices_is_told_as_not_measured(columns, why):
    found = m.measure(GATE, [True, False] * 300, [0.5, 0.4] * 300, columns=columns)
    assert found.slices == {}
    assert why in found.unmeasured["origin"]
    assert found.metrics["auc"] == 1.0


def test_measure_refuses_columns_of_another_length():
    with pytest.raises(Invalid, match="1 values of 'origin' for 2 rows"):
        m.measure(GATE, [True, False], [0.5, 0.5], columns={"origin": ["x"]})


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40), st.randoms())
def test_the_order_of_rows_changes_no_metric(rows, random):
    mixed = random.sample(rows, len(rows))
    for metric in m.METRICS.values():
        one, two = (metric([r[0] for r in table], [r[1] for r in table]) for table in (rows, mixed))
        assert one == pytest.approx(two, abs=1e-9, nan_ok=True)
