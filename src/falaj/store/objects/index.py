"""The chunk index: which pack holds a chunk. The port, and its twin in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from falaj.store.objects.records import ChunkPlace, ChunkRecord


class ChunkIndex(Protocol):
    """Committed chunks of all domains. Of two places of one chunk the first stays."""

    def find(self, domain: str, names: Sequence[bytes]) -> dict[bytes, ChunkPlace]:
        """The places of those names that the domain holds."""
        ...


class MemoryIndex:
    """The index in memory."""

    def __init__(self, chunks: Iterable[ChunkRecord] = ()) -> None:
        self._places: dict[tuple[str, bytes], ChunkPlace] = {}
        self.add(chunks)

    def find(self, domain: str, names: Sequence[bytes]) -> dict[bytes, ChunkPlace]:
        """The places of those names that the domain holds."""
        found = ((name, self._places.get((domain, name))) for name in names)
        return {name: place for name, place in found if place is not None}

    def add(self, chunks: Iterable[ChunkRecord]) -> None:
        """Commit chunks; a name that is there stays where it is."""
        for chunk in chunks:
            self._places.setdefault((chunk.domain, chunk.name), chunk.place)

    def drop(self, packs: Iterable[str]) -> None:
        """Forget all chunks of some packs."""
        gone = frozenset(packs)
        self._places = {key: place for key, place in self._places.items() if place.pack not in gone}

    def __len__(self) -> int:
        return len(self._places)
