"""A location in memory: for tests, and the contract of the port."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from falaj.store.objects.errors import BlobMissing
from falaj.store.objects.location import Buffer, Listed, Place, checked_name, checked_prefix


class MemoryLocation:
    """Blobs in a dictionary; safe to use from several threads."""

    def __init__(self, place: Place | None = None) -> None:
        self._place = place or Place(name="memory", url="memory:", region="AE-DU", country="AE")
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def place(self) -> Place:
        """What it declares of itself."""
        return self._place

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        """Create a blob whole; False where the name is taken."""
        with self._lock:
            return self._blobs.setdefault(checked_name(name), body := bytes(data)) is body

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Raises: BlobMissing."""
        return self._get(name)[offset : offset + length]

    def size(self, name: str) -> int:
        """Raises: BlobMissing."""
        return len(self._get(name))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """All blobs whose name starts with the prefix, by name."""
        checked_prefix(prefix)
        with self._lock:
            found = sorted(Listed(n, len(b)) for n, b in self._blobs.items() if n.startswith(prefix))
        return iter(found)

    def delete(self, name: str) -> bool:
        """Remove a blob; False where there was none."""
        with self._lock:
            return self._blobs.pop(checked_name(name), None) is not None

    def sweep(self) -> int:
        """A put in memory leaves nothing behind."""
        return 0

    def _get(self, name: str) -> bytes:
        try:
            return self._blobs[checked_name(name)]
        except KeyError:
            raise BlobMissing(f"{name}: not in location {self._place.name}") from None
