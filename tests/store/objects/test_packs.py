"""One flipped bit anywhere in a pack is found and named; keys of another store, and destroyed ones, open nothing."""

from __future__ import annotations

import random
import struct

import pytest

from falaj.core.errors import Damaged, FalajError
from falaj.store.keys import DomainKeys, Secret
from falaj.store.keys.errors import KeyDestroyed, WrongKey
from falaj.store.objects import MemoryLocation, PackRecord, Problem
from falaj.store.objects.check import check_pack
from falaj.store.objects.errors import PackDamaged, PackMissing
from falaj.store.objects.pack import (
    CAPACITY,
    CHUNK,
    MAX_HEADER,
    MAX_OBJECTS,
    NODE,
    TRAILER_SIZE,
    OpenPack,
    PackWriter,
    directory_place,
    header_of,
    held_in,
    name_of,
)

from .memory_parts import FINE, Memory, domain_keys

FILES = {
    "text": b"2013,1,1,JFK,LAX\n" * 900,
    "noise": random.Random(5).randbytes(9000),
    "folder/one": b"x",
    "list": random.Random(6).randbytes(30_000),
}


class Packed(Memory):
    """The files above in one pack, whose bytes a test may change."""

    def __init__(self) -> None:
        super().__init__()
        self.staged = self.store(FILES, FINE)
        (found,) = self.staged.packs
        self.record, self.start = found.record, found.start
        self.held = list(held_in(found.record.id, found.start, found.directory))
        self.blob = f"packs/{found.record.id}"
        self.whole = self.location.read_range(self.blob, 0, 1 << 30)

    def replace(self, data: bytes) -> None:
        self.location.delete(self.blob)
        self.location.put_if_absent(self.blob, data)

    def flip(self, at: int, bit: int) -> None:
        changed = bytearray(self.whole)
        changed[at] ^= 1 << bit
        self.replace(bytes(changed))

    def problems(self) -> list[Problem]:
        indexed = sorted(self.index._places.items(), key=lambda item: item[1].offset)
        return list(check_pack(self.location, self.keys, self.record, indexed, lambda _: None))

    def regions(self) -> dict[str, range]:
        """Every byte of the pack, by what it is."""
        size = len(self.whole)
        directory, length = directory_place(self.record.id, size, self.whole[-TRAILER_SIZE:])
        found = {"header": range(self.start)}
        for i, held in enumerate(self.held):
            found[f"{held.kind.decode()} {i}"] = range(held.place.offset, held.place.offset + held.place.length)
        found["directory"] = range(directory, directory + length)
        found["trailer"] = range(directory + length, size)
        return found


@pytest.fixture
def packed() -> Packed:
    return Packed()


def test_the_regions_are_the_whole_pack_and_nothing_is_wrong_with_it(packed: Packed) -> None:
    regions = packed.regions()
    assert sorted(at for region in regions.values() for at in region) == list(range(len(packed.whole)))
    assert {held.kind for held in packed.held} == {CHUNK, NODE}
    assert packed.problems() == []


def test_one_flipped_bit_in_any_region_is_found_and_named(packed: Packed, rng: random.Random) -> None:
    for region, places in packed.regions().items():
        for at in {places[0], places[-1], *rng.sample(places, min(len(places), 6))}:
            packed.flip(at, rng.randrange(8))
            problems = packed.problems()
            assert problems, f"{region}: byte {at}"
            assert {p.pack for p in problems} == {packed.record.id}
            assert {p.sort for p in problems} == {"damaged"}
            assert all(packed.record.id in p.message for p in problems)
            kind, _, number = region.partition(" ")
            if number:
                assert [p.chunk for p in problems] == [f"b3k:{packed.held[int(number)].name.hex()}"], region
            elif kind != "trailer":
                assert [p.chunk for p in problems] == [kind]


def test_a_flipped_bit_of_a_chunk_or_node_stops_the_file_or_the_tree(packed: Packed, rng: random.Random) -> None:
    for held in packed.held:
        packed.flip(held.place.offset + rng.randrange(held.place.length), rng.randrange(8))
        with pytest.raises(PackDamaged, match=held.name.hex()):
            packed.read_all(packed.staged.root)
    packed.replace(packed.whole)
    assert packed.read_all(packed.staged.root) == FILES


def test_a_damaged_directory_does_not_keep_files_from_being_read(packed: Packed) -> None:
    packed.flip(packed.regions()["directory"][3], 0)
    assert packed.read_all(packed.staged.root) == FILES


def test_a_damaged_chunk_is_named_also_where_the_directory_is_lost(packed: Packed) -> None:
    changed = bytearray(packed.whole)
    changed[-1] ^= 1
    changed[packed.held[2].place.offset] ^= 1
    packed.replace(bytes(changed))
    assert [p.chunk for p in packed.problems()] == ["", f"b3k:{packed.held[2].name.hex()}"]


@pytest.mark.parametrize("cut", [0, 1, 30, 200, -1, -TRAILER_SIZE, -TRAILER_SIZE - 1])
def test_a_pack_cut_short_is_found(packed: Packed, cut: int) -> None:
    packed.replace(packed.whole[:cut])
    assert {p.pack for p in packed.problems()} == {packed.record.id}


def test_a_pack_that_grew_is_found(packed: Packed) -> None:
    packed.replace(packed.whole + b"\0")
    assert packed.problems()


def test_a_missing_pack_is_found_and_named(packed: Packed) -> None:
    packed.location.delete(packed.blob)
    assert [(p.sort, p.pack) for p in packed.problems()] == [("missing", packed.record.id)]
    with pytest.raises(PackMissing, match=packed.record.id):
        packed.read_all(packed.staged.root)


