"""Digests: text `algorithm:hex`, so that a digest always says what it is.

`sha256:` names what is signed or leaves the house (models, code, ledger leaves, plain payloads); `b3k:` is keyed
BLAKE3, which commits to content without letting a stranger confirm a guess (datasets, ledger commitments).
"""

from __future__ import annotations

import hashlib
import re

from falaj.core.errors import Invalid

_FORM = re.compile(r"(sha256|b3k):[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """`sha256:…` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def b3k(raw: bytes) -> str:
    """`b3k:…` from the 32 raw bytes of a keyed BLAKE3."""
    return "b3k:" + raw.hex()


def parse_digest(text: object) -> str:
    """A digest as it came in from outside. Raises: Invalid."""
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        raise Invalid("digest: expected sha256: or b3k: with 64 hex digits", next_step="copy the digest whole")
    return text
