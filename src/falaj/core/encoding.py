"""One canonical form of records as bytes, and one form of time.

Everything that is hashed, signed or committed to is encoded here: JSON in UTF-8, keys sorted, no spaces, no NaN.
Two equal values give equal bytes, on every machine and version.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from falaj.core.errors import Invalid

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="sorted")
MAX_DEPTH = 64


def canonical(value: Any) -> bytes:
    """The canonical bytes of a record or plain value."""
    return _encoder.encode(value)


def decode(data: bytes | str, as_type: type[T], what: str = "value") -> T:
    """Decode JSON strictly into a type.

    Raises: Invalid, naming the field and what was expected; deep nesting is refused the same way.
    """
    try:
        return msgspec.json.decode(data, type=as_type)
    except RecursionError as error:
        raise Invalid(f"{what}: nested deeper than {MAX_DEPTH} levels", next_step="flatten it") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"{what}: {error}", next_step="see the operation's description for its fields") from error


def convert(value: Any, as_type: type[T], what: str = "value") -> T:
    """Convert plain values (from YAML, query strings, keyword arguments) strictly into a type. Raises: Invalid."""
    try:
        return msgspec.convert(value, type=as_type)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"{what}: {error}", next_step="see the reference for its fields") from error


def moment(at: datetime) -> str:
    """A time as it is stored and shown: UTC, microseconds, `2026-11-24T17:38:55.000000Z`. Sorts as text."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_moment(text: str) -> datetime:
    """The time that `moment` wrote. Raises: Invalid."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise Invalid(f"time {text[:40]!r}: expected UTC such as 2026-11-24T17:38:55.000000Z") from error
