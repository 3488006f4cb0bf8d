"""Kills, full disks and read-only ones: what was acknowledged stays, and the same command finishes the work."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from falaj.core.records import Version
from falaj.store.content import Contents
from falaj.store.errors import StoreFull, StoreReadOnly
from falaj.store.keys import KeyFile
from falaj.store.keys.sql import StoreKeys
from falaj.store.metadata import open_database
from falaj.store.objects import FolderLocation
from falaj.store.objects.errors import LocationAway

from .small_store import PLACE, SmallStore, open_small
from .tracing import Call, calls, run
from .worker import files_of, work

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]
KEPT = {"kept.csv": b"year,month\n" * 2000}
BATCHES, KILLS = 3, 5
ADD, COLLECT = ("add", "flights", "1"), ("collect",)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a live version, two retired ones, a pack of a dead upload and a temporary file."""
    folder = tmp_path_factory.mktemp("base")
    store = open_small(folder)
    store.add("weather", KEPT)
    for seed in (1, 2):
        store.set_state(store.add("weather", {"gone": random.Random(seed).randbytes(300_000)}), "retired")
    store.stored("weather", {"never": random.Random(3).randbytes(300_000)})
    with store.database.write() as tx:
        tx.run("UPDATE upload SET expires_at = '2020-01-01T00:00:00.000000Z'")
    (folder / "objects/.tmp/left").write_bytes(b"half")
    store.close()
    return folder


