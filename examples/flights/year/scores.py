"""How good probabilities are: AUC and Brier score with their 95 % intervals, and differences on the same flights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.flights.report import story as s

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Z = 1.959964


def brier(chance: Floats, late: Floats) -> s.Estimate:
    """The mean squared error, with the normal interval of a mean."""
    return _mean((chance - late) ** 2)


def brier_difference(one: Floats, other: Floats, late: Floats) -> s.Estimate:
    """How much less the Brier score of `one` is than that of `other` on the same flights; positive: it is better."""
    return _mean((other - late) ** 2 - (one - late) ** 2)


def auc(chance: Floats, late: Floats) -> s.Estimate | None:
    """The area under the ROC curve. Its interval is that of DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44.

    Returns: None where all were late, or none was.
    """
    yes, no = chance[late > 0.5], chance[late < 0.5]
    if len(yes) < 2 or len(no) < 2:
        return None
    ranks = _midranks(np.concatenate([yes, no]))
    above = (ranks[: len(yes)] - _midranks(yes)) / len(no)
    below = 1 - (ranks[len(yes) :] - _midranks(no)) / len(yes)
    half = Z * float(np.sqrt(above.var(ddof=1) / len(yes) + below.var(ddof=1) / len(no)))
    value = float(above.mean())
    return s.Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def score(of: s.Sort, chance: Floats, late: Floats, versions: Sequence[int]) -> s.Score:
    """All of it, for one way of choosing models in one month."""
    return s.Score(
        of=of,
        versions=tuple(versions),
        rows=len(late),
        auc=auc(chance, late),
        brier=brier(chance, late) if len(late) > 1 else None,
        mean=float(chance.mean()) if len(late) else None,
    )


def _mean(values: Floats) -> s.Estimate:
    half = Z * float(values.std(ddof=1)) / len(values) ** 0.5
    value = float(values.mean())
    return s.Estimate(value=value, low=value - half, high=value + half)


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the middle of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[place].astype(np.float64)
