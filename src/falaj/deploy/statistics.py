"""The few tests that a rollout is judged by. Pure, exact where counts are small; a server has no numpy for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, erfc, exp, inf, lgamma, log, sqrt
from typing import Final

BINS: Final = 10
FEWEST_BINS: Final = 4
DRAWS_PER_BIN: Final = 20
_EXACT: Final = 2_000
_TINY: Final = 1e-17


def binomial_tail(seen: int, of: int, share: float) -> float:
    """The chance of `seen` or more among `of`, where each has the chance `share`.

    Args:
        share: between 0 and 1, both excluded.
    """
    if seen <= 0:
        return 1.0
    if seen > of:
        return 0.0
    logs = (
        _log_choose(of, k) + k * log(share) + (of - k) * log(1 - share)
        for k in range(seen, of + 1)  # falling from the mean on, so what follows a tiny term is tinier
    )
    return _summed(logs, rising_until=of * share - seen)


def share_is_greater(seen: int, of: int, other_seen: int, other_of: int) -> float:
    """How likely a share this much greater than the other's is where both are alike: Fisher's test, one-sided.

    Source: Fisher (1922), J. R. Stat. Soc. 85; with more than 2,000 seen, the pooled normal approximation.
    """
    total = seen + other_seen
    if total == 0 or seen == 0:
        return 1.0
    if total > _EXACT:
        pooled = total / (of + other_of)
        spread = sqrt(pooled * (1 - pooled) * (1 / of + 1 / other_of))
        return 0.5 * erfc((seen / of - other_seen / other_of) / spread / sqrt(2)) if spread else 1.0
    whole = _log_choose(of + other_of, total)
    logs = (
        _log_choose(of, k) + _log_choose(other_of, total - k) - whole
        for k in range(seen, min(total, of) + 1)
        if total - k <= other_of
    )
    return _summed(logs, rising_until=total * of / (of + other_of) - seen)


def chi_square_tail(value: float, degrees: int) -> float:
    """The chance that a chi-square variable is as great as `value` or greater.

    Source: the series and the continued fraction of the incomplete gamma function, Abramowitz & Stegun 6.5.29, 6.5.31.
    """
    a, x = degrees / 2, value / 2
    if x <= 0:
        return 1.0
    scale = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in range(1, 1000):
            term *= x / (a + n)
            total += term
            if term < total * _TINY:
                break
        return max(0.0, 1 - scale * total)
    b, c = x + 1 - a, inf
    d = fraction = 1 / b
    for n in range(1, 1000):
        step = -n * (n - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        fraction *= c * d
        if abs(c * d - 1) < _TINY * 100:
            break
    return min(1.0, scale * fraction)


def shift(
    reference: Sequence[int], live: Sequence[int], draws: tuple[float, float] | None = None
) -> tuple[float, float]:
    """How far two histograms over the same bins are apart, and how likely that is where they are alike.

    Neighbouring bins are gathered to at most ten that hold as much of the two together, fewer where little was drawn.
    Without any difference the index is on average (bins - 1) (1/n + 1/m), which is taken off; divided by (1/n + 1/m) it
    is distributed as chi-square.

    Args:
        reference, live: counts by bin, in the same order; neither is empty in sum.
        draws: n and m: what each is worth in independent draws, see `independent`; its sum where left out.
    Returns: the population stability index without its bias, in nats (may be negative), and its p-value.
    Source: Jeffreys (1946), Proc. R. Soc. A 186; Yurdakul & Naranjo (2020), J. Risk Model Validation 14; for draws
        that come in clusters Rao & Scott (1981), JASA 76.
    """
    counts = sum(reference), sum(live)
    n, m = draws or counts
    bins = max(FEWEST_BINS, min(BINS, int((n + m) / DRAWS_PER_BIN)))
    groups = list(_gathered(reference, live, ceil(sum(counts) / bins)))
    index = 0.0
    for expected, found in groups:
        p, q = max(expected / counts[0], 0.5 / n), max(found / counts[1], 0.5 / m)
        index += (q - p) * log(q / p)
    noise = 1 / n + 1 / m
    degrees = len(groups) - 1
    return index - degrees * noise, chi_square_tail(index / noise, degrees) if degrees else 1.0


class Clusters:
    """Values that come in clusters (the rows of one request), of which the ones in a cluster may be alike.

    Grows a value at a time; `begin` starts the next cluster.
    """

    def __init__(self) -> None:
        self.values = 0
        self._sum = self._squares = 0.0
        self._size, self._total = 0, 0.0
        self._sizes2 = self._totals2 = self._both = 0.0

    def begin(self) -> None:
        """The values that follow belong together."""
        self._sizes2, self._totals2, self._both = self._with_open()
        self._size, self._total = 0, 0.0

    def add(self, value: float) -> None:
        """One more value of the cluster that was begun."""
        self.values += 1
        self._sum += value
        self._squares += value * value
        self._size += 1
        self._total += value

    def independent(self) -> float:
        """How many independent values say as much of the mean as these do; at most as many as there are.

        Source: the design effect of a ratio, Kish (1965), Survey Sampling, section 6.5.
        """
        if not self.values:
            return 0.0
        mean = self._sum / self.values
        spread = self._squares - self.values * mean * mean
        if spread <= self.values * 1e-12:
            return float(self.values)  # all are the same: no cluster differs from another
        sizes2, totals2, both = self._with_open()
        return self.values / max(1.0, (totals2 - 2 * mean * both + mean * mean * sizes2) / spread)

    def _with_open(self) -> tuple[float, float, float]:
        size, total = self._size, self._total
        return self._sizes2 + size * size, self._totals2 + total * total, self._both + size * total


def _gathered(reference: Sequence[int], live: Sequence[int], least: int) -> Iterator[tuple[int, int]]:
    expected = found = 0
    for here, there in zip(reference, live, strict=True):
        expected, found = expected + here, found + there
        if expected + found >= least:
            yield expected, found
            expected = found = 0
    if expected or found:
        yield expected, found


def _log_choose(of: int, k: int) -> float:
    return lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1)


def _summed(logs: Iterator[float], *, rising_until: float) -> float:
    """The sum of terms given by their logarithms, up to where they are too small to matter and only fall."""
    total = 0.0
    for place, term in enumerate(map(exp, logs)):
        total += term
        if place > rising_until and term < total * _TINY:
            break
    return min(1.0, total)