@pytest.fixture
def fresh(base: Path, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Copies of that store, each gone before the next is made."""

    def copy() -> Path:
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        return Path(shutil.copytree(base, tmp_path / "store"))

    yield copy
    shutil.rmtree(tmp_path / "store", ignore_errors=True)


@pytest.fixture(scope="module")
def traces(strace: str, base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], list[Call]]:
    """What each command asks of the kernel where nothing fails."""
    found = {}
    for words in (ADD, COLLECT):
        folder = tmp_path_factory.mktemp("traced")
        assert run(strace, folder / "log", Path(shutil.copytree(base, folder / "store")), *words)[0] == 0
        found[words] = calls(folder / "log")
    return found


def of_number(store: SmallStore, name: str, number: int) -> Version:
    with store.database.read() as tx:
        asset = store.catalog.find_asset(tx, store.project, "bundle", name)
        assert asset is not None
        return store.catalog.version(tx, asset, number)


def check(folder: Path, lines: list[str]) -> None:
    """Everything acknowledged reads back, and verification finds nothing."""
    store = open_small(folder)
    assert store.read_all(of_number(store, "weather", 1)) == KEPT
    for line in lines:
        if line.startswith("added"):
            _, seed, number = line.split()
            held = store.read_all(of_number(store, "flights", int(number)))
            assert held.items() >= files_of(int(seed)).items()
    report = store.contents.verify()
    assert report.problems == ()
    for number in (2, 3):
        gone = of_number(store, "weather", number)
        assert gone.state == "erased" or len(store.read_all(gone)["gone"]) == 300_000
    store.close()


def check_clean(folder: Path) -> None:
    """After a collection the location holds what the rows name, and nothing else."""
    store = open_small(folder)
    with store.database.write() as tx:
        tx.run("UPDATE upload SET expires_at = '2020-01-01T00:00:00.000000Z'")
    store.collect()
    with store.database.read() as tx:
        known = {f"packs/{row[0]}" for row in tx.rows("SELECT id FROM pack")}
    assert {found.name for found in store.contents.readers.location("main").list()} == known
    assert list((folder / "objects/.tmp").iterdir()) == []
    assert [of_number(store, "weather", n).state for n in (1, 2, 3)] == ["live", "erased", "erased"]
    store.close()


def points(trace: list[Call], rng: random.Random, count: int) -> list[str]:
    """Calls at which to kill, each kind of call as likely as any other."""
    kinds: dict[str, list[Call]] = {}
    for call in trace:
        if call.name in {"fsync", "fdatasync", "linkat", "pwrite64", "unlinkat"} or "/.tmp/" in call.path:
            kinds.setdefault(call.name, []).append(call)
    chosen = [rng.choice(kinds[rng.choice(sorted(kinds))]) for _ in range(count)]
    return [f"{call.name}:signal=SIGKILL:when={call.number}" for call in chosen]


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("words", [ADD, COLLECT], ids=["add", "collect"])
def test_a_kill_at_any_point_loses_nothing_and_the_same_command_finishes(
    strace: str,
    fresh: Callable[[], Path],
    traces: dict[tuple[str, ...], list[Call]],
    tmp_path: Path,
    rng: random.Random,
    words: tuple[str, ...],
    batch: int,
) -> None:
    for inject in points(traces[words], rng, KILLS):
        folder = fresh()
        code, lines = run(strace, tmp_path / "log", folder, *words, inject=inject)
        assert code in {-9, 137}, f"batch {batch}: {inject} was not reached"
        check(folder, lines)
        again = list(work(folder, *words))
        assert again[0].split()[0] == ("added" if words == ADD else "collected"), inject
        check(folder, [*lines, *again])
        check_clean(folder)


def is_temporary(call: Call) -> bool:
    return "/.tmp/" in call.path


DISKS: dict[str, tuple[Callable[[Call], bool], int, str, str]] = {
    "full at the first byte": (lambda c: c.name == "write" and is_temporary(c), 0, "ENOSPC", StoreFull.code),
    "full at the last byte": (lambda c: c.name == "write" and is_temporary(c), -1, "ENOSPC", StoreFull.code),
    "over its quota": (lambda c: c.name == "write" and is_temporary(c), 1, "EDQUOT", StoreFull.code),
    "full when synced": (lambda c: c.name == "fsync" and is_temporary(c), 0, "ENOSPC", StoreFull.code),
    "full when linked": (lambda c: c.name == "linkat", -1, "ENOSPC", StoreFull.code),
    "broken": (lambda c: c.name == "fsync" and c.path.endswith("/packs"), -1, "EIO", LocationAway.code),
    "read-only": (lambda c: "/.tmp" in c.args and "O_EXCL" in c.args, 0, "EROFS", StoreReadOnly.code),
    "forbidden": (lambda c: "/.tmp" in c.args and "O_EXCL" in c.args, -1, "EACCES", LocationAway.code),
    "full at the upload's row": (
        lambda c: c.name == "pwrite64" and c.path.endswith("-wal"),
        0,
        "ENOSPC",
        StoreFull.code,
    ),
    "full at the commit": (lambda c: c.name == "pwrite64" and c.path.endswith("-wal"), -1, "ENOSPC", StoreFull.code),
}


@pytest.mark.parametrize("disk", DISKS)
def test_a_disk_that_fails_is_told_and_leaves_nothing(
    strace: str, fresh: Callable[[], Path], traces: dict[tuple[str, ...], list[Call]], tmp_path: Path, disk: str
) -> None:
    fits, which, error, code = DISKS[disk]
    call = [call for call in traces[ADD] if fits(call)][which]
    folder = fresh()
    before = sorted((folder / "objects/packs").iterdir())
    _, lines = run(strace, tmp_path / "log", folder, *ADD, inject=f"{call.name}:error={error}:when={call.number}")
    assert lines == [f"failed {code}"]
    assert sorted((folder / "objects/packs").iterdir()) == before
    check(folder, lines)
    again = list(work(folder, *ADD))
    assert again == ["added 1 1"]
    check(folder, again)


def test_a_store_on_a_read_only_disk_is_read_and_not_written(base: Path) -> None:
    database = open_database(base / "falaj.db", read_only=True)
    keys = StoreKeys(KeyFile.open(base / "key"), database)
    contents = Contents(database, keys, {"main": FolderLocation(base / "objects", PLACE)})
    store = open_small(base)
    kept = of_number(store, "weather", 1)
    assert contents.read(kept, "kept.csv", limit=1 << 20) == KEPT["kept.csv"]
    assert contents.verify().ok
    assert contents.survey().packs == 3
    with pytest.raises(StoreReadOnly), contents.upload(str(kept.domain)):
        pass
    database.close()
    store.close()
