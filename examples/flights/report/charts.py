"""Pictures over the months: scores with their intervals, and what was predicted beside what came.

Each picture is drawn twice, for wide and for narrow pages; the style sheet shows one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from . import svg
from .markup import Markup, el, joined
from .story import Estimate, Month, Score, Sort
from .words import listed, month, number, share, short_month, span, version

Metric = Literal["auc", "brier", "brier_to_frozen"]
METRICS: dict[Metric, str] = {
    "auc": "AUC",
    "brier": "Brier score",
    "brier_to_frozen": "Brier score against the frozen model",
}
_DIGITS: dict[Metric, int] = {"auc": 3, "brier": 4, "brier_to_frozen": 4}


class Line(NamedTuple):
    """How one way of choosing models looks; told apart by shape and dashes as well as by colour."""

    of: Sort
    name: str
    long: str
    shape: str


LINES = (
    Line("frozen", "Frozen", "the first model in force, never replaced", "ring"),
    Line("retrained", "Retrained", "a new model every month, put in force unseen", "square"),
    Line("chosen", "Falaj", "what the gate and the canary let through", "dot"),
)


class Frame(NamedTuple):
    """Where a chart draws: its size, its inner borders, and how far the lines stand apart within a month."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    dodge: float
    narrow: bool

    @property
    def inner(self) -> float:
        return self.width - self.left - self.right

    def middle(self, index: int, months: int) -> float:
        return self.left + (index + 0.5) * self.inner / max(1, months)

    @property
    def floor(self) -> float:
        return self.height - self.bottom


WIDE = Frame(960, 300, 56, 150, 16, 52, 9, narrow=False)
NARROW = Frame(360, 270, 50, 8, 16, 50, 4, narrow=True)


def score_of(at: Month, of: Sort) -> Score | None:
    return next((s for s in at.scores if s.of == of), None)


def both(draw: Callable[[Frame], Markup]) -> Markup:
    """The picture for wide pages and the one for narrow ones."""
    return joined(el("div", draw(WIDE), class_="wide"), el("div", draw(NARROW), class_="narrow"))


def legend(lines: Sequence[Line] = LINES, *more: object) -> Markup:
    return el("ul", [_entry(line) for line in lines], more, class_="legend")


def _entry(line: Line) -> Markup:
    drawn = (svg.line(1, 7, 33, 7, f"curve {line.of}"), svg.mark(line.shape, 17, 7, 4.5, line.of))
    return el("li", svg.picture(34, 14, drawn, wide=False), el("span", el("b", line.name), f" {line.long}"))


def score_chart(months: Sequence[Month], metric: Metric, frame: Frame) -> Markup:
    """One metric by month with its 95 % intervals, for every way of choosing that has it.

    A difference is drawn on an axis that holds zero, where the two are equal.
    """
    shown = [m for m in months if any(getattr(s, metric) for s in m.scores)]
    found = [(m, line, e) for m in shown for line in LINES if (e := _value(m, line.of, metric))]
    signed = metric == "brier_to_frozen"
    ends = [v for _, _, e in found for v in (e.low, e.high)] + [0.0] * signed
    y, ticks = svg.scale(ends, frame.floor, frame.top)
    digits = svg.decimals(ticks)
    return svg.picture(
        frame.width,
        frame.height,
        _grid(frame, y, ticks, lambda v: number(v, digits, signed=signed)),
        svg.line(frame.left, y(0), frame.width - frame.right, y(0), "zero") if signed else None,
        _months(frame, shown),
        [_curve(frame, shown, line, metric, y) for line in LINES],
        None if frame.narrow else list(_names(frame, shown, metric, y)),
        told=_told(found, metric),
        class_="chart",
    )


def _value(at: Month, of: Sort, metric: Metric) -> Estimate | None:
    found = score_of(at, of)
    return getattr(found, metric) if found else None


def _told(found: Sequence[tuple[Month, Line, Estimate]], metric: Metric) -> str:
    parts = []
    for line in LINES:
        values = [f"{month(m.month)} {_figure(e.value, metric)}" for m, at, e in found if at is line]
        if values:
            parts.append(f"{line.name}: {', '.join(values)}")
    return f"{METRICS[metric]} by month. {'. '.join(parts)}."


def _figure(value: float, metric: Metric) -> str:
    return number(value, _DIGITS[metric], signed=metric == "brier_to_frozen")


def _grid(frame: Frame, y: svg.Scale, ticks: Sequence[float], words: Callable[[float], str]) -> Iterator[Markup]:
    for tick in ticks:
        yield svg.line(frame.left, y(tick), frame.width - frame.right, y(tick), "grid")
        yield svg.text(frame.left - 8, y(tick) + 4, words(tick), "axis", anchor="end")


