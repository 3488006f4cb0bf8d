"""The tests that rollouts are judged by, against scipy and by the laws that they must keep."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from falaj.deploy.statistics import Clusters, binomial_tail, chi_square_tail, share_is_greater, shift

COUNTS = st.lists(st.integers(0, 50), min_size=30, max_size=30).filter(lambda c: sum(c) >= 20)


@given(st.integers(1, 5_000), st.data(), st.floats(0.0005, 0.5))
def test_the_binomial_tail_is_that_of_scipy(of, data, share):
    seen = data.draw(st.integers(0, of))
    assert binomial_tail(seen, of, share) == pytest.approx(stats.binom.sf(seen - 1, of, share), rel=1e-6, abs=1e-14)


@given(st.integers(1, 800), st.integers(1, 800), st.data())
def test_the_exact_test_of_two_shares_is_that_of_scipy(of, other_of, data):
    seen, other = data.draw(st.integers(0, of)), data.draw(st.integers(0, other_of))
    expected = stats.fisher_exact([[seen, of - seen], [other, other_of - other]], "greater").pvalue
    assert share_is_greater(seen, of, other, other_of) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_many_are_judged_by_the_normal_approximation():
    exact = stats.fisher_exact([[3_000, 97_000], [2_800, 97_200]], "greater").pvalue
    assert share_is_greater(3_000, 100_000, 2_800, 100_000) == pytest.approx(exact, rel=0.1)
    assert share_is_greater(5_000, 5_000, 5_000, 5_000) == 1.0


@given(st.floats(0, 400), st.integers(1, 12))
def test_the_chi_square_tail_is_that_of_scipy(value, degrees):
    assert chi_square_tail(value, degrees) == pytest.approx(stats.chi2.sf(value, degrees), rel=1e-8, abs=1e-15)


@given(COUNTS)
def test_nothing_is_shifted_against_itself(counts):
    index, chance = shift(counts, counts)
    assert index <= 0
    assert chance > 0.99


@given(COUNTS, COUNTS)
def test_a_shift_is_the_same_from_both_sides(one, other):
    assert shift(one, other) == pytest.approx(shift(other, one))


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=20), min_size=1, max_size=40))
def test_clusters_are_worth_no_more_than_their_values(clusters):
    found = clustered(clusters)
    assert found.values == sum(map(len, clusters))
    assert 0 < found.independent() <= found.values + 1e-9


def clustered(clusters):
    found = Clusters()
    for cluster in clusters:
        found.begin()
        for value in cluster:
            found.add(value)
    return found


def test_values_that_repeat_in_a_cluster_count_once_and_single_ones_each():
    draw = random.Random(8)
    values = [draw.random() for _ in range(400)]
    assert clustered([[value] for value in values]).independent() == pytest.approx(400, rel=0.01)
    assert clustered([[value] * 15 for value in values]).independent() == pytest.approx(400, rel=0.01)
    assert clustered([[0.5, 0.5], [0.5]]).independent() == 3
    assert clustered([]).independent() == 0


def test_batches_of_rows_that_are_alike_raise_no_false_alarm():
    draw, told, blind = random.Random(4), 0, 0
    for _ in range(200):
        counts, draws = [], []
        for _ in range(2):
            batches = [[min(0.999, draw.betavariate(2, 8) + draw.gauss(0, 0.01))] * 15 for _ in range(40)]
            counts.append([0] * 200)
            for value in (max(0.0, value) for batch in batches for value in batch):
                counts[-1][int(value * 200)] += 1
            draws.append(clustered(batches).independent())
        told += shift(*counts, (draws[0], draws[1]))[1] < 0.05
        blind += shift(*counts)[1] < 0.05
    assert told <= 24  # 10 expected; beyond this bound once in ten thousand
    assert blind > 100


def test_two_constants_are_far_apart():
    one, other = [0] * 100, [0] * 100
    one[30], other[90] = 300, 300
    index, chance = shift(one, other)
    assert index > 1
    assert chance < 1e-12


def test_alike_samples_are_told_apart_as_rarely_as_the_level_says():
    draw = random.Random(5)
    told = 0
    for _ in range(300):
        counts = [[0] * 200, [0] * 200]
        for sample in counts:
            for _ in range(300):
                sample[int(draw.betavariate(2, 8) * 200)] += 1
        told += shift(*counts)[1] < 0.05
    assert 3 <= told <= 30  # 15 expected; beyond these bounds once in ten thousand
