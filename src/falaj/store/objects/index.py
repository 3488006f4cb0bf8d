"""The chunk index: which pack holds a chunk. The port, and its twin in memory.

An index is that of one key domain in one location, so content never counts on bytes that rest elsewhere: where a
version is said to rest, all of it rests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from falaj.store.objects.pack import held_in
from falaj.store.objects.records import ChunkPlace, StagedPack


class ChunkIndex(Protocol):
    """Committed chunks and tree nodes. Of two places of one chunk the first stays."""

    def find(self, names: Sequence[bytes]) -> dict[bytes, ChunkPlace]:
        """The places of those names that are held."""
        ...


class MemoryIndex:
    """The index in memory."""

    def __init__(self) -> None:
        self._places: dict[bytes, ChunkPlace] = {}

    def find(self, names: Sequence[bytes]) -> dict[bytes, ChunkPlace]:
        """The places of those names that are held."""
        return {name: self._places[name] for name in names if name in self._places}

    def add(self, packs: Iterable[StagedPack]) -> None:
        """Commit what packs hold; a name that is there stays where it is."""
        for pack in packs:
            for held in held_in(pack.record.id, pack.start, pack.directory):
                self._places.setdefault(held.name, held.place)

    def drop(self, packs: Iterable[str]) -> None:
        """Forget what some packs hold."""
        gone = frozenset(packs)
        self._places = {name: place for name, place in self._places.items() if place.pack not in gone}

    def __len__(self) -> int:
        return len(self._places)
