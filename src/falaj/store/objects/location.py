"""Locations: where packs rest. The port, the names it takes, and the probe of the one promise it must keep.

The only atomic primitive asked of a location is create-if-absent by a single put, durable when it returns. Nothing is
ever overwritten or appended to.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from falaj.core.errors import Invalid
from falaj.core.ids import new_id
from falaj.core.records import Record
from falaj.store.objects.errors import BlobMissing, LocationUnfit

Buffer = bytes | bytearray | memoryview
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(/[A-Za-z0-9][A-Za-z0-9_-]{0,63}){0,3}")
_PREFIX = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63}/){0,3}([A-Za-z0-9][A-Za-z0-9_-]{0,63})?")


class Place(Record, frozen=True, kw_only=True):
    """What a location declares of itself: residency is judged by it.

    Attributes:
        url: where it is; for people and configuration.
        region: for example `AE-DU`.
        country: ISO 3166-1 alpha-2, for example `AE`.
    """

    name: str
    url: str
    region: str
    country: str


class Listed(NamedTuple):
    """A blob in a location."""

    name: str
    size: int


class Location(Protocol):
    """Immutable blobs by name. Names are ours: letters, digits, `_`, `-`, up to four parts.

    All raise LocationAway, StoreFull or StoreReadOnly where the place itself fails, and Invalid for a foreign name.
    """

    @property
    def place(self) -> Place:
        """What it declares of itself."""
        ...

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        """Create a blob whole and durably; False, and no change, where the name is taken."""
        ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a blob; fewer than asked only at its end. Raises: BlobMissing."""
        ...

    def size(self, name: str) -> int:
        """Raises: BlobMissing."""
        ...

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """All blobs whose name starts with the prefix, by name."""
        ...

    def delete(self, name: str) -> bool:
        """Remove a blob; False where there was none."""
        ...

    def sweep(self) -> int:
        """Remove what interrupted puts left behind, never a running one's; returns how many."""
        ...


def checked_name(name: str) -> str:
    """A blob's name. Raises: Invalid."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"blob name {name[:80]!r}: letters, digits, _ and - in up to four parts",
            next_step="names come from the database: falaj verify says whether it is damaged",
        )
    return name


def checked_prefix(prefix: str) -> str:
    """The beginning of a blob's name. Raises: Invalid."""
    if not _PREFIX.fullmatch(prefix):
        raise Invalid(f"blob prefix {prefix[:80]!r}: letters, digits, _ and - in up to four parts")
    return prefix


def probe(location: Location, *, writers: int = 2) -> None:
    """Prove that of racing creates exactly one wins and its bytes stay. Done once, when a location is added.

    Raises: LocationUnfit; and whatever keeps the location from being written at all.
    """
    name = f"probe/{new_id()}"
    bodies = [f"{i} {new_id()}".encode() for i in range(writers)]
    won: list[bytes] = []
    failed: list[BaseException] = []
    start = threading.Barrier(writers)

    def create(body: bytes) -> None:
        try:
            start.wait()
            if location.put_if_absent(name, body):
                won.append(body)
        except BaseException as error:  # noqa: BLE001  raised again by the caller's thread
            failed.append(error)

    threads = [threading.Thread(target=create, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        if failed:
            raise failed[0]
        _judge(location, name, won)
    finally:
        location.delete(name)
    try:
        location.size(name)
    except BlobMissing:
        return
    raise LocationUnfit(f"location {location.place.name}: a deleted blob is still there")


def _judge(location: Location, name: str, won: list[bytes]) -> None:
    where = f"location {location.place.name}"
    if len(won) != 1:
        raise LocationUnfit(
            f"{where}: {len(won)} of the racing creates won, exactly 1 must",
            next_step="choose a store that honours create-if-absent (If-None-Match: *)",
        )
    if location.read_range(name, 0, 4096) != won[0] or location.size(name) != len(won[0]):
        raise LocationUnfit(f"{where}: the winner's bytes are not the ones read back")
    if [found.name for found in location.list(name)] != [name]:
        raise LocationUnfit(f"{where}: a blob just written is not listed")
    if location.put_if_absent(name, b"late"):
        raise LocationUnfit(f"{where}: a later create replaced the first")
