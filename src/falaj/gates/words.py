"""What a finding says to a person: the figures concerned beside their bound, then the rows. Pure.

LGA 0.641 < 0.66, 8,214 rows
+0.006 > +0.002, 95 % interval +0.003 … +0.009, v5 on the same 27,010 rows
"""

from __future__ import annotations

from collections.abc import Sequence

from falaj.gates.records import BoundRule, HolderRule, Latency, LatencyRule, SliceFinding

SHOWN_SLICES = 3


def bound_text(rule: BoundRule, observed: float | None, rows: int, note: str) -> str:
    """`0.741 ≥ 0.7, 27,010 rows`; the note alone where nothing was measured."""
    if observed is None:
        return note
    return _joined(against_bound(rule, observed), _rows(rows), note)


def slices_text(rule: BoundRule, slices: Sequence[SliceFinding], note: str) -> str:
    """The slices that failed, worst first; the worst one where none did."""
    failed = [s for s in slices if s.state == "failed"]
    judged = [s for s in slices if s.state != "not_judged"]
    if not judged:
        return note
    if not failed:
        worst = judged[0]
        observed = "" if worst.observed is None else f" {against_bound(rule, worst.observed)}"
        return _joined(f"worst {worst.value}{observed}", _rows(worst.rows), f"{len(judged)} slices", note)
    told = []
    for one in failed[:SHOWN_SLICES]:
        observed = "not measured" if one.observed is None else against_bound(rule, one.observed)
        told.append(f"{one.value} {observed}, {_rows(one.rows)}")
    return "; ".join([*told, *([note] if note else [])])


def holder_text(rule: HolderRule, worse: float, low: float, high: float, rows: int, holder: int) -> str:
    """How much worse than the holder, with the interval that decides."""
    bound = rule.no_worse_than
    if worse > bound:
        head = f"{worse:+.4g} > {bound:+.4g}"
    elif high > bound:
        head = f"{worse:+.4g}, not shown to be ≤ {bound:+.4g}"
    else:
        head = f"{worse:+.4g}"
    return _joined(head, f"95 % interval {low:+.4g} … {high:+.4g}", f"v{holder} on the same {_rows(rows)}")


def latency_text(rule: LatencyRule, found: Latency) -> str:
    """`3.1 ms ≤ 5 ms, 500 single rows, p50 1.9 ms`."""
    sign = "≤" if found.p99_ms <= rule.at_most_ms else ">"
    digits = next((d for d in (3, 6, 9) if f"{found.p99_ms:.{d}g}" != f"{rule.at_most_ms:.{d}g}"), 17)
    return _joined(f"{found.p99_ms:.{digits}g} ms {sign} {rule.at_most_ms:g} ms", latency_note(found))


def latency_note(found: Latency | None) -> str:
    """How the times were measured."""
    if found is None:
        return ""
    rounds = f"each row's best of {found.rounds} rounds" if found.rounds > 1 else ""
    return _joined(f"{found.rows:,} single rows, there and back", f"p50 {found.p50_ms:.3g} ms", rounds)


def against_bound(rule: BoundRule, observed: float) -> str:
    """`0.641 < 0.66`, with as many digits as tell the two apart."""
    bound = rule.at_least if rule.at_least is not None else rule.at_most
    assert bound is not None  # noqa: S101  a rule has exactly one of the two
    signs = ("≥", "<") if rule.at_least is not None else ("≤", ">")
    sign = signs[0] if rule.holds(observed) else signs[1]
    digits = next((d for d in (4, 6, 9) if f"{observed:.{d}g}" != f"{bound:.{d}g}"), 17)
    shown = f"{observed:.4g}" if observed == bound else f"{observed:.{digits}g}"
    return f"{shown} {sign} {bound:g}"


def _rows(rows: int) -> str:
    return f"{rows:,} row" + ("" if rows == 1 else "s")


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
