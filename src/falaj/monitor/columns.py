"""One column of two samples compared: by how much it moved, and whether that can be chance. Pure, over numpy.

A null is a value like any other: its share may drift. Numbers are tested twice, by Kolmogorov-Smirnov over their values
and by chi-square over bins that count the nulls too; the smaller p is doubled, so the pair keeps the level of one test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from falaj.monitor import statistics
from falaj.monitor.statistics import Floats, Ints

BINS: Final = 10
CATEGORIES: Final = 50
"""How many categories are compared by themselves; the rarer ones count as one."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a live window beside the same column of the reference. It holds no value of the data.

    Attributes:
        nulls: shares of rows, reference and live.
        means: of the numbers; None for categories and where there is no number.
        unseen: share of live rows whose category the reference never had; None for numbers.
        psi: bias-corrected, in nats; about 0, and at times a little below, where nothing moved.
        distance: of Kolmogorov and Smirnov; None for categories and where a side has no number.
        p: that so much is chance.
    """

    rows: tuple[int, int]
    nulls: tuple[float, float]
    means: tuple[float, float] | None = None
    unseen: float | None = None
    psi: float
    distance: float | None = None
    p: float


def compare_numbers(reference: Floats, live: Floats) -> Compared:
    """Two samples of numbers; NaN is null.

    Args:
        reference, live: (rows,) of at least one row each, in any order.
    """
    rows = (len(reference), len(live))
    a, b = _sorted(reference), _sorted(live)
    nulls = (rows[0] - len(a), rows[1] - len(b))
    own = statistics.edges_of(a, BINS)
    psi = statistics.population_stability(_counted(a, own, nulls[0]), _counted(b, own, nulls[1]))
    both = statistics.pooled_edges(a, b, BINS)
    _, _, p = statistics.chi_square(_counted(a, both, nulls[0]), _counted(b, both, nulls[1]))
    distance = None
    if len(a) and len(b):
        distance, by_rank = statistics.kolmogorov_smirnov(a, b)
        p = min(1.0, 2 * min(p, by_rank))
    return Compared(
        rows=rows,
        nulls=(nulls[0] / rows[0], nulls[1] / rows[1]),
        means=(float(a.mean()), float(b.mean())) if len(a) and len(b) else None,
        psi=float(psi),
        distance=distance,
        p=p,
    )


def compare_categories(reference: Mapping[str | None, int], live: Mapping[str | None, int]) -> Compared:
    """Two samples of categories, each as rows by category; None is null.

    The categories that are compared by themselves are the most frequent of both samples together; the rare ones count
    as one. So a tail so long that every sample meets values which the other never had is no drift by itself.

    Args:
        reference, live: of at least one row each.
    """
    rows = (sum(reference.values()), sum(live.values()))
    total = {c: reference.get(c, 0) + live.get(c, 0) for c in {**reference, **live}}
    kept = sorted(total, key=lambda c: (-total[c], c is not None, c or ""))[:CATEGORIES]
    a = np.array([reference.get(c, 0) for c in kept], dtype=np.int64)
    b = np.array([live.get(c, 0) for c in kept], dtype=np.int64)
    a, b = np.append(a, rows[0] - a.sum()), np.append(b, rows[1] - b.sum())
    _, _, p = statistics.chi_square(a, b)
    unseen = sum(count for c, count in live.items() if c is not None and not reference.get(c))
    return Compared(
        rows=rows,
        nulls=(reference.get(None, 0) / rows[0], live.get(None, 0) / rows[1]),
        unseen=unseen / rows[1],
        psi=float(statistics.population_stability(a, b)),
        p=p,
    )


def _sorted(values: Floats) -> Floats:
    return np.sort(values[~np.isnan(values)])


def _counted(values: Floats, edges: Floats, nulls: int) -> Ints:
    return np.append(statistics.binned(values, edges), nulls)