def _months(frame: Frame, months: Sequence[Month]) -> Iterator[Markup]:
    """The names of the months, and the version that answered most of its requests below each."""
    for i, at in enumerate(months):
        x = frame.middle(i, len(months))
        letters = 1 if frame.narrow and len(months) > 9 else 3
        yield svg.text(x, frame.floor + 20, short_month(at.month, letters), "axis", anchor="middle")
        chosen = score_of(at, "chosen")
        if chosen and chosen.versions:
            names = chosen.versions[:1] if frame.narrow else chosen.versions[:3]
            told = svg.tip(f"{month(at.month)}: answered by {listed([version(v) for v in chosen.versions])}")
            words = " ".join(version(v) for v in names)
            yield svg.text(x, frame.floor + 38, joined(words, told), "axis served", anchor="middle")
    if not frame.narrow and any((s := score_of(m, "chosen")) and s.versions for m in months):
        yield svg.text(frame.width - frame.right + 12, frame.floor + 38, "in force", "axis served")


def _curve(frame: Frame, months: Sequence[Month], line: Line, metric: Metric, y: svg.Scale) -> Markup:
    shift = frame.dodge * (LINES.index(line) - 1)
    pieces: list[list[tuple[float, float]]] = [[]]
    marks = []
    for i, at in enumerate(months):
        value = _value(at, line.of, metric)
        if value is None:
            pieces.append([])
            continue
        x = frame.middle(i, len(months)) + shift
        pieces[-1].append((x, y(value.value)))
        interval = span(value.low, value.high, _DIGITS[metric], signed=metric == "brier_to_frozen")
        told = f"{month(at.month)}, {line.name}: {METRICS[metric]} {_figure(value.value, metric)} ({interval})"
        marks.append(svg.line(x, y(value.low), x, y(value.high), f"whisker {line.of}"))
        marks.append(svg.mark(line.shape, x, y(value.value), 3 if frame.narrow else 4.2, line.of, told))
    return svg.group([svg.path(p, f"curve {line.of}") for p in pieces if len(p) > 1], marks)


def _names(frame: Frame, months: Sequence[Month], metric: Metric, y: svg.Scale) -> Iterator[Markup]:
    last = [(line, value) for line in LINES if months and (value := _value(months[-1], line.of, metric))]
    places = svg.apart([y(value.value) for _, value in last], 17, frame.top + 6, frame.floor)
    for (line, value), at in zip(last, places, strict=True):
        words = f"{line.name} {_figure(value.value, metric)}"
        yield svg.text(frame.width - frame.right + 12, at + 4, words, f"name {line.of}")


def late_chart(months: Sequence[Month], frame: Frame) -> Markup:
    """The share of late flights as columns, and the mean of what was predicted as marks above them."""
    shown = [m for m in months if m.late is not None and not m.training]
    means = [(m, line, s.mean) for m in shown for line in LINES if (s := score_of(m, line.of)) and s.mean is not None]
    late = [m.late for m in shown if m.late is not None]
    y, ticks = svg.scale([*late, *(mean for _, _, mean in means)], frame.floor, frame.top, zero=True)
    marks: list[Markup] = []
    for i, at in enumerate(shown):
        middle, width = frame.middle(i, len(shown)), frame.inner / len(shown) * 0.62
        top = y(at.late or 0.0)
        told = svg.tip(f"{month(at.month)}: {share(at.late)} of the flights were late")
        marks.append(svg.rect(middle - width / 2, top, width, frame.floor - top, "late", told))
        for shift, line in zip((-1, 0, 1), LINES, strict=True):
            for m, its, mean in means:
                if m is at and its is line:
                    told_mean = f"{month(at.month)}, {line.name}: {share(mean)} predicted, {share(at.late)} late"
                    size = 3 if frame.narrow else 4.2
                    marks.append(svg.mark(line.shape, middle + shift * frame.dodge, y(mean), size, line.of, told_mean))
    told_all = "; ".join(f"{month(m.month)} {share(m.late)} late" + _means(m) for m in shown)
    return svg.picture(
        frame.width,
        frame.height,
        _grid(frame, y, ticks, lambda v: share(v, 0)),
        marks,
        _months(frame, shown),
        told=f"Share of late flights and mean prediction by month. {told_all}.",
        class_="chart",
    )


def _means(at: Month) -> str:
    return "".join(f", {line.name} {share(s.mean)}" for line in LINES if (s := score_of(at, line.of)) and s.mean)
