"""Figures, months and times in the words of the page. A value that was not measured is a dash."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from .story import Estimate

NBSP = "\N{NO-BREAK SPACE}"
NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_MONTHS = "January February March April May June July August September October November December".split()


def count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def counted(value: int, one: str, many: str = "") -> str:
    """`1 flight`, `2 flights`, `no flights`."""
    return f"{value:,}{NBSP}{one}" if value == 1 else f"{count(value) if value else 'no'}{NBSP}{many or one + 's'}"


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A score, `0.714`; signed, `+0.003`. Below zero it stands after the true minus sign."""
    if value is None:
        return NONE
    text = f"{abs(value):,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def measured(value: float | None) -> str:
    """A figure of any size with as many digits as say something: `0.706`, `12.4`, `41,233`."""
    if value is None:
        return NONE
    size = abs(value)
    digits = 3 if size < 10 else 1 if size < 1000 else 0
    return number(value, digits)


def bound(value: float | None) -> str:
    """A threshold as it was written: `0.7`, `0.002`, `50`."""
    return NONE if value is None else f"{value:,.10g}".replace("-", MINUS)


def share(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{100 * value:.{digits}f}{NBSP}%"


def whole_share(value: float) -> str:
    """A share of a rollout: `5 %`, `12.5 %`."""
    return f"{100 * value:.4g}{NBSP}%"


def estimate(value: Estimate | None, digits: int = 3) -> str:
    """`0.714 (0.706 to 0.722)`."""
    if value is None:
        return NONE
    return f"{number(value.value, digits)} ({span(value.low, value.high, digits)})"


def span(low: float, high: float, digits: int = 3, *, signed: bool = False) -> str:
    return f"{number(low, digits, signed=signed)}{NBSP}to{NBSP}{number(high, digits, signed=signed)}"


def seconds(value: float | None) -> str:
    """`41 ms`, `2.1 s`, `3 min 41 s`."""
    if value is None:
        return NONE
    if value < 0.9995:
        return f"{1000 * value:.0f}{NBSP}ms"
    if value < 59.95:
        return f"{value:.1f}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}{NBSP}min{NBSP}{rest}{NBSP}s"


def milliseconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.1f}{NBSP}ms" if value < 10 else seconds(value / 1000)


def version(value: int | None) -> str:
    return "none" if value is None else f"v{value}"


def month(name: str) -> str:
    """`April 2013`; a month that is none stays as it stands."""
    year, _, at = name.partition("-")
    return f"{_MONTHS[int(at) - 1]}{NBSP}{year}" if _is_month(name) else name


def short_month(name: str, letters: int = 3) -> str:
    return _MONTHS[int(name[5:]) - 1][:letters] if _is_month(name) else name[:letters]


def month_span(names: Sequence[str]) -> str:
    """`January to December 2013`, `December 2013 to March 2014`, `April 2013`."""
    if not names:
        return ""
    first, last = min(names), max(names)
    if first == last:
        return month(first)
    same_year = first[:4] == last[:4]
    return f"{month(first).partition(NBSP)[0] if same_year else month(first)} to {month(last)}"


def day(at: str) -> str:
    """`26 November 2026, 21:54 UTC`."""
    parsed = moment(at)
    if parsed is None:
        return at
    return f"{parsed.day}{NBSP}{_MONTHS[parsed.month - 1]}{NBSP}{parsed.year}, {parsed:%H:%M}{NBSP}UTC"


def elapsed(at: str, begin: str) -> str:
    """Time since the beginning, `2:07.4` (minutes, seconds); the time itself where there is no beginning."""
    start, then = moment(begin), moment(at)
    if start is None or then is None or then < start:
        return f"{then:%H:%M:%S}" if then else at
    minutes, rest = divmod((then - start).total_seconds(), 60)
    return f"{minutes:.0f}:{rest:04.1f}" if rest < 59.95 else f"{minutes + 1:.0f}:00.0"


def moment(at: str) -> datetime | None:
    """The time that a text tells, in UTC where it does not say; None where it tells none."""
    try:
        parsed = datetime.fromisoformat(at)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def sentence(words: str) -> str:
    """Words as a sentence of their own: a capital first, a full stop at the end; nothing stays nothing."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!")) else ".") if words else ""


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _is_month(name: str) -> bool:
    return len(name) == 7 and name[4] == "-" and name[5:].isdigit() and 1 <= int(name[5:]) <= 12
