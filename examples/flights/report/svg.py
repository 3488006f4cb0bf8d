"""The few shapes that the pictures are made of.

Colours come from the style sheet by class, so a dark page needs no second picture; coordinates are rounded to a tenth
of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .markup import Markup, el

# Width of a character over the size of the font, in the widest of the fonts that the page asks for.
CAPITAL, LETTER, NARROW = 0.74, 0.62, 0.36
_NARROW = frozenset("fijlrt.,:;'|!()[] ")


class Scale(NamedTuple):
    """A linear scale: from values `low` to `high` to places `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scale(values: Sequence[float], start: float, end: float, *, zero: bool = False) -> tuple[Scale, tuple[float, ...]]:
    """A scale that holds all values, and its ticks: round numbers, about five.

    Args:
        zero: whether it begins at zero, as lengths that are compared must.
    """
    known = [v for v in values if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if zero:
        low = min(low, 0.0)
    if high - low < 1e-9:
        low, high = low - (0 if zero else 0.05), high + 0.05
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, start, end), tuple(i * step for i in range(first, last + 1))


def decimals(ticks: Sequence[float]) -> int:
    """How many decimals tell the ticks apart."""
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))


def picture(
    width: float, height: float, *children: object, told: str = "", class_: str = "", wide: bool = True
) -> Markup:
    """An image with its description for those who do not see it.

    Args:
        told: the description; "" for a decoration beside words that say the same.
        wide: whether it fills the width that it is given, rather than keep its own size.
    """
    return el(
        "svg",
        *children,
        class_=f"picture {class_}".strip(),
        viewBox=f"0 0 {rounded(width)} {rounded(height)}",
        role="img" if told else None,
        aria_label=told or None,
        aria_hidden=None if told else "true",
        width=None if wide else rounded(width),
        height=None if wide else rounded(height),
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return el("line", x1=rounded(x1), y1=rounded(y1), x2=rounded(x2), y2=rounded(y2), class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, *inside: object, rx: float = 0) -> Markup:
    size = {"width": rounded(max(0.0, width)), "height": rounded(max(0.0, height))}
    return el("rect", *inside, x=rounded(x), y=rounded(y), **size, rx=rounded(rx) if rx else None, class_=class_)


def circle(x: float, y: float, r: float, class_: str, *inside: object) -> Markup:
    return el("circle", *inside, cx=rounded(x), cy=rounded(y), r=rounded(r), class_=class_)


def text(x: float, y: float, words: object, class_: str = "", *, anchor: str = "start") -> Markup:
    return el("text", words, x=rounded(x), y=rounded(y), class_=class_ or None, text_anchor=anchor)


def path(points: Sequence[tuple[float, float]], class_: str, *, close: bool = False, inside: object = None) -> Markup:
    drawn = "M" + "L".join(f"{rounded(x)} {rounded(y)}" for x, y in points) + ("Z" if close else "")
    return el("path", inside, d=drawn, class_=class_)


def tip(words: object) -> Markup:
    """What a pointer that rests on a mark is told."""
    return el("title", words)


def group(*children: object, class_: str = "") -> Markup:
    return el("g", *children, class_=class_ or None)


def mark(shape: str, x: float, y: float, r: float, class_: str, words: object = None) -> Markup:
    """A mark whose shape says what it is without its colour: dot, ring, square, diamond, cross, up, back, tick."""
    return _SHAPES[shape](x, y, r, class_, None if words is None else tip(words))


def _cross(x: float, y: float, r: float, class_: str, told: Markup | None) -> Markup:
    drawn = f"M{rounded(x - r)} {rounded(y - r)}l{rounded(2 * r)} {rounded(2 * r)}m0 {rounded(-2 * r)}"
    return group(
        circle(x, y, r * 2, "hit", told),
        el("path", d=f"{drawn}l{rounded(-2 * r)} {rounded(2 * r)}", class_=f"{class_} stroke"),
    )


def _tick(x: float, y: float, r: float, class_: str, told: Markup | None) -> Markup:
    points = [(x - r, y), (x - r * 0.25, y + r * 0.8), (x + r * 1.1, y - r * 0.9)]
    return group(circle(x, y, r * 2, "hit", told), path(points, f"{class_} stroke"))


def _back(x: float, y: float, r: float, class_: str, told: Markup | None) -> Markup:
    points = [(x + r, y - r), (x - r * 1.1, y), (x + r, y + r)]
    return path(points, class_, close=True, inside=told)


def _polygon(*corners: tuple[float, float]) -> Callable[[float, float, float, str, Markup | None], Markup]:
    def draw(x: float, y: float, r: float, class_: str, told: Markup | None) -> Markup:
        return path([(x + dx * r, y + dy * r) for dx, dy in corners], class_, close=True, inside=told)

    return draw


_SHAPES: dict[str, Callable[[float, float, float, str, Markup | None], Markup]] = {
    "dot": circle,
    "ring": lambda x, y, r, c, t: circle(x, y, r, f"{c} hollow", t),
    "square": _polygon((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "diamond": _polygon((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
    "up": _polygon((0, -1.15), (1.15, 0.95), (-1.15, 0.95)),
    "hollow_up": lambda x, y, r, c, t: _polygon((0, -1.15), (1.15, 0.95), (-1.15, 0.95))(x, y, r, f"{c} hollow", t),
    "back": _back,
    "cross": _cross,
    "tick": _tick,
}


def apart(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Places moved as little as a simple sweep does so that they keep `least` from each other within the borders.

    Returns: one place for each, in the order given.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    below = low - least
    for i in order:
        moved[i] = below = max(moved[i], below + least)
    above = high + least
    for i in reversed(order):
        moved[i] = above = min(moved[i], above - least)
    return moved


def fitted(words: str, width: float, size: float) -> str:
    """Words cut so that they fit a width at a font size, with an ellipsis where they were cut."""
    if length(words, size) <= width:
        return words
    end = next(n for n in range(len(words) - 1, -1, -1) if not n or length(words[:n] + "…", size) <= width)
    return words[:end].rstrip() + "…"


def length(words: str, size: float) -> float:
    """About how wide words are at a font size; never too little by much."""
    return size * sum(NARROW if c in _NARROW else CAPITAL if c.isupper() or c in "mw—…@%" else LETTER for c in words)


def rounded(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
