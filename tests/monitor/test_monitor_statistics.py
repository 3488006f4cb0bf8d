"""The statistics of drift: a test that keeps its level at any size, an effect that is about 0 where nothing moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from falaj.core.errors import Invalid
from falaj.monitor import statistics
from falaj.monitor.columns import Compared, compare_categories, compare_numbers

WINDOWS = 400
LEVEL = 0.05
# Of 400 windows at most so many alarms: the level and four of its standard deviations.
MOST = WINDOWS * (LEVEL + 4 * math.sqrt(LEVEL * (1 - LEVEL) / WINDOWS))
NAN = math.nan

Draw = Callable[[np.random.Generator, int], Any]


def normal(rng: np.random.Generator, rows: int, by: float = 0.0) -> Any:
    return rng.normal(by, 1, rows)


def rain(rng: np.random.Generator, rows: int) -> Any:
    """Mostly zero, else a little."""
    return np.where(rng.random(rows) < 0.7, 0.0, rng.exponential(size=rows))


def counted(rng: np.random.Generator, rows: int) -> Any:
    return rng.poisson(3, rows).astype(np.float64)


def gappy(rng: np.random.Generator, rows: int) -> Any:
    return np.where(rng.random(rows) < 0.05, NAN, rng.normal(size=rows))


def categories(values: int) -> Draw:
    """Many categories, a few of them frequent."""
    weights = 1 / np.arange(1, values + 1)

    def draw(rng: np.random.Generator, rows: int) -> dict[str | None, int]:
        found, counts = np.unique(rng.choice(values, rows, p=weights / weights.sum()), return_counts=True)
        return {str(value): int(count) for value, count in zip(found, counts, strict=True)}

    return draw


def compared(reference: Any, live: Any) -> Compared:
    return compare_categories(reference, live) if isinstance(reference, dict) else compare_numbers(reference, live)


# nothing moved


@pytest.mark.parametrize(
    ("draw", "rows", "live_rows"),
    [
        (normal, 200, 200),
        (normal, 2_000, 200),
        (normal, 200, 2_000),
        (rain, 200, 1_000),
        (counted, 500, 300),
        (gappy, 300, 500),
        (categories(5), 200, 200),
        (categories(3_000), 2_000, 300),
    ],
)
def test_of_windows_in_which_nothing_moved_no_more_alarm_than_the_level_says(
    draw: Draw, rows: int, live_rows: int
) -> None:
    rng = np.random.default_rng(7)
    found = [compared(draw(rng, rows), draw(rng, live_rows)) for _ in range(WINDOWS)]
    assert sum(one.p <= LEVEL for one in found) <= MOST
    assert sum(one.p <= LEVEL and one.psi >= 0.2 for one in found) <= 2


def test_a_report_of_fifty_columns_in_which_nothing_moved_hardly_ever_finds_drift() -> None:
    """Without the adjustment 92 of a hundred reports would."""
    rng = np.random.default_rng(8)
    shares = np.full(10, 0.1)
    counts = rng.multinomial(300, shares, (2, 100, 50))
    tested = [
        [statistics.chi_square(a, b)[2] for a, b in zip(*report, strict=True)] for report in zip(*counts, strict=True)
    ]
    alarms = sum(bool((statistics.benjamini_hochberg(p) <= LEVEL).any()) for p in tested)
    assert sum(min(p) <= LEVEL for p in tested) > 80
    assert alarms <= 100 * (LEVEL + 4 * math.sqrt(LEVEL * (1 - LEVEL) / 100))


@pytest.mark.parametrize("rows", [50, 200, 1_000, 20_000])
def test_the_index_is_zero_on_average_where_nothing_moved_at_any_size(rows: int) -> None:
    """Without its correction it would be 9 (1/n + 1/m): 0.36 at fifty rows."""
    rng = np.random.default_rng(rows)
    shares = np.full(10, 0.1)
    reference, live = rng.multinomial(rows, shares, 2_000), rng.multinomial(rows, shares, 2_000)
    found = statistics.population_stability(reference, live)
    bias = 9 * 2 / rows
    assert found.shape == (2_000,)
    assert abs(found.mean()) < 0.15 * bias


# something moved


@pytest.mark.parametrize(
    ("reference", "live", "least"),
    [
        (lambda rng: normal(rng, 1_000), lambda rng: normal(rng, 1_000, 0.5), 0.15),
        (lambda rng: normal(rng, 1_000), lambda rng: 2 * normal(rng, 1_000), 0.2),
        (lambda rng: rain(rng, 1_000), lambda rng: rain(rng, 1_000) + (rng.random(1_000) < 0.5) * 0.5, 0.2),
        (lambda rng: gappy(rng, 1_000), lambda rng: np.where(rng.random(1_000) < 0.4, NAN, normal(rng, 1_000)), 0.2),
        (lambda rng: categories(5)(rng, 1_000), lambda rng: {**categories(5)(rng, 600), "new": 400}, 0.2),
        (lambda rng: categories(3_000)(rng, 5_000), lambda rng: {**categories(3_000)(rng, 300), "new": 100}, 0.2),
        (lambda rng: categories(5)(rng, 1_000), lambda rng: {**categories(5)(rng, 600), None: 400}, 0.2),
    ],
    ids=["mean", "spread", "zeros", "nulls", "new category", "new among many", "null category"],
)
def test_a_real_change_is_found_every_time_and_is_large(reference: Any, live: Any, least: float) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found = compared(reference(rng), live(rng))
        assert found.p < 1e-6
        assert found.psi > least


def test_a_tenth_of_a_standard_deviation_is_seen_at_ten_thousand_rows_and_is_small() -> None:
    rng = np.random.default_rng(9)
    found = [compare_numbers(normal(rng, 10_000), normal(rng, 10_000, 0.1)) for _ in range(20)]
    assert sum(one.p <= 0.01 for one in found) >= 19
    assert max(one.psi for one in found) < 0.05


# single cases


@pytest.mark.parametrize(
    ("reference", "live", "moved"),
    [
        ([3.0] * 300, [3.0] * 300, False),
        ([3.0] * 300, [4.0] * 300, True),
        ([3.0] * 300, [2.0] * 300, True),
        ([0.0] * 100_000, [-1.0] * 200, True),
        ([NAN] * 300, [NAN] * 300, False),
        ([NAN] * 300, [1.0] * 300, True),
        ([1.0] * 300, [NAN] * 300, True),
        ([0.0, 1.0] * 200, [0.0, 1.0] * 150, False),
        ([0.0, 1.0] * 200, [0.0, 0.0, 0.0, 1.0] * 100, True),
        ([1.0, 2.0, math.inf] * 100, [1.0, 2.0, math.inf] * 100, False),
        ([1.0, 2.0, math.inf] * 100, [1.0, 2.0, -math.inf] * 100, True),
    ],
)
def test_constants_flags_and_columns_of_nulls_are_compared_as_they_are(
    reference: list[float], live: list[float], moved: bool
) -> None:
    found = compare_numbers(np.array(reference), np.array(live))
    assert (found.psi >= 0.2 and found.p <= 0.001) is moved


@pytest.mark.parametrize(
    ("reference", "live", "moved", "unseen"),
    [
        ({"a": 300}, {"a": 300}, False, 0.0),
        ({"a": 300}, {"b": 300}, True, 1.0),
        ({"a": 150, "b": 150}, {"a": 150, "b": 149, "c": 1}, False, 1 / 300),
        ({"a": 300}, {"a": 200, "c": 100}, True, 1 / 3),
        ({None: 300}, {None: 300}, False, 0.0),
        ({None: 300}, {"a": 300}, True, 1.0),
        ({"null": 150, None: 150}, {"null": 150, None: 150}, False, 0.0),
        ({str(i): 1 for i in range(300)}, {str(i + 300): 1 for i in range(300)}, False, 1.0),
    ],
)
def test_categories_that_came_went_or_are_null(
    reference: dict[str | None, int], live: dict[str | None, int], moved: bool, unseen: float
) -> None:
    found = compare_categories(reference, live)
    assert (found.psi >= 0.2 and found.p <= 0.001) is moved
    assert found.unseen == pytest.approx(unseen)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(10)
    a, b = gappy(rng, 500), gappy(rng, 700)
    assert compare_numbers(a, b) == compare_numbers(rng.permutation(a), rng.permutation(b))


# against scipy and plain arithmetic


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12), st.data())
def test_chi_square_is_pearsons_where_every_cell_is_expected_to_hold_enough(a: list[int], data: st.DataObject) -> None:
    b = data.draw(st.lists(st.integers(0, 50), min_size=len(a), max_size=len(a)))
    a, b = [x + 20 for x in a], [x + 20 for x in b]
    statistic, freedom, p = statistics.chi_square(a, b)
    found = stats.chi2_contingency([a, b], correction=False)
    assert freedom == found.dof
    assert statistic == pytest.approx(found.statistic)
    assert p == pytest.approx(found.pvalue)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_no_row_is_lost_where_small_cells_are_joined(a: list[int], b: list[int]) -> None:
    size = min(len(a), len(b))
    a, b = a[:size], b[:size]
    if not sum(a) or not sum(b):
        with pytest.raises(Invalid):
            statistics.chi_square(a, b)
        return
    first, second = statistics._joined(np.array(a), np.array(b))
    assert (first.sum(), second.sum()) == (sum(a), sum(b))
    assert 0 <= statistics.chi_square(a, b)[2] <= 1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_the_distance_of_kolmogorov_and_smirnov_is_the_largest(a: list[float], b: list[float]) -> None:
    first, second = np.sort(a), np.sort(b)
    distance, p = statistics.kolmogorov_smirnov(first, second)
    at = [*a, *b]
    assert distance == pytest.approx(
        max(abs(sum(x <= t for x in a) / len(a) - sum(x <= t for x in b) / len(b)) for t in at)
    )
    scaled = math.sqrt(len(a) * len(b) / (len(a) + len(b))) * distance
    assert p == pytest.approx(stats.kstwobign.sf(scaled), abs=1e-10)


def test_of_many_rows_the_distance_is_found_but_for_a_ten_thousandth() -> None:
    rng = np.random.default_rng(11)
    a, b = np.sort(rng.normal(size=60_000)), np.sort(rng.normal(0.03, 1, 45_000))
    exact = stats.ks_2samp(a, b, method="asymp").statistic
    assert exact - 0.0002 <= statistics.kolmogorov_smirnov(a, b)[0] <= exact + 1e-12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_are_those_of_benjamini_and_hochberg(p: list[float]) -> None:
    assert statistics.benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_the_index_by_hand() -> None:
    """Shares .5 .5 and .25 .75 of 400 rows each: .25 ln 2 + .25 ln 1.5, less 1 (1/400 + 1/400)."""
    found = float(statistics.population_stability([200, 200], [100, 300]))
    assert found == pytest.approx(0.25 * math.log(2) + 0.25 * math.log(1.5) - 2 / 400)
    assert statistics.population_stability([100, 300], [200, 200]) == pytest.approx(found)
    assert math.isnan(statistics.population_stability([0, 0], [1, 2]))


def test_bins_hold_about_equal_parts_and_frequent_values_have_their_own() -> None:
    values = np.sort(np.concatenate([np.zeros(500), np.arange(1.0, 501)]))
    edges = statistics.edges_of(values, 10)
    counts = statistics.binned(values, edges)
    assert counts.sum() == len(values)
    assert counts.tolist() == [0, 500, 100, 100, 100, 100, 100]
    assert statistics.binned(np.array([-1.0, 0.0, 0.0, 600.0]), edges).tolist() == [1, 2, 0, 0, 0, 0, 1]
