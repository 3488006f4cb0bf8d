"""What the gate said of every candidate: each rule, what was measured, its bound, and whether it held."""

from __future__ import annotations

from collections.abc import Sequence

from . import svg
from .markup import Markup, el, joined
from .story import Finding, Story, Verdict
from .tables import Column, Head, Row, badge, facts, more, table
from .words import NBSP, bound, count, counted, listed, measured, month, number, sentence, span, version

_STATES = {
    "passed": ("passed", "good"),
    "failed": ("failed", "bad"),
    "waived": ("waived", "muted"),
    "pending": ("awaited", "muted"),
    "not_needed": ("not needed", "muted"),
    "not_judged": ("not judged", "muted"),
}
_WHISKER = (150.0, 26.0)


def section(story: Story) -> Markup | None:
    if not story.verdicts:
        return None
    return joined(
        el(
            "p",
            "All rules are judged, so one verdict names every failure; what was not measured fails. Evidence is "
            "measured by the gate itself, on data that training cannot read.",
        ),
        _overview(story.verdicts),
        [_article(v, i) for i, v in enumerate(story.verdicts)],
    )


def anchor(index: int) -> str:
    return f"verdict-{index + 1}"


def _overview(verdicts: Sequence[Verdict]) -> Markup:
    head: Head = [
        "Candidate",
        "Month",
        Column("What it is", "wide"),
        "Against",
        "Gate",
        Column("Rules that failed", "wide"),
    ]
    rows = []
    for i, at in enumerate(verdicts):
        failed = [f.title or f.rule for f in at.findings if f.state == "failed"]
        link = el("a", version(at.version), href=f"#{anchor(i)}")
        cells = (link, month(at.month), at.about, version(at.holder), _passed(at), listed(failed), at.came)
        rows.append(Row(cells))
    return table("Verdicts of the year", [*head, Column("What came of it", "wide")], rows)


def _passed(at: Verdict) -> Markup:
    return badge("passed", "good") if at.passed else badge("refused", "bad")


def _article(at: Verdict, index: int) -> Markup:
    failed, rules = sum(f.state == "failed" for f in at.findings), counted(len(at.findings), "rule")
    said = f"{failed} of {rules} failed." if failed else f"{rules}, none failed."
    shown = [_rules(at), [_slices(f) for f in at.findings if f.slices]]
    return el(
        "article",
        el("h3", f"{version(at.version)} in {month(at.month)} ", _passed(at)),
        el("p", " ".join(s for s in (sentence(at.about), said, sentence(at.came)) if s)),
        more("Every rule, what was measured, and its bound", _bound_to(at), shown, open_=not at.passed),
        id=anchor(index),
        class_="verdict",
    )


def _bound_to(at: Verdict) -> Markup:
    """What the verdict holds for."""
    rows = f"{counted(at.rows, 'row')} of {at.data}" if at.data else ""
    left = f", {counted(at.unlabelled, 'row')} without outcome left out" if at.unlabelled else ""
    return facts(
        (
            ("For", at.ref),
            ("Against", f"{version(at.holder)}, the holder" if at.holder is not None else "no holder yet"),
            ("Gate", f"{at.gate} {version(at.gate_version)}"),
            ("Measured on", rows + left),
            ("Proposed by", at.by),
            ("Asked to approve", listed(at.approvals)),
            ("Entry", count(at.entry) if at.entry is not None else ""),
            ("Verdict", el("code", at.id[:12])),
        )
    )


def _rules(at: Verdict) -> Markup:
    head: Head = ["Rule", "Result", Column("Measured", "figure"), Column("Bound", "figure"), "95 % interval"]
    head += [Column("Rows", "figure"), Column("What was found", "wide")]
    caption = f"Rules for {version(at.version)} in {month(at.month)}"
    return table(caption, head, [_row(f) for f in at.findings], look="rules")


def _row(at: Finding) -> Row:
    against = at.interval is not None
    unit = f"{NBSP}ms" if at.title.startswith("latency") else ""
    shown = number(at.observed, 4, signed=True) if against else measured(at.observed) + unit
    border = ("+" if against else "") + bound(at.bound) + unit if at.bound is not None else None
    cells = (at.title or at.rule, badge(*_STATES[at.state]), shown if at.observed is not None else None, border)
    return Row((*cells, _interval(at), count(at.rows) if at.rows else None, at.text or at.note), look=at.state)


def _interval(at: Finding) -> Markup | None:
    """How much worse than the holder, drawn: the interval must end left of the bound."""
    if at.interval is None or at.bound is None:
        return None
    (low, high), (width, height) = at.interval, _WHISKER
    middle = at.observed if at.observed is not None else (low + high) / 2
    reach = max(abs(v) for v in (low, high, at.bound, 1e-6)) * 1.15
    x, y = svg.Scale(-reach, reach, 2, width - 2), height / 2
    look = "good" if at.passed else "bad"
    drawn = svg.picture(
        width,
        height,
        svg.line(2, y, width - 2, y, "grid"),
        svg.line(x(0), 4, x(0), height - 4, "zero"),
        svg.line(x(at.bound), 1, x(at.bound), height - 1, "bound"),
        svg.line(x(low), y, x(high), y, f"whisker thick {look}"),
        svg.circle(x(middle), y, 3.6, look),
        wide=False,
    )
    return joined(drawn, el("div", span(low, high, 4, signed=True), class_="small"))


def _slices(at: Finding) -> Markup:
    judged = [s for s in at.slices if s.state != "not_judged"]
    failed = sum(s.state == "failed" for s in judged)
    said = f"{at.title or at.rule}: {counted(len(judged), 'slice')} judged, {failed} failed"
    left = len(at.slices) - len(judged)
    rows = [(s.value, measured(s.observed), count(s.rows), badge(*_STATES[s.state])) for s in at.slices]
    head: Head = ["Slice", Column("Measured", "figure"), Column("Rows", "figure"), "Result"]
    return more(
        f"{said}, {left} with too few rows" if left else said, table(f"Slices of {at.title or at.rule}", head, rows)
    )
