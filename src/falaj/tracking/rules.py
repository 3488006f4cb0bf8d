"""Pure rules of runs: how large what a client logs may be, and that it holds no secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from falaj.core.encoding import canonical
from falaj.core.errors import Invalid, TooLarge

MAX_BYTES = 256 * 1024
MAX_KEYS = 1000
HIDDEN = "(hidden)"
_NAMED = re.compile(r"(?i)(passw(or)?d|secret|token|api_?key|private_?key|credential|authorization)")
# What may repeat begins where no such character stands before it: else a long text is scanned from each of its letters.
_SHAPED = re.compile(
    r"falaj_[0-9A-Za-z]{8,}_[0-9A-Za-z]{16,}"  # our own tokens
    r"|AKIA[0-9A-Z]{16}|gh[pousr]_[0-9A-Za-z]{30,}|glpat-[0-9A-Za-z_-]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"
    r"|(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@"
)


def cleaned(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The values with whatever is named or shaped like a secret hidden.

    Raises: TooLarge for more than 1,000 keys or 256 KiB.
    """
    if len(values) > MAX_KEYS:
        raise TooLarge(f"{what}: {len(values)} keys, at most {MAX_KEYS}", next_step="log them as a file")
    if (size := len(canonical(values))) > MAX_BYTES:
        raise TooLarge(f"{what}: {size:,} bytes, at most {MAX_BYTES:,}", next_step="log them as a file")
    return {key: _clean(key, value) for key, value in values.items()}


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics. Raises: Invalid for a value that is no finite number; TooLarge for too many."""
    if len(metrics) > MAX_KEYS:
        raise TooLarge(f"metrics: {len(metrics)} keys, at most {MAX_KEYS}")
    for key, value in metrics.items():
        if not math.isfinite(value):
            raise Invalid(f"metric {key[:60]!r} is {value}: a finite number is expected", next_step="leave it out")
    return dict(metrics)


def _clean(key: str, value: Any) -> Any:
    if _NAMED.search(key):
        return HIDDEN
    if isinstance(value, str):
        return _SHAPED.sub(HIDDEN, value)
    if isinstance(value, Mapping):
        return {k: _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", v) for v in value]
    return value
