"""Reads objects of one domain in one location: found by the index, opened by the keys, checked against their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from falaj.store.keys import DomainKeys
from falaj.store.objects import nodes
from falaj.store.objects.errors import BlobMissing, ChunkMissing, PackMissing, TreeDamaged
from falaj.store.objects.index import ChunkIndex
from falaj.store.objects.location import Location
from falaj.store.objects.nodes import Node, Span
from falaj.store.objects.pack import CHUNK, MAX_HEADER, NODE, OpenPack
from falaj.store.objects.records import ChunkPlace
from falaj.store.objects.upload import pack_name

_AT_ONCE = 64
_READ_AT_ONCE = 4 << 20
_OPEN_PACKS = 64
_NODES = 128


class Reader:
    """Objects by name. Bounded memory: a few MiB of a pack, headers of recent packs, recent tree nodes.

    Attributes:
        bytes_read: from the location, so far.
    """

    def __init__(self, location: Location, keys: DomainKeys, index: ChunkIndex) -> None:
        self.location, self.keys, self.index = location, keys, index
        self.bytes_read = 0
        self._packs: dict[str, OpenPack] = {}
        self._nodes: dict[bytes, Node] = {}

    def node(self, name: bytes) -> Node:
        """A tree node. Raises: ChunkMissing, PackMissing, PackDamaged, TreeDamaged, KeyDestroyed, WrongKey."""
        known = self._nodes.pop(name, None)
        if known is None:
            place = self._places([name])[name]
            sealed = self._range(place.pack, place.offset, place.length)
            known = nodes.decode(self._open(place.pack).read(NODE, name, place, sealed))
        self._nodes[name] = known  # the most recently used is last
        if len(self._nodes) > _NODES:
            del self._nodes[next(iter(self._nodes))]
        return known

    def chunks(self, spans: Iterable[Span]) -> Iterator[bytes]:
        """The bytes of chunks, in order; neighbours in a pack are read together. Raises: as `node`."""
        rest = iter(spans)
        while batch := list(islice(rest, _AT_ONCE)):
            places = self._places([span.ref for span in batch])
            for group in _neighbours([(span, places[span.ref]) for span in batch]):
                yield from self._group(group)

    def _group(self, group: Sequence[tuple[Span, ChunkPlace]]) -> Iterator[bytes]:
        first, last = group[0][1], group[-1][1]
        pack = self._open(first.pack)
        with memoryview(self._range(first.pack, first.offset, last.offset + last.length - first.offset)) as sealed:
            for span, place in group:
                at = place.offset - first.offset
                data = pack.read(CHUNK, span.ref, place, sealed[at : at + place.length])
                if len(data) != span.length:
                    raise TreeDamaged(f"chunk b3k:{span.ref.hex()}: {len(data)} bytes, its tree says {span.length}")
                yield data

    def _places(self, names: Sequence[bytes]) -> dict[bytes, ChunkPlace]:
        places = self.index.find(names)
        for name in names:
            if name not in places:
                raise ChunkMissing(
                    f"chunk b3k:{name.hex()} of {self.keys.domain} is not in the index",
                    next_step="restore the metadata from a backup",
                    facts={"chunk": f"b3k:{name.hex()}"},
                )
        return places

    def _open(self, pack: str) -> OpenPack:
        found = self._packs.pop(pack, None)
        if found is None:
            found = OpenPack(self.keys, pack, self._range(pack, 0, MAX_HEADER))
        self._packs[pack] = found
        if len(self._packs) > _OPEN_PACKS:
            del self._packs[next(iter(self._packs))]
        return found

    def _range(self, pack: str, offset: int, length: int) -> bytes:
        try:
            found = self.location.read_range(pack_name(pack), offset, length)
        except BlobMissing as error:
            raise PackMissing(
                f"pack {pack}: is not in location {self.location.place.name}",
                next_step="restore the pack from a backup or a second location",
                facts={"pack": pack},
            ) from error
        self.bytes_read += len(found)
        return found


def _neighbours(found: Sequence[tuple[Span, ChunkPlace]]) -> Iterator[list[tuple[Span, ChunkPlace]]]:
    """Runs of objects that lie back to back in one pack, of at most a few MiB."""
    group: list[tuple[Span, ChunkPlace]] = []
    end, size = ("", 0), 0
    for span, place in found:
        if group and (end != (place.pack, place.offset) or size + place.length > _READ_AT_ONCE):
            yield group
            group, size = [], 0
        group.append((span, place))
        end, size = (place.pack, place.offset + place.length), size + place.length
    if group:
        yield group
