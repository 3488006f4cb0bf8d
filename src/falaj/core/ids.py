"""Ids: 26 characters of Crockford's base 32, 48 bits of milliseconds and 80 random bits, rising within a process.

Source of the form: the public ULID specification. They sort by time, which keeps indexes compact; nothing may
conclude anything else from them.
"""

from __future__ import annotations

import os
import threading
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A fresh id; greater than every earlier one of this process, also when the clock goes back."""
    global _last  # noqa: PLW0603  the one counter of the process, under its lock
    fresh = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    with _lock:
        _last = fresh = max(fresh, _last + 1)
    return _text(fresh)


def first_of(milliseconds: int) -> str:
    """The least id that can be made in a millisecond since 1970, to look for ids by time."""
    return _text(max(0, milliseconds) << 80)


def _text(value: int) -> str:
    out = []
    for _ in range(13):
        out.append(_PAIRS[value & 1023])
        value >>= 10
    return "".join(reversed(out))


def is_id(text: str) -> bool:
    """Whether the text has the form of an id."""
    return len(text) == 26 and all(c in _ALPHABET for c in text)
