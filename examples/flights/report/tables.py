"""Tables that can be read aloud, scrolled on a narrow page, and printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .markup import Markup, el
from .words import NONE


@dataclass(frozen=True)
class Column:
    """A column by its name; figures stand right-aligned, and `wide` ones may break lines."""

    name: str
    look: str = ""


Head = list[Column | str]


class Row(NamedTuple):
    """Cells in the order of the columns; the first is the row's own heading."""

    cells: Sequence[object]
    look: str = ""
    anchor: str = ""


def table(
    caption: str, columns: Sequence[Column | str], rows: Iterable[Row | Sequence[object]], *, look: str = ""
) -> Markup:
    """A table in a region that scrolls by itself where the page is narrower.

    A column in which no row has anything is left out.

    Args:
        caption: what it holds; also the name of the region.
    """
    heads = [c if isinstance(c, Column) else Column(c) for c in columns]
    full = [r if isinstance(r, Row) else Row(r) for r in rows]
    shown = [i for i in range(len(heads)) if not i or any(r.cells[i] not in _NOTHING for r in full)]
    head = el("tr", [el("th", heads[i].name, scope="col", class_=heads[i].look or None) for i in shown])
    body = [_row(r, heads, shown) for r in full]
    inner = el("table", el("caption", caption), el("thead", head), el("tbody", body), class_=look or None)
    return el("div", inner, class_="scroll", role="region", aria_label=caption, tabindex="0")


_NOTHING = (None, "", NONE)


def _row(row: Row, heads: Sequence[Column], shown: Sequence[int]) -> Markup:
    cells = [
        el("td" if i else "th", row.cells[i], scope=None if i else "row", class_=heads[i].look or None) for i in shown
    ]
    return el("tr", cells, class_=row.look or None, id=row.anchor or None)


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names and values of one thing; what is empty is left out."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs if value], class_="facts")


_SIGNS = {"good": "✓", "bad": "✗", "warn": "▲", "muted": "○", "back": "↩"}


def badge(words: str, look: str) -> Markup:
    """A state: a sign, a word, and a colour that only repeats them."""
    sign = el("span", _SIGNS[look], aria_hidden="true", class_="sign")
    return el("span", sign, words, class_=f"badge {'bad' if look == 'back' else look}")


def more(summary: object, *children: object, open_: bool = False) -> Markup:
    """What most readers skip, folded; it is printed unfolded."""
    return el("details", el("summary", summary), children, open=open_)
