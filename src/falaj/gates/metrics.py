"""Metrics of a probability for a yes-or-no label, their slices, and paired differences between two models.

Own code over numpy, so that a verdict does not depend on the environment a model was trained in. Labels are bool or
0/1 arrays, scores float64 in [0, 1], both of shape (rows,). A metric that is undefined (no rows, one class only for
the AUC) is NaN, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from falaj.core.errors import Invalid
from falaj.core.names import printable
from falaj.gates.records import HIGHER_IS_BETTER, MAX_SLICES, MIN_ROWS, PAIRED, Difference, Evidence, Gate, Slice

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Z95: Final = 1.959963984540054  # the 97.5 % point of the standard normal
CLIP: Final = float(np.finfo(np.float64).eps)  # a sure and wrong answer costs 36 nats, not infinity
BINS: Final = 15
SUSPICIOUS: Final = 0.9


class TooManySlices(Invalid):
    """A column holds more values than slices are made of."""

    code = "too_many_slices"


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting half.

    Source: Mann and Whitney (1947), Ann. Math. Stat. 18; Hanley and McNeil (1982), Radiology 143.
    """
    y, p = _pair(label, score)
    positives = int(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return math.nan
    rank_sum = float(_midranks(p)[y].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def brier(label: ArrayLike, score: ArrayLike) -> float:
    """Mean squared error of the probability. Source: Brier (1950), Mon. Weather Rev. 78. 0 is best."""
    return _mean(_squared(*_pair(label, score)))


def log_loss(label: ArrayLike, score: ArrayLike) -> float:
    """Mean negative log-likelihood in nats; probabilities are clipped to [eps, 1 - eps] of float64."""
    return _mean(_nats(*_pair(label, score)))


def accuracy(label: ArrayLike, score: ArrayLike) -> float:
    """Share of rows where "probability at least one half" is the label."""
    return _mean(_right(*_pair(label, score)))


def mean_error(label: ArrayLike, score: ArrayLike) -> float:
    """Mean probability minus the share of positives: calibration in the large, signed; 0 is best."""
    y, p = _pair(label, score)
    return _mean(p - y)


def calibration_error(label: ArrayLike, score: ArrayLike, *, bins: int = BINS) -> float:
    """Expected calibration error: |mean probability - share of positives| in equal-width bins, weighted by rows.

    Source: Naeini, Cooper and Hauskrecht (2015), AAAI; 15 bins as in Guo et al. (2017), ICML. The last bin holds 1.
    """
    y, p = _pair(label, score)
    if not len(y):
        return math.nan
    at = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(at, weights=p - y, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def suspicious(label: Sequence[bool | None], columns: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Columns of numbers that tell the label by themselves so well that they may hold it: a hint, and no proof.

    Args:
        columns: (rows,) each; NaN is not known and left out.
    Returns: the AUC of each that reaches `SUSPICIOUS` in either direction.
    """
    known = np.array([one is not None for one in label], dtype=np.bool_)
    truth = np.array([bool(one) for one in label], dtype=np.bool_)
    found = {}
    for name, column in columns.items():
        values = np.asarray(column, dtype=np.float64)
        here = known & ~np.isnan(values)
        if here.sum() < MIN_ROWS:
            continue
        one_way = auc(truth[here], _ranked(values[here]))
        if (area := max(one_way, 1 - one_way)) >= SUSPICIOUS:
            found[name] = area
    return found


def _ranked(values: Floats) -> Floats:
    """The values as scores in [0, 1] of the same order."""
    ranks = _midranks(values)
    return (ranks - 1) / max(len(ranks) - 1, 1)


METRICS: Final[dict[str, Callable[[ArrayLike, ArrayLike], float]]] = {
    "auc": auc,
    "brier": brier,
    "log_loss": log_loss,
    "accuracy": accuracy,
    "mean_error": mean_error,
    "calibration_error": calibration_error,
}


def difference(metric: str, label: ArrayLike, candidate: ArrayLike, holder: ArrayLike) -> Difference:
    """How much worse the candidate is than the holder on the same rows, with a 95 % interval.

    Means (Brier, log loss, accuracy): the normal interval of the mean of per-row differences. AUC: DeLong, DeLong and
    Clarke-Pearson (1988), Biometrics 44, by the fast algorithm of Sun and Xu (2014), IEEE Signal Proc. Letters 21.
    Fewer than two rows, or of a class for the AUC, give an undefined interval.
    Raises: Invalid for a metric that is not a paired one.
    """
    if metric not in PAIRED:
        raise Invalid(f"metric {metric}: has no paired interval", next_step=f"one of {', '.join(sorted(PAIRED))}")
    (y, p), (_, q) = _pair(label, candidate), _pair(label, holder)
    mean, spread = _delong(y, p, q) if metric == "auc" else _paired_mean(metric, y, p, q)
    worse = -mean if metric in HIGHER_IS_BETTER else mean
    half = Z95 * spread
    return Difference(worse_by=_known(worse), low=_known(worse - half), high=_known(worse + half), rows=len(y))


def slices(label: ArrayLike, score: ArrayLike, values: Sequence[Any], metrics: Sequence[str]) -> tuple[Slice, ...]:
    """The metrics in the rows of each value; null is a value of its own, told as "null". Sorted by value.

    Raises: TooManySlices over 500 distinct values: such a column is a measure, not a slice.
    """
    y, p = _pair(label, score)
    if len(values) != len(y):
        raise Invalid(f"slices: {len(values)} values for {len(y)} rows")
    places: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        places.setdefault("null" if value is None else str(value), []).append(i)
    if len(places) > MAX_SLICES:
        raise TooManySlices(f"{len(places):,} slices; at most {MAX_SLICES}", next_step="slice by another column")
    found = []
    for value in sorted(places):
        at = np.asarray(places[value])
        found.append(Slice(value=value, rows=len(at), metrics=measured(y[at], p[at], metrics)))
    return tuple(found)


def measured(label: ArrayLike, score: ArrayLike, metrics: Sequence[str]) -> dict[str, float | None]:
    """The metrics by name; an undefined one is None."""
    return {metric: _known(METRICS[metric](label, score)) for metric in metrics}


def measure(
    gate: Gate,
    label: Sequence[bool | None],
    score: ArrayLike,
    *,
    columns: Mapping[str, Sequence[Any]],
    holder: ArrayLike | None = None,
) -> Evidence:
    """All that the gate's rules need, measured on one table. Checks are added by the caller.

    A slice column that is not there, or holds more values than a slice may, is told in `unmeasured`.

    Args:
        label: (rows,) true, false, or None for a row without a label, which is left out and counted.
        score: (rows,) the candidate's probabilities.
        columns: the slice columns, each (rows,).
        holder: (rows,) the holder's probabilities on the same rows, None where there is no holder.
    Raises: Invalid for lengths that differ, and for scores that are not probabilities.
    """
    keep = np.fromiter((value is not None for value in label), dtype=bool, count=len(label))
    y = np.fromiter((bool(value) for value in label), dtype=bool, count=len(label))[keep]
    p = _probabilities(score, "candidate", len(keep))[keep]
    q = None if holder is None else _probabilities(holder, "holder", len(keep))[keep]
    sliced: dict[str, tuple[Slice, ...]] = {}
    unmeasured: dict[str, str] = {}
    for column in gate.slices:
        if column not in columns:
            unmeasured[column] = f"column {printable(column)} is not in the evidence"
            continue
        if len(columns[column]) != len(keep):
            raise Invalid(f"slices: {len(columns[column])} values of {printable(column)} for {len(keep)} rows")
        values = [value for value, kept in zip(columns[column], keep, strict=True) if kept]
        try:
            sliced[column] = slices(y, p, values, gate.metrics)
        except TooManySlices as error:
            unmeasured[column] = error.message
    paired = [] if q is None else [m for m in gate.metrics if m in PAIRED]
    return Evidence(
        rows=len(y),
        unlabelled=int(len(keep) - len(y)),
        metrics=measured(y, p, gate.metrics),
        slices=sliced,
        differences={m: difference(m, y, p, q) for m in paired if q is not None},
        unmeasured=unmeasured,
    )


def _pair(label: ArrayLike, score: ArrayLike) -> tuple[Bools, Floats]:
    y = np.asarray(label)
    if y.dtype != np.bool_:
        if not np.isin(y, (0, 1)).all():
            raise Invalid("labels: only true and false (1 and 0) are labels")
        y = y.astype(np.bool_)
    if y.ndim != 1:
        raise Invalid(f"labels: shape {y.shape}; one per row is expected")
    return y, _probabilities(score, "scores", len(y))


def _probabilities(score: ArrayLike, what: str, rows: int) -> Floats:
    p = np.asarray(score, dtype=np.float64)
    if p.shape != (rows,):
        raise Invalid(f"{what}: shape {p.shape} for {rows} rows")
    bad = int(rows - ((p >= 0) & (p <= 1)).sum())
    if bad:
        raise Invalid(f"{what}: {bad:,} of {rows:,} values are not probabilities (NaN, below 0 or above 1)")
    return p


def _squared(y: Bools, p: Floats) -> Floats:
    gaps: Floats = p - y
    return gaps * gaps


def _nats(y: Bools, p: Floats) -> Floats:
    likelihood: Floats = np.clip(np.where(y, p, 1 - p), CLIP, 1 - CLIP)
    return np.asarray(-np.log(likelihood), dtype=np.float64)


def _right(y: Bools, p: Floats) -> Floats:
    return np.asarray((p >= 0.5) == y, dtype=np.float64)


_PER_ROW: Final[dict[str, Callable[[Bools, Floats], Floats]]] = {
    "brier": _squared,
    "log_loss": _nats,
    "accuracy": _right,
}


def _paired_mean(metric: str, y: Bools, p: Floats, q: Floats) -> tuple[float, float]:
    """Mean and standard error of per-row differences."""
    per_row = _PER_ROW[metric](y, p) - _PER_ROW[metric](y, q)
    if len(y) < 2:
        return math.nan, math.nan
    return float(per_row.mean()), float(per_row.std(ddof=1) / math.sqrt(len(y)))


def _delong(y: Bools, p: Floats, q: Floats) -> tuple[float, float]:
    """Difference of the two AUCs and its standard error."""
    positives = int(y.sum())
    negatives = len(y) - positives
    if positives < 2 or negatives < 2:
        return math.nan, math.nan
    wins = np.zeros(positives)
    losses = np.zeros(negatives)
    for scores, sign in ((p, 1.0), (q, -1.0)):
        ranks = _midranks(scores)
        wins += sign * (ranks[y] - _midranks(scores[y])) / negatives
        losses += sign * (1 - (ranks[~y] - _midranks(scores[~y])) / positives)
    variance = float(wins.var(ddof=1) / positives + losses.var(ddof=1) / negatives)
    return float(wins.mean()), math.sqrt(max(variance, 0.0))


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.reshape(-1)], dtype=np.float64)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
