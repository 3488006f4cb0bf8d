"""Pure rules of trust."""

from __future__ import annotations

import re
from datetime import timedelta

from falaj.core.errors import Invalid

_SPAN = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
MAX_SPAN = timedelta(days=3660)


def span(text: str) -> timedelta:
    """A span of time: `8h`, `30d`, `12w`. Raises: Invalid."""
    match = _SPAN.fullmatch(text)
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < length <= MAX_SPAN:
        raise Invalid(
            f"span {text[:20]!r}: hours, days or weeks are expected, ten years at most", next_step="such as 30d"
        )
    return length
