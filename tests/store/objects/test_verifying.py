"""Verification of a store's bytes: what is wrong is named by pack, chunk, version and path; each thing once."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from falaj.core.records import Version
from falaj.store.content import Contents
from falaj.store.keys import KeyFile
from falaj.store.keys.sql import StoreKeys
from falaj.store.objects.errors import PackDamaged
from falaj.store.objects.pack import CHUNK, NODE, TRAILER_SIZE, OpenPack, directory_place

from .small_store import SmallStore, open_small

FILES = {"a.csv": b"year,month\n" * 50, "folder/noise": random.Random(1).randbytes(500_000), "empty": b""}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SmallStore]:
    small = open_small(tmp_path)
    yield small
    small.close()


def pack_of(store: SmallStore, folder: Path) -> tuple[Path, OpenPack]:
    """The first pack, open."""
    with store.database.read() as tx:
        pack, domain = tx.row("SELECT id, domain FROM pack ORDER BY id") or ("", "")
    path = folder / "objects/packs" / pack
    return path, OpenPack(store.contents.keys.now.domain_keys(domain), pack, path.read_bytes()[:4096])


def places(store: SmallStore, folder: Path) -> dict[str, int]:
    """A byte of each region of the pack, by what it is."""
    path, pack = pack_of(store, folder)
    data = path.read_bytes()
    start, length = directory_place(pack.id, len(data), data[-TRAILER_SIZE:])
    held = pack.directory(len(data), data[-TRAILER_SIZE:], data[start : start + length])
    return {
        "header": 30,
        "chunk": next(h for h in held if h.kind == CHUNK).place.offset + 5,
        "node": next(h for h in held if h.kind == NODE).place.offset + 5,
        "directory": start + 5,
        "trailer": len(data) - 3,
    }


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_sound_store_has_no_problems_and_every_byte_was_read(database_address: str, tmp_path: Path) -> None:
    store = open_small(tmp_path, database_address)
    versions = [store.add("flights", FILES), store.add("flights", {**FILES, "b": b"b"}), store.add("weather", FILES)]
    told: list[tuple[str, int, int]] = []
    report = store.contents.verify(lambda *step: told.append(step))
    assert (report.ok, report.versions, report.packs) == (True, 3, 3)
    size = sum(version.stored_bytes for version in versions)
    assert 0.99 * size < report.bytes_read <= size
    assert told[-1] == ("verifying", report.bytes_read, size)
    store.close()


@pytest.mark.parametrize("region", ["header", "chunk", "node", "directory", "trailer"])
def test_one_flipped_bit_is_named_with_what_needs_it(store: SmallStore, tmp_path: Path, region: str) -> None:
    version = store.add("flights", FILES)
    path, pack = pack_of(store, tmp_path)
    flip(path, places(store, tmp_path)[region])
    problems = store.contents.verify().problems
    assert problems
    assert {p.pack for p in problems} == {pack.id}
    assert {p.sort for p in problems} == {"damaged"}
    assert all(p.next_step for p in problems)
    if region == "chunk":
        (problem,) = problems
        assert (problem.version, problem.path) == (f"{version.asset}/1", "a.csv")
        assert problem.chunk.startswith("b3k:")
        with pytest.raises(PackDamaged):
            store.read_all(version)
    elif region == "node":
        assert {p.version for p in problems} == {f"{version.asset}/1"}
    elif region == "header":
        assert [p.chunk for p in problems if not p.version] == ["header"]


def test_a_missing_pack_is_named_with_the_versions_that_need_it(store: SmallStore, tmp_path: Path) -> None:
    version, other = store.add("flights", FILES), store.add("weather", FILES)
    path, pack = pack_of(store, tmp_path)
    path.unlink()
    problems = store.contents.verify().problems
    assert {(p.sort, p.pack) for p in problems} == {("missing", pack.id)}
    assert {p.version for p in problems} == {"", f"{version.asset}/1"}
    assert store.read_all(other) == FILES


@pytest.mark.parametrize(
    ("change", "sort"),
    [
        (
            "DELETE FROM chunk WHERE length > 50000 AND start = (SELECT min(start) FROM chunk WHERE length > 50000)",
            "missing",
        ),
        ("DELETE FROM chunk", "missing"),
        ("UPDATE chunk SET start = start + 1 WHERE raw_length = 550", "damaged"),
        ("UPDATE chunk SET raw_length = raw_length + 1 WHERE raw_length = 550", "damaged"),
        ("UPDATE chunk SET pack = 'elsewhere-1' WHERE raw_length = 550", "missing"),
        ("UPDATE pack SET size = size + 1", "damaged"),
        ("UPDATE version SET content = 'b3k:' || substr(content, 7) || '00'", "missing"),
    ],
)
def test_rows_that_were_changed_behind_the_store_are_found(store: SmallStore, change: str, sort: str) -> None:
    store.add("flights", FILES)
    with store.database.write() as tx:
        assert tx.run(change)
    assert sort in {p.sort for p in store.contents.verify().problems}


def test_a_file_that_is_not_what_its_sha256_says_is_found(store: SmallStore) -> None:
    with store.contents.upload(store.domain("models")) as upload:
        upload.add_file("sound", io.BytesIO(b"sound" * 100), sha256=True)
        upload.add_file("wrong", io.BytesIO(b"wrong" * 100), sha256=True)
        held = upload._upload._top.files
        held["wrong"] = type(held["wrong"])(
            path="wrong", size=500, digest=held["wrong"].digest, levels=0, sha256="sha256:" + "0" * 64
        )
        stored = upload.finish()
    store.record("models", stored)
    assert [(p.sort, p.path) for p in store.contents.verify().problems] == [("damaged", "wrong")]


def test_another_key_file_reads_nothing_and_says_why(store: SmallStore, tmp_path: Path) -> None:
    version = store.add("flights", FILES)
    stranger = StoreKeys(KeyFile.create(tmp_path / "other-key"), store.database)
    contents = Contents(store.database, stranger, store.contents.readers.locations)
    assert [(p.sort, p.version) for p in contents.verify().problems] == [("wrong_key", f"{version.asset}/1")]


def test_a_location_that_is_away_is_told_and_not_taken_for_damage(store: SmallStore, tmp_path: Path) -> None:
    store.add("flights", FILES)
    (tmp_path / "objects").rename(tmp_path / "unmounted")
    assert {p.sort for p in store.contents.verify().problems} == {"away"}


def erase(store: SmallStore, version: Version) -> None:
    store.set_state(version, "retired")
    store.collect()


@pytest.mark.parametrize("change", [lambda s, v: s.set_state(v, "retired"), erase], ids=["retired", "erased"])
def test_versions_without_bytes_are_no_problem(
    store: SmallStore, change: Callable[[SmallStore, Version], None]
) -> None:
    change(store, store.add("flights", FILES))
    assert store.contents.verify().ok


def test_what_is_collected_while_verification_reads_is_no_problem(store: SmallStore) -> None:
    live, retired = store.add("weather", FILES), store.add("flights", FILES)
    store.set_state(retired, "retired")
    steps: list[int] = []

    def meanwhile(_what: str, done: int, _total: int) -> None:
        if not steps:
            store.collect()
        steps.append(done)

    assert store.contents.verify(meanwhile).problems == ()
    assert store.again(retired).state == "erased"
    assert store.read_all(live) == FILES
