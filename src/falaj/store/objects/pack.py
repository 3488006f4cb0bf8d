"""The pack: encrypted chunks and tree nodes in one blob. The format, bit for bit, is in docs/formats.md.

    header | sealed objects, back to back | sealed directory | trailer

Every byte is bound: the header by its SHA-256, which is part of each seal's additional data; each object by its seal
at its offset (the nonce); the directory likewise; the trailer by having to lead to a directory that opens.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
from backports.zstd import ZstdCompressor, ZstdDecompressor, ZstdError
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from falaj.core.encoding import canonical
from falaj.store.keys import DomainKeys, Sealed
from falaj.store.keys.errors import KeyRowDamaged
from falaj.store.keys.material import fresh_secret
from falaj.store.objects.errors import PackDamaged
from falaj.store.objects.location import Buffer
from falaj.store.objects.records import ChunkPlace

MAGIC, END = b"falajpk1", b"falajpke"
TAG = 16
CHUNK, NODE, DIRECTORY = b"C", b"N", b"D"
MAX_HEADER = 4096
MAX_OBJECT = 1 << 20
TARGET_SIZE = 32 << 20
MAX_OBJECTS = 1 << 16
_LENGTH = struct.Struct(">H")
_ENTRY = struct.Struct(">c32sII")
_TRAILER = struct.Struct(">QI8s")
_HEADER_MARK = 32
CAPACITY = TARGET_SIZE + MAX_OBJECT + TAG + MAX_HEADER + MAX_OBJECTS * _ENTRY.size + TAG + _TRAILER.size


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pack says in the clear: ids, and its key wrapped by the domain's epoch key of that fingerprint."""

    v: Literal[1] = 1
    cipher: Literal["aes-256-gcm"] = "aes-256-gcm"
    pack: str
    domain: str
    epoch: int
    fingerprint: str
    key: bytes


class Held(NamedTuple):
    """One object of a pack's directory."""

    kind: bytes
    name: bytes
    place: ChunkPlace


class Squeezer:
    """zstd level 1, raw where that does not shrink; one context for many objects of one thread."""

    def __init__(self) -> None:
        self._zstd = ZstdCompressor(level=1)

    def squeeze(self, data: Buffer) -> Buffer:
        """The compressed bytes where they are fewer, else the data itself."""
        small = self._zstd.compress(data, ZstdCompressor.FLUSH_FRAME)
        return small if len(small) < len(data) else data


def name_of(keys: DomainKeys, kind: bytes, data: Buffer) -> bytes:
    """The 32-byte keyed BLAKE3 name of an object."""
    return blake3(data, key=keys.node_key if kind == NODE else keys.chunk_key).digest()


class PackWriter:
    """One pack under a random key of its own, written into a buffer that the caller lends.

    Args:
        buffer: at least CAPACITY bytes; holds the pack until it is put.
        target: the size at which it is full, at most TARGET_SIZE.
    """

    def __init__(self, keys: DomainKeys, pack: str, buffer: memoryview, *, target: int = TARGET_SIZE) -> None:
        key = fresh_secret()
        sealed = keys.seal(key, pack)
        self.id, self.epoch = pack, sealed.epoch
        self._target = min(target, TARGET_SIZE)
        self._aead = AESGCM(key.raw)
        self._view = buffer
        self._directory = bytearray()
        body = canonical(
            Header(
                pack=pack, domain=keys.domain, epoch=sealed.epoch, fingerprint=sealed.fingerprint, key=sealed.wrapped
            )
        )
        head = MAGIC + _LENGTH.pack(len(body)) + body
        self._mark = hashlib.sha256(head).digest()
        self.start = self._at = len(head) + _HEADER_MARK
        self._view[: self._at] = head + self._mark

    @property
    def is_full(self) -> bool:
        """Whether the next object belongs into another pack."""
        return self._at >= self._target or len(self._directory) >= MAX_OBJECTS * _ENTRY.size

    def add(self, kind: bytes, name: bytes, payload: Buffer, raw_length: int) -> ChunkPlace:
        """Seal one object, of at most MAX_OBJECT bytes."""
        place = ChunkPlace(self.id, self._at, len(payload) + TAG, raw_length)
        self._directory += _ENTRY.pack(kind, name, place.length, raw_length)
        self._seal(kind, payload)
        return place

    @property
    def directory(self) -> bytes:
        """What the directory says so far; `held_in` reads it."""
        return bytes(self._directory)

    def finish(self) -> memoryview:
        """Seal the directory; returns the whole pack, valid until the buffer is lent again."""
        start, length = self._at, len(self._directory) + TAG
        self._seal(DIRECTORY, self._directory)
        end = self._at + _TRAILER.size
        self._view[self._at : end] = _TRAILER.pack(start, length, END)
        return self._view[:end]

    def _seal(self, kind: bytes, payload: Buffer) -> None:
        end = self._at + len(payload) + TAG
        self._aead.encrypt_into(_nonce(self._at), payload, self._mark + kind, self._view[self._at : end])
        self._at = end


