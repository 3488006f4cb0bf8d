"""What entries commit to, as those who write make it and those who verify compare it."""

from __future__ import annotations

import msgspec
from blake3 import blake3

from falaj.core.digests import b3k
from falaj.core.encoding import canonical


def row_digest(table: str, row: msgspec.Struct, key: bytes) -> str:
    """The keyed digest of a row's state.

    Args:
        key: the store's 32-byte commitment key: without it nobody can confirm a guess of the row.
    """
    return b3k(blake3(table.encode() + b"\0" + canonical(row), key=key).digest())


SALT_BYTES = 32


def commitment(salt: bytes, body: bytes) -> str:
    """The commitment to the words beside an entry.

    Args:
        salt: 32 random bytes kept with the words: once both are erased, nobody can confirm a guess of them.
    """
    return b3k(blake3(body, key=salt).digest())


def is_committed(said: str, salt: object, body: object) -> bool:
    """Whether a commitment is to these words, whatever a changed database holds in their place."""
    if not isinstance(salt, bytes) or not isinstance(body, bytes) or len(salt) != SALT_BYTES:
        return False
    return commitment(salt, body) == said
