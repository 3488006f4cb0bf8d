"""The few tests that a rollout is judged by. Pure, exact where counts are small; a server has no numpy for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, erfc, exp, inf, lgamma, log, sqrt
from typing import Final

BINS: Final = 10
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


def shift(reference: Sequence[int], live: Sequence[int]) -> tuple[float, float]:
    """How far two histograms over the same bins are apart, and how likely that is where they are alike.

    Neighbouring bins are gathered to about ten that hold as much of the two together. Without any difference the index
    is on average (bins - 1) (1/n + 1/m), which is taken off; divided by (1/n + 1/m) it is distributed as chi-square.

    Args:
        reference, live: counts by bin, in the same order; neither is empty in sum.
    Returns: the population stability index without its bias, in nats (may be negative), and its p-value.
    Source: Jeffreys (1946), Proc. R. Soc. A 186; Yurdakul & Naranjo (2020), J. Risk Model Validation 14.
    """
    n, m = sum(reference), sum(live)
    groups = list(_gathered(reference, live, ceil((n + m) / BINS)))
    index = 0.0
    for expected, found in groups:
        p, q = max(expected, 0.5) / n, max(found, 0.5) / m
        index += (q - p) * log(q / p)
    noise = 1 / n + 1 / m
    degrees = len(groups) - 1
    return index - degrees * noise, chi_square_tail(index / noise, degrees) if degrees else 1.0


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
