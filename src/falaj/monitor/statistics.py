"""Two-sample statistics of drift: stability index, chi-square, Kolmogorov-Smirnov, and many tests at once.

Pure, over numpy. Counts are int arrays of shape (..., bins) and work on every leading axis at once. A test keeps its
level at any sample size; an effect says how much, free of what sample size alone adds. Neither is enough alone: at a
million rows every difference is significant, and at two hundred a large one may be chance.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from falaj.core.errors import Invalid
from falaj.deploy.statistics import chi_square_tail

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EMPTY: Final = 0.5
"""What an empty bin counts as, in rows, where the other sample has some."""
MIN_EXPECTED: Final = 5.0
"""Rows that a cell of a chi-square test must be expected to hold. Source: Cochran (1954), Biometrics 10."""
GRID: Final = 10_000


def population_stability(reference: ArrayLike, live: ArrayLike) -> Floats:
    """Population stability index of two binned samples in nats, less what samples of one distribution would show.

    Two samples of one distribution have on average (B - 1)(1/n + 1/m) over B bins: that is taken off, so the mean is 0
    where nothing moved, at any size; a value may be slightly negative. Bins that both samples leave empty do not count.

    Args:
        reference, live: (..., bins) counts over the same bins.
    Returns: (...); NaN where a sample is empty.
    Source: Jeffreys (1946), Proc. R. Soc. A 186; its bias and law: Yurdakul (2018), Western Michigan University.
    """
    a, b = _counts(reference, live)
    n, m = a.sum(axis=-1, keepdims=True), b.sum(axis=-1, keepdims=True)
    used = (a + b) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = np.maximum(a, EMPTY) / n, np.maximum(b, EMPTY) / m
        raw = np.where(used, (p - q) * np.log(p / q), 0.0).sum(axis=-1)
        bias = (used.sum(axis=-1) - 1) * (1 / n + 1 / m)[..., 0]
        return np.asarray(np.where((n * m)[..., 0] > 0, raw - bias, np.nan), dtype=np.float64)


def chi_square(reference: ArrayLike, live: ArrayLike) -> tuple[float, int, float]:
    """Pearson's test that two binned samples are of one distribution.

    To first order it is the stability index over (1/n + 1/m); Pearson's form keeps its level where bins are small. Bins
    that are expected to hold fewer than five rows of a sample are joined, whichever sample the rows are of.

    Args:
        reference, live: (bins,) counts over the same bins.
    Returns: the statistic, its degrees of freedom, p; (0, 0, 1) where there is one bin only.
    Raises: Invalid where a sample is empty.
    """
    a, b = _counts(reference, live)
    if a.ndim != 1 or not a.sum() or not b.sum():
        raise Invalid("chi-square: two samples of at least one row are compared")
    a, b = _joined(a, b)
    if len(a) < 2:
        return 0.0, 0, 1.0
    n, m = float(a.sum()), float(b.sum())
    pooled = (a + b) / (n + m)
    statistic = float((((a - n * pooled) ** 2) / (n * pooled) + ((b - m * pooled) ** 2) / (m * pooled)).sum())
    return statistic, len(a) - 1, chi_square_tail(statistic, len(a) - 1)


def _joined(a: Ints, b: Ints) -> tuple[Ints, Ints]:
    """Counts whose every cell is expected to hold enough; which cells are joined does not depend on who is who."""
    total = a + b
    a, b, total = a[total > 0], b[total > 0], total[total > 0]
    share = min(int(a.sum()), int(b.sum())) / max(1, int(total.sum()))
    order = np.argsort(total, kind="stable")
    a, b, expected = a[order], b[order], total[order] * share
    small = int(np.searchsorted(expected, MIN_EXPECTED, side="left"))
    if small == 0:
        return a, b
    rest = float(expected[:small].sum())
    while small < len(expected) and rest < MIN_EXPECTED:  # what is left over is still too small: its neighbour joins
        rest += float(expected[small])
        small += 1
    together = ([a[:small].sum()], [b[:small].sum()])
    return np.concatenate([together[0], a[small:]]), np.concatenate([together[1], b[small:]])


def kolmogorov_smirnov(reference: Floats, live: Floats) -> tuple[float, float]:
    """Largest distance between two empirical distributions, and its two-sided p by the asymptotic law.

    Above 10,000 rows the distance is looked for at 10,000 order statistics of each sample: it can only come out
    smaller, by about 0.0001 at most. Ties make the test say less, never more.

    Args:
        reference, live: (rows,) sorted, without NaN.
    Raises: Invalid where a sample is empty.
    Source: Smirnov (1948), Ann. Math. Stat. 19.
    """
    n, m = len(reference), len(live)
    if not n or not m:
        raise Invalid("Kolmogorov-Smirnov: two samples of at least one row are compared")
    points = np.concatenate([_grid(reference), _grid(live)])
    below = np.searchsorted(reference, points, side="right") / n - np.searchsorted(live, points, side="right") / m
    distance = float(np.abs(below).max())
    return distance, _kolmogorov_tail(math.sqrt(n * m / (n + m)) * distance)


def _grid(values: Floats) -> Floats:
    if len(values) <= GRID:
        return values
    return values[np.linspace(0, len(values) - 1, GRID).astype(np.int64)]


def _weights(values: Floats) -> Floats:
    """How many rows each point of the grid stands for."""
    points = min(len(values), GRID)
    return np.full(points, len(values) / max(1, points))


def _kolmogorov_tail(scaled: float) -> float:
    """The chance that Kolmogorov's statistic is at least so large. Below 0.2 it is 1 to twelve digits."""
    if scaled < 0.2:
        return 1.0
    terms = 1 + int(math.sqrt(20 / (scaled * scaled)))
    total = 2 * sum((1 if k % 2 else -1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, terms + 1))
    return min(1.0, max(0.0, total))


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p of many tests: those at or below a level are the discoveries of which at most that share is false.

    Args:
        p: (tests,) each in [0, 1].
    Returns: (tests,) in the order given.
    Source: Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57.
    """
    values = np.asarray(p, dtype=np.float64)
    count = len(values)
    order = np.argsort(values, kind="stable")
    steps = values[order] * count / np.arange(1, count + 1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(steps[::-1])[::-1])
    return adjusted


def edges_of(values: Floats, bins: int, weights: Floats | None = None) -> Floats:
    """Upper ends of bins that hold about equal parts of sorted values; the last bin is open.

    A value that fills half a bin by itself gets a bin of its own, so that a constant, a flag, or the zeros of a rain
    gauge are told from what lies just beside them.

    Args:
        weights: how many rows each value stands for; one where it is left out.
    """
    if not len(values):
        return np.empty(0, dtype=np.float64)
    below = np.arange(1.0, len(values) + 1) if weights is None else np.cumsum(weights)
    at = np.searchsorted(below, np.arange(1, bins) * below[-1] / bins, side="left")
    ends = np.unique(values[at])
    first, last = np.searchsorted(values, ends, side="left"), np.searchsorted(values, ends, side="right")
    often = below[last - 1] - np.where(first > 0, below[first - 1], 0.0)
    atoms = ends[often * 2 * bins >= below[-1]]
    return np.unique(np.concatenate([ends, np.nextafter(atoms, -np.inf)]))


def pooled_edges(reference: Floats, live: Floats, bins: int) -> Floats:
    """Edges by both samples together: a test over them does not depend on which sample the bins were made for."""
    points = np.concatenate([_grid(reference), _grid(live)])
    weights = np.concatenate([_weights(reference), _weights(live)])
    order = np.argsort(points, kind="stable")
    return edges_of(points[order], bins, weights[order])


def binned(values: Floats, edges: Floats) -> Ints:
    """(edges + 1,) counts of sorted values: at most the first edge, then up to each next, then above the last."""
    below = np.searchsorted(values, edges, side="right")
    return np.diff(np.concatenate([[0], below, [len(values)]])).astype(np.int64)


def _counts(reference: ArrayLike, live: ArrayLike) -> tuple[Any, Any]:
    a, b = np.asarray(reference, dtype=np.int64), np.asarray(live, dtype=np.int64)
    if a.shape[-1:] != b.shape[-1:]:
        raise Invalid(f"{a.shape[-1:]} and {b.shape[-1:]} bins: both samples are counted in the same bins")
    return a, b
