"""Signed heads of the ledger: C2SP tlog-checkpoint in a C2SP signed note, one Ed25519 signature.

The note's text is three lines: origin, size, root in base64. Our origin is the name of the key. Anything that
reads the two specifications can read ours; we also read notes that carry further signatures (witnesses), and check
only those of the keys we know.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from falaj.core.errors import Invalid
from falaj.store.ledger.errors import CheckpointInvalid

ED25519 = b"\1"
MAX_NOTE_BYTES = 1 << 20
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_REFUSED = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")  # controls; halves of characters, which are not UTF-8
_HINT = "compare with a checkpoint kept elsewhere; falaj ledger verify"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A head: how many leaves, and the 32-byte root over them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


class Signature(msgspec.Struct, frozen=True):
    """One signature line: the key's name, its 4-byte id, the signature's bytes."""

    name: str
    key_id: bytes
    value: bytes


class Note(msgspec.Struct, frozen=True):
    """A signed note taken apart. Its text is to be believed only once a signature is checked."""

    text: str
    signatures: tuple[Signature, ...]


class Verifier:
    """A public key under its name, as a `vkey` names it.

    Args:
        name: not empty, without spaces or plus.
        public: the 32 raw bytes.
    """

    def __init__(self, name: str, public: bytes) -> None:
        self.name = _checked_name(name)
        self.public = public
        self.key_id = sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]
        self._key = Ed25519PublicKey.from_public_bytes(public)

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Read `name+hash+base64`. Raises: Invalid."""
        parts = vkey.strip().split("+", 2)
        data = _base64(parts[2]) if len(parts) == 3 else None
        if data is None or data[:1] != ED25519 or len(data) != 33:
            raise Invalid(
                "verifier key: expected name+hash+base64 of an Ed25519 key", next_step="copy falaj.vkey whole"
            )
        verifier = cls(parts[0], data[1:])
        if parts[1] != verifier.key_id.hex():
            raise Invalid(
                f"verifier key {parts[0]}: its hash is {verifier.key_id.hex()}, not {parts[1][:16]}",
                next_step="copy falaj.vkey whole",
            )
        return verifier

    @property
    def vkey(self) -> str:
        """The key as a stranger takes it: `name+hash+base64`."""
        return f"{self.name}+{self.key_id.hex()}+{_text(ED25519 + self.public)}"

    def open(self, note: str) -> Checkpoint:
        """The checkpoint in a note that this key has signed, of the origin that it is named for.

        Raises: CheckpointInvalid.
        """
        parsed = parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        ours = [s for s in parsed.signatures if s.name == self.name and s.key_id == self.key_id]
        if not ours:
            raise CheckpointInvalid(f"checkpoint {checkpoint.size}: not signed by {self.name}", next_step=_HINT)
        for signature in ours:
            try:
                self._key.verify(signature.value, parsed.text.encode())
            except InvalidSignature as error:
                raise CheckpointInvalid(
                    f"checkpoint {checkpoint.size}: the signature of {self.name} does not hold", next_step=_HINT
                ) from error
        if checkpoint.origin != self.name:
            raise CheckpointInvalid(
                f"checkpoint {checkpoint.size}: of {checkpoint.origin[:80]!r}, not of {self.name}", next_step=_HINT
            )
        return checkpoint


class Signer(Verifier):
    """A private key under its name.

    Args:
        seed: the 32 raw bytes of the Ed25519 private key; the caller keeps them at the key custodian.
    """

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        super().__init__(name, self._private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """A signed note over a text that ends in a newline."""
        line = _text(self.key_id + self._private.sign(text.encode()))
        return f"{text}\n\u2014 {self.name} {line}\n"


def open_note(note: str, verifiers: Iterable[Verifier]) -> Checkpoint:
    """The checkpoint in a note that one of these keys has signed. Raises: CheckpointInvalid."""
    failure = CheckpointInvalid("checkpoint: no key was given to check it by", next_step="give falaj.vkey")
    for verifier in verifiers:
        try:
            return verifier.open(note)
        except CheckpointInvalid as error:
            failure = error
    raise failure


def sign_checkpoint(signer: Signer, size: int, root: bytes) -> str:
    """The signed note for a head."""
    return signer.sign(format_checkpoint(Checkpoint(origin=signer.name, size=size, root=root)))


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """The note text of a head."""
    lines = (checkpoint.origin, str(checkpoint.size), _text(checkpoint.root), *checkpoint.extensions)
    return "\n".join(lines) + "\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a note text strictly: what we would not write ourselves is refused. Raises: CheckpointInvalid."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise _malformed("expected origin, size and root, each on a line")
    origin, size, root = lines[0], lines[1], _base64(lines[2])
    if not _SIZE.fullmatch(size) or int(size) >= 1 << 63:
        raise _malformed(f"size {size[:40]!r} is not a decimal number")
    if root is None or len(root) != 32:
        raise _malformed("the root is not the base64 of 32 bytes")
    return Checkpoint(origin=origin, size=int(size), root=root, extensions=tuple(lines[3:-1]))


def parse_note(note: str) -> Note:
    """Take a signed note apart, strictly; checks no signature. Raises: CheckpointInvalid."""
    if len(note) > MAX_NOTE_BYTES:
        raise _malformed("larger than 1 MiB")
    if _REFUSED.search(note):
        raise _malformed("control characters, or not UTF-8")
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not text or not tail.endswith("\n"):
        raise _malformed("expected a text, an empty line and signature lines")
    return Note(text + "\n", tuple(_signature(line) for line in tail[:-1].split("\n")))


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    value = _base64(parts[2]) if len(parts) == 3 and parts[0] == "\u2014" and _is_name(parts[1]) else None
    if value is None or len(value) < 5:
        raise _malformed("a signature line is not: em dash, name, base64")
    return Signature(parts[1], value[:4], value[4:])


def _malformed(reason: str) -> CheckpointInvalid:
    return CheckpointInvalid(f"checkpoint: {reason}", next_step="copy the checkpoint whole, with its last newline")


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name)


def _checked_name(name: str) -> str:
    if not _is_name(name):
        raise Invalid(f"key name {name[:80]!r}: must not be empty or hold spaces or plus", next_step="falaj.example/a")
    return name


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _base64(text: str) -> bytes | None:
    # Only the one canonical spelling, so that equal values are equal text.
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _text(data) == text else None