class OpenPack:
    """A pack's header, opened: decrypts its objects."""

    def __init__(self, keys: DomainKeys, pack: str, head: bytes) -> None:
        """Open by the first MAX_HEADER bytes. Raises: PackDamaged, WrongKey, KeyDestroyed."""
        self.id = pack
        self._keys = keys
        header, self.start, self._mark = _header(pack, head)
        if header.pack != pack or header.domain != keys.domain:
            raise PackDamaged(
                f"pack {pack}: its header says pack {header.pack} of {header.domain}", facts={"pack": pack}
            )
        try:
            key = keys.unseal(Sealed(header.epoch, header.fingerprint, header.key), pack)
        except KeyRowDamaged as error:
            raise PackDamaged(f"pack {pack}: its key does not unwrap", facts={"pack": pack}) from error
        self._aead = AESGCM(key.raw)
        self.epoch = header.epoch

    def payload(self, kind: bytes, name: bytes, place: ChunkPlace, sealed: Buffer) -> bytes:
        """The object's bytes as they were stored, compressed or raw, from its sealed ones. Raises: PackDamaged."""
        if len(sealed) != place.length:
            raise self._damage(name, f"ends after {len(sealed)} of {place.length} bytes")
        try:
            return self._aead.decrypt(_nonce(place.offset), sealed, self._mark + kind)
        except (InvalidTag, ValueError) as error:
            raise self._damage(name, "does not decrypt") from error

    def read(self, kind: bytes, name: bytes, place: ChunkPlace, sealed: Buffer) -> bytes:
        """The object's own bytes, checked against its name. Raises: PackDamaged."""
        data = self.payload(kind, name, place, sealed)
        if len(data) != place.raw_length:
            try:
                data = ZstdDecompressor().decompress(data, place.raw_length + 1)
            except (ZstdError, EOFError) as error:
                raise self._damage(name, "does not decompress") from error
        if len(data) != place.raw_length or name_of(self._keys, kind, data) != name:
            raise self._damage(name, "is not the content that its name commits to")
        return data

    def directory(self, size: int, tail: bytes, sealed: Buffer) -> list[Held]:
        """All objects of the pack, in order.

        Args:
            size: of the whole pack.
            tail: the pack's last `TRAILER_SIZE` bytes; `directory_place` of it says which are `sealed`.
        Raises: PackDamaged.
        """
        start, length = directory_place(self.id, size, tail)
        place = ChunkPlace(self.id, start, length, 0)
        data = self.payload(DIRECTORY, b"", place, sealed)
        if len(data) % _ENTRY.size:
            raise self._damage(b"", "is cut short")
        held = list(held_in(self.id, self.start, data))
        if self.start + sum(h.place.length for h in held) != start:
            raise self._damage(b"", "does not add up")
        return held

    def _damage(self, name: bytes, what: str) -> PackDamaged:
        chunk = f"b3k:{name.hex()}" if name else "directory"
        return PackDamaged(
            f"pack {self.id}: chunk {chunk} {what}" if name else f"pack {self.id}: its directory {what}",
            next_step="restore the pack from a backup or a second location",
            facts={"pack": self.id, "chunk": chunk},
        )


TRAILER_SIZE = _TRAILER.size


def held_in(pack: str, start: int, directory: bytes) -> Iterator[Held]:
    """The objects that a plain directory lists, the first at `start`."""
    for kind, name, length, raw_length in _ENTRY.iter_unpack(directory):
        yield Held(kind, name, ChunkPlace(pack, start, length, raw_length))
        start += length


def directory_place(pack: str, size: int, tail: bytes) -> tuple[int, int]:
    """(offset, length) of the sealed directory, from the trailer. Raises: PackDamaged."""
    if len(tail) == _TRAILER.size:
        start, length, end = _TRAILER.unpack(tail)
        if end == END and start + length + _TRAILER.size == size:
            return start, length
    raise PackDamaged(f"pack {pack}: its trailer is not one; it is cut short or changed", facts={"pack": pack})


def header_of(pack: str, head: bytes) -> Header:
    """What a pack says in the clear. Raises: PackDamaged."""
    return _header(pack, head)[0]


def _header(pack: str, head: bytes) -> tuple[Header, int, bytes]:
    damaged = PackDamaged(f"pack {pack}: its header is damaged", facts={"pack": pack, "chunk": "header"})
    prefix = len(MAGIC) + _LENGTH.size
    if len(head) < prefix or not head.startswith(MAGIC):
        raise damaged
    end = prefix + _LENGTH.unpack_from(head, len(MAGIC))[0]
    mark = hashlib.sha256(head[:end]).digest()
    if head[end : end + _HEADER_MARK] != mark:
        raise damaged
    try:
        return msgspec.json.decode(head[prefix:end], type=Header), end + _HEADER_MARK, mark
    except msgspec.MsgspecError as error:
        raise PackDamaged(f"pack {pack}: its header is of another format", facts={"pack": pack}) from error


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(12, "big")
