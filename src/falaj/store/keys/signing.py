"""Ed25519 keys: models are signed by their project's, checkpoints by the ledger's."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from falaj.core.records import Record
from falaj.store.keys.material import Secret
from falaj.store.keys.rows import KeyState

_MARK = "ed25519:"


class VerifyKey(Record, frozen=True, kw_only=True):
    """The public half of a signing key; it stays when the private half is retired or destroyed."""

    id: str
    raw: bytes
    state: KeyState

    def is_signature(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """A live signing key.

    Attributes:
        id: id of the key's row.
        public: the 32 raw bytes of the public key.
    """

    def __init__(self, key_id: str, seed: Secret) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed.raw)
        self.id = key_id
        self.public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def __repr__(self) -> str:
        return f"SigningKey({self.id!r}, public={self.public.hex()!r})"

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._private.sign(message)


def public_mark(seed: Secret) -> str:
    """The fingerprint of a signing key's row: `ed25519:` and the public key in hex."""
    return _MARK + SigningKey("", seed).public.hex()


def public_bytes(mark: str) -> bytes:
    """The raw public key of a row's fingerprint."""
    return bytes.fromhex(mark.removeprefix(_MARK))