def test_a_pack_under_another_name_is_not_taken_for_it(packed: Packed) -> None:
    other = Memory(packed.keys, packed.location)
    second = other.store({"other": b"y" * 5000}, FINE).packs[0].record
    packed.replace(packed.location.read_range(f"packs/{second.id}", 0, 1 << 20))
    assert packed.problems()
    with pytest.raises(PackDamaged):
        packed.read_all(packed.staged.root)


def test_two_chunks_that_changed_places_are_found(packed: Packed) -> None:
    one, other = next(
        (a.place, b.place)
        for i, a in enumerate(packed.held)
        for b in packed.held[i + 1 :]
        if a.place.length == b.place.length
    )
    changed = bytearray(packed.whole)
    changed[one.offset : one.offset + one.length] = packed.whole[other.offset : other.offset + other.length]
    changed[other.offset : other.offset + other.length] = packed.whole[one.offset : one.offset + one.length]
    packed.replace(bytes(changed))
    assert len(packed.problems()) == 2


def test_an_index_that_points_elsewhere_is_found(packed: Packed) -> None:
    names = [held.name for held in packed.held if held.kind == CHUNK][:2]
    places = packed.index._places
    places[names[0]], places[names[1]] = places[names[1]], places[names[0]]
    assert {p.chunk for p in packed.problems()} == {f"b3k:{name.hex()}" for name in names}
    with pytest.raises(PackDamaged):
        packed.read_all(packed.staged.root)


# keys


def test_the_keys_of_another_store_open_nothing(packed: Packed) -> None:
    stranger = Memory(domain_keys(9), packed.location)
    stranger.index = packed.index
    with pytest.raises(WrongKey):
        stranger.read_all(packed.staged.root)
    packed.keys = stranger.keys
    assert [p.sort for p in packed.problems()] == ["wrong_key"]


def test_the_keys_of_another_domain_open_nothing(packed: Packed) -> None:
    packed.keys = domain_keys(domain="weather")
    assert [p.chunk for p in packed.problems()] == [""]
    assert "of flights" in packed.problems()[0].message


def test_what_a_destroyed_epoch_encrypted_is_gone_and_later_epochs_stay() -> None:
    identity, old, new = Secret(b"i" * 32), Secret(b"o" * 32), Secret(b"n" * 32)

    def keys(epochs: dict[int, Secret], destroyed: set[int]) -> DomainKeys:
        return DomainKeys("flights", identity, epochs, epoch=max(epochs), destroyed=frozenset(destroyed))

    memory = Memory(keys({1: old}, set()))
    first = memory.store({"a": b"a" * 9000}, FINE)
    memory.keys = keys({1: old, 2: new}, set())
    second = memory.store({"b": b"b" * 9000}, FINE)
    assert [pack.record.epoch for staged in (first, second) for pack in staged.packs] == [1, 2]
    assert memory.read_all(first.root) == {"a": b"a" * 9000}
    memory.keys = keys({2: new}, {1})
    with pytest.raises(KeyDestroyed):
        memory.read_all(first.root)
    assert memory.read_all(second.root) == {"b": b"b" * 9000}


# the writer


def test_a_pack_is_full_by_size_or_by_count() -> None:
    writer = PackWriter(domain_keys(), "P-1", memoryview(bytearray(CAPACITY)))
    for i in range(MAX_OBJECTS):
        assert not writer.is_full
        writer.add(CHUNK, struct.pack(">32xI", i)[-32:], b"", 0)
    assert writer.is_full
    writer.add(CHUNK, bytes(32), bytes(1 << 20), 1 << 20)
    assert len(writer.finish()) <= CAPACITY


def test_two_packs_of_equal_content_share_no_bytes_but_what_is_in_the_clear() -> None:
    keys, blobs = domain_keys(), []
    for pack in ("P-1", "P-2"):
        writer = PackWriter(keys, pack, memoryview(bytearray(CAPACITY)))
        writer.add(CHUNK, name_of(keys, CHUNK, b"x" * 1000), b"x" * 1000, 1000)
        blobs.append((bytes(writer.finish()), writer.start))
    assert blobs[0][0][blobs[0][1] :][:1000] != blobs[1][0][blobs[1][1] :][:1000]
    assert header_of("P-1", blobs[0][0][:MAX_HEADER]).pack == "P-1"


@pytest.mark.parametrize(
    "head", [b"", b"falajpk1", b"falajpk1\xff\xff", b"PK\3\4" * 99, b"falajpk1\0\x02{}" + bytes(32)]
)
def test_what_is_no_pack_is_refused(head: bytes) -> None:
    with pytest.raises(PackDamaged):
        OpenPack(domain_keys(), "P-1", head)


def test_a_location_that_gives_other_bytes_is_found() -> None:
    class Lying(MemoryLocation):
        def read_range(self, name: str, offset: int, length: int) -> bytes:
            return super().read_range(name, offset, length)[:-1] + b"\0"

    memory = Memory(location=Lying())
    root = memory.store({"a": b"a" * 5000}, FINE).root
    with pytest.raises(Damaged):
        memory.read_all(root)
    record = PackRecord(id="P", location="m", domain="d", epoch=1, size=9, upload="U", created_at="")
    assert [p.sort for p in check_pack(Lying(), memory.keys, record, (), lambda _: None)] == ["missing"]
    assert issubclass(PackMissing, FalajError)
