"""Key material: secrets that do not print, wrapping, fingerprints and derived keys.

Pure; the format is in docs/formats.md.

A wrapped key is bound to what it is for: the wrapping key is derived from the parent and the context (purpose, domain,
epoch, id), so a row copied to another domain or purpose does not unwrap there.
"""

from __future__ import annotations

import hmac
import os
from typing import Any, NoReturn

from blake3 import blake3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from falaj.core.encoding import canonical
from falaj.store.keys.errors import KeyRowDamaged

KEY_SIZE = 32
_WRAP = b"falaj wrap 1\x00"
_FINGERPRINT = "falaj 2026-11 key fingerprint 1"
_DERIVE = "falaj 2026-11 derived key 1: "


class Secret:
    """32 bytes or so that must not reach a log, a message or a pickle."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = bytes(raw)

    @property
    def raw(self) -> bytes:
        """The bytes; keep them inside one function."""
        return self._raw

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._raw, other._raw)

    __hash__ = None  # type: ignore[assignment]  # a secret is not a look-up key

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def fresh_secret() -> Secret:
    """A new random key of 32 bytes."""
    return Secret(os.urandom(KEY_SIZE))


def fingerprint(secret: Secret) -> str:
    """16 hex digits that name a key without helping to find it."""
    return blake3(secret.raw, derive_key_context=_FINGERPRINT).digest(length=8).hex()


def derived(secret: Secret, what: str) -> bytes:
    """A 32-byte key derived for one use ("chunk", "node", …) from a secret."""
    return blake3(secret.raw, derive_key_context=_DERIVE + what).digest()


def context_of(purpose: str, domain: str, epoch: int, key_id: str) -> bytes:
    """What a wrapped key is bound to."""
    fields: list[Any] = [purpose, domain, epoch, key_id]
    return _WRAP + canonical(fields)


def wrap(parent: Secret, key: Secret, context: bytes) -> bytes:
    """AES-256-KWP (RFC 5649) of the key under HKDF-SHA256(parent, info=context); 40 bytes for a 32-byte key."""
    return aes_key_wrap_with_padding(_wrapping_key(parent, context), key.raw)


def unwrap(parent: Secret, wrapped: bytes, context: bytes, *, what: str) -> Secret:
    """The key that `wrap` wrapped.

    Args:
        what: how a message names the key.
    Raises: KeyRowDamaged where parent, context or bytes are not those of the wrapping.
    """
    try:
        return Secret(aes_key_unwrap_with_padding(_wrapping_key(parent, context), wrapped))
    except (InvalidUnwrap, ValueError) as error:
        raise KeyRowDamaged(
            f"{what}: the stored key does not unwrap", next_step="restore the key's row from a backup"
        ) from error


def _wrapping_key(parent: Secret, context: bytes) -> bytes:
    return HKDF(SHA256(), KEY_SIZE, salt=None, info=context).derive(parent.raw)
