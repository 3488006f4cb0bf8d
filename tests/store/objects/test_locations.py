"""What a location promises, over every adapter; then what the folder adds. A bucket joins by one more parameter."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.core.errors import Invalid
from falaj.store.objects import FolderLocation, Location, MemoryLocation, Place, probe
from falaj.store.objects.errors import BlobMissing, LocationAway, LocationUnfit

PLACE = Place(name="main", url="file:objects", region="AE-DU", country="AE")
ADAPTERS: dict[str, Callable[[Path], Location]] = {
    "memory": lambda _: MemoryLocation(PLACE),
    "folder": lambda folder: FolderLocation(folder / "objects", PLACE),
}


@pytest.fixture(params=ADAPTERS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return ADAPTERS[request.param](tmp_path)


def test_it_says_where_it_is(location: Location) -> None:
    assert location.place == PLACE


@pytest.mark.parametrize("size", [0, 1, 4096, 20_000_000])
def test_a_blob_reads_back_whole_and_in_ranges(location: Location, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert location.put_if_absent("packs/one", data)
    assert location.size("packs/one") == size
    assert location.read_range("packs/one", 0, size) == data
    for offset, length in ((0, 10), (size // 2, 100), (max(size - 5, 0), 100), (size, 10), (size + 10, 10), (3, 0)):
        assert location.read_range("packs/one", offset, length) == data[offset : offset + length]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_stored_as_it_is_now(location: Location, kind: Callable[[bytes], bytes]) -> None:
    lent = bytearray(b"before")
    location.put_if_absent("a", memoryview(lent) if kind is memoryview else kind(lent))
    lent[:] = b"change"
    assert location.read_range("a", 0, 10) == b"before"


def test_a_name_is_taken_once_and_for_all(location: Location) -> None:
    assert location.put_if_absent("a", b"first")
    assert not location.put_if_absent("a", b"second")
    assert location.read_range("a", 0, 10) == b"first"


def test_a_deleted_name_is_free_again(location: Location) -> None:
    location.put_if_absent("a/b", b"first")
    assert location.delete("a/b")
    assert not location.delete("a/b")
    assert location.put_if_absent("a/b", b"second")


def test_what_is_not_there_is_missing(location: Location) -> None:
    location.put_if_absent("packs/one", b"x")
    for name in ("other", "packs/other", "other/folder/name"):
        with pytest.raises(BlobMissing):
            location.size(name)
        with pytest.raises(BlobMissing):
            location.read_range(name, 0, 1)
        assert not location.delete(name)


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a//b", "../a", "a/../b", ".tmp/x", "a\0b", "a\nb", "é", "a b", "a/b/c/d/e", "x" * 65, "-a"],
)
def test_foreign_names_are_refused_by_every_call(location: Location, name: str) -> None:
    for call in (
        lambda: location.put_if_absent(name, b"x"),
        lambda: location.read_range(name, 0, 1),
        lambda: location.size(name),
        lambda: location.delete(name),
    ):
        with pytest.raises(Invalid):
            call()
    assert list(location.list()) == []


@settings(max_examples=20)
@given(
    st.sets(
        st.sampled_from(
            [f"{a}{b}{c}" for a in ("a", "a-", "b", "a0") for b in ("", "/x", "-y") for c in ("", "/1", "2")]
        )
    )
)
def test_blobs_are_listed_by_name_below_a_prefix(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    for make in ADAPTERS.values():
        location = make(tmp_path_factory.mktemp("location"))
        put = set()
        for name in names:
            # A name that is also the folder of another one is our own naming's concern: packs never nest.
            if not any(other.startswith(name + "/") or name.startswith(other + "/") for other in names):
                location.put_if_absent(name, name.encode())
                put.add(name)
        for prefix in ("", "a", "a/", "a-", "a/x", "b", "c", "a0-y2"):
            found = list(location.list(prefix))
            assert [f.name for f in found] == sorted(name for name in put if name.startswith(prefix))
            assert all(f.size == len(f.name) for f in found)


def test_of_racing_creates_one_wins_whole(location: Location) -> None:
    bodies = [bytes([i]) * 300_000 for i in range(8)]
    start, won = threading.Barrier(8), []

    def create(body: bytes) -> None:
        start.wait()
        if location.put_if_absent("packs/raced", body):
            won.append(body)

    threads = [threading.Thread(target=create, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [location.read_range("packs/raced", 0, 400_000)] == won
    assert location.sweep() == 0


def test_the_probe_passes_and_leaves_nothing(location: Location) -> None:
    probe(location, writers=4)
    assert list(location.list()) == []


class _Overwriting(MemoryLocation):
    def put_if_absent(self, name: str, data: bytes) -> bool:
        self._blobs[name] = bytes(data)
        return True


class _Forgetting(MemoryLocation):
    def list(self, prefix: str = "") -> Iterator:
        return iter(())


class _Keeping(MemoryLocation):
    def delete(self, name: str) -> bool:
        return True


@pytest.mark.parametrize("unfit", [_Overwriting, _Forgetting, _Keeping])
def test_the_probe_finds_a_location_that_does_not_keep_its_promise(unfit: type[MemoryLocation]) -> None:
    with pytest.raises(LocationUnfit):
        probe(unfit())


# the folder


@pytest.fixture
def folder(tmp_path: Path) -> FolderLocation:
    return FolderLocation(tmp_path / "objects", PLACE)


def test_blobs_are_for_their_owner_only(folder: FolderLocation, tmp_path: Path) -> None:
    folder.put_if_absent("packs/one", b"x")
    assert (tmp_path / "objects/packs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "objects/packs/one").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("where", ["packs", "packs/one"])
def test_links_in_the_folder_are_not_followed(folder: FolderLocation, tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "one").write_bytes(b"secret")
    link = tmp_path / "objects" / where
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside if where == "packs" else outside / "one")
    with pytest.raises(LocationAway):
        folder.read_range("packs/one", 0, 10)
    with pytest.raises(LocationAway):
        folder.size("packs/one")
    if where == "packs":
        for call in (lambda: folder.put_if_absent("packs/two", b"x"), lambda: folder.delete("packs/one")):
            with pytest.raises(LocationAway):
                call()
    else:
        assert not folder.put_if_absent("packs/one", b"x")
        assert folder.delete("packs/one")
    assert list(folder.list()) == []
    assert {p.name: p.read_bytes() for p in outside.iterdir()} == {"one": b"secret"}


def test_what_is_no_regular_file_is_not_waited_for(folder: FolderLocation, tmp_path: Path) -> None:
    (tmp_path / "objects/packs").mkdir()
    os.mkfifo(tmp_path / "objects/packs/pipe")
    with pytest.raises(LocationAway):
        folder.read_range("packs/pipe", 0, 1)
    assert list(folder.list()) == []


def test_foreign_files_in_the_folder_are_not_listed(folder: FolderLocation, tmp_path: Path) -> None:
    folder.put_if_absent("packs/one", b"x")
    for name in ("lost+found", ".hidden", "notes.txt", "packs/one.bak"):
        (tmp_path / "objects" / name).write_bytes(b"x")
    assert [found.name for found in folder.list()] == ["packs/one"]


def test_a_folder_that_is_gone_is_told_apart_from_a_missing_blob(folder: FolderLocation, tmp_path: Path) -> None:
    (tmp_path / "objects").rmdir()
    for call in (lambda: folder.size("a"), lambda: folder.put_if_absent("a", b""), lambda: list(folder.list())):
        with pytest.raises(LocationAway):
            call()


def test_a_sweep_takes_the_temporary_files_of_the_dead_only(folder: FolderLocation, tmp_path: Path) -> None:
    tmp = tmp_path / "objects/.tmp"
    tmp.mkdir()
    (tmp / "dead").write_bytes(b"half")
    with (tmp / "running").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert folder.sweep() == 1
        assert [p.name for p in tmp.iterdir()] == ["running"]
    assert folder.sweep() == 1


def test_sweeping_while_others_put_harms_nothing(folder: FolderLocation) -> None:
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            folder.sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        assert all(folder.put_if_absent(f"packs/{i}", b"x" * 1000) for i in range(60))
    finally:
        done.set()
        sweeper.join()
    assert [(f.size) for f in folder.list("packs/")] == [1000] * 60


def _create(root: Path, body: bytes, start: object, won: object) -> None:
    location = FolderLocation(root, PLACE)
    start.wait()  # type: ignore[attr-defined]
    if location.put_if_absent("packs/raced", body):
        won.put(body[:1])  # type: ignore[attr-defined]


def test_of_racing_processes_one_wins(folder: FolderLocation, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, won = context.Barrier(3), context.Queue()
    racers = [
        context.Process(target=_create, args=(tmp_path / "objects", bytes([i]) * 100_000, start, won)) for i in range(3)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert folder.read_range("packs/raced", 0, 200_000) == won.get(timeout=10) * 100_000
    assert won.empty()
