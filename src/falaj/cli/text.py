"""Text for terminals: escaped, aligned, with numbers as people write them. Pure.

Whatever came from data, from another person or from a server goes through `safe`: a name cannot move the cursor,
recolour a line, hide text or turn its direction.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

MAX_CELL = 400
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d+Z")


def safe(value: object, limit: int = MAX_CELL) -> str:
    """One line of text in which everything that a terminal would act on is written out, as Python's `ascii` does."""
    text = str(value)
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_escape(c) if unicodedata.category(c) in _UNSAFE else c for c in cut)


def _escape(char: str) -> str:
    code = ord(char)
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """Columns that safe text takes: marks take none, wide characters two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """Safe text filled with spaces to so many columns."""
    room = " " * max(0, columns - width(text))
    return room + text if right else text + room


def number(value: float) -> str:
    """28330 → `28,330`; 0.64123456 → `0.6412`."""
    if isinstance(value, int):
        return f"{value:,}"
    return (
        f"{value:,.0f}"
        if value.is_integer() and abs(value) < 1e15
        else f"{value:,.4g}"
        if abs(value) < 1e4
        else f"{value:,.1f}"
    )


def size(value: int) -> str:
    """Bytes in powers of ten: 12400000 → `12.4 MB`."""
    amount = float(value)
    for unit in _UNITS:
        if abs(amount) < 999.95 or unit == _UNITS[-1]:
            return f"{value:,} B" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError  # the loop returns at its last unit


def counted(count: int, word: str) -> str:
    """`1 rule`, `18 rules`, `2 entries`."""
    many = word if count == 1 else word[:-1] + "ies" if re.search("[^aeiou]y$", word) else word + "s"
    return f"{count:,} {many}"


def plain(value: object, key: str = "") -> str:
    """Any value of a result in one safe line; the field's name tells its unit."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if key in ("size", "bytes") or key.endswith("_bytes"):
            return size(value)
        case int() if key in ("version", "number", "leaf", "revision", "holder", "previous", "port", "epoch"):
            return str(value)
        case int() | float():
            return number(value)
        case str():
            told = _MOMENT.fullmatch(value)
            return f"{told[1]} {told[2]}Z" if told else safe(value)
        case Mapping():
            kept = ((k, v) for k, v in value.items() if v is not None and v != "")
            return ", ".join(f"{safe(k)}={plain(v, str(k))}" for k, v in kept) or "-"
        case list() | tuple():
            return ", ".join(plain(item, key) for item in value) or "-"
    return safe(value)


def table(rows: Sequence[Sequence[str]], headings: Sequence[str] = (), *, right: Iterable[int] = ()) -> list[str]:
    """Rows of safe cells, each column as wide as its widest cell; columns in `right` end together."""
    if not rows:
        return []
    lines = [list(headings), *map(list, rows)] if headings else [list(row) for row in rows]
    columns = max(map(len, lines))
    lines = [line + [""] * (columns - len(line)) for line in lines]
    widths = [max(width(line[i]) for line in lines) for i in range(columns)]
    at_right = set(right)
    return ["  ".join(padded(c, widths[i], right=i in at_right) for i, c in enumerate(line)).rstrip() for line in lines]
