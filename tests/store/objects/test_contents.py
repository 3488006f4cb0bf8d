"""The bytes of versions, on both databases: stored, kept, read, compared, written out; and what is refused."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from falaj.core.encoding import moment
from falaj.core.entries import What
from falaj.core.errors import Conflict, TooLarge
from falaj.store.content import Contents
from falaj.store.content.rows import SqlIndex, drop_pack
from falaj.store.objects import CheckoutRefused
from falaj.store.objects.errors import ContentUnknown, FileMissing, LocationAway, UploadClosed
from falaj.store.objects.tree import reached

from .small_store import SmallStore, open_small


@pytest.fixture
def store(database_address: str, tmp_path: Path) -> Iterator[SmallStore]:
    small = open_small(tmp_path, database_address)
    yield small
    small.close()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[SmallStore]:
    small = open_small(tmp_path)
    yield small
    small.close()


def some_bytes(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def abandon_after(store: SmallStore, data: bytes) -> None:
    with store.contents.upload(store.domain("flights")) as upload:
        upload.add_file("large", io.BytesIO(data))
        raise ZeroDivisionError


FILES = {
    "2013-01.csv": b"year,month\n2013,1\n",
    "deep/er/2013-02.csv": some_bytes(1, 700_000),
    "empty": b"",
    "large": some_bytes(2, 9_000_000),
}


def test_what_is_added_reads_back(store: SmallStore) -> None:
    version = store.add("flights", FILES)
    assert store.read_all(version) == FILES
    assert version.size_bytes == sum(map(len, FILES.values()))
    assert [f.path for f in store.contents.files(version)] == ["2013-01.csv", "empty", "large", "deep/er/2013-02.csv"]


def test_the_same_files_again_add_nothing_and_have_the_same_root(store: SmallStore) -> None:
    first = store.add("flights", FILES)
    again = store.add("flights", dict(reversed(FILES.items())))
    assert (again.content, again.stored_bytes) == (first.content, 0)


def test_the_same_files_in_another_domain_share_nothing(lite: SmallStore) -> None:
    one, other = lite.add("flights", FILES), lite.add("weather", FILES)
    assert one.content != other.content
    assert other.stored_bytes > 9_000_000


def test_kept_files_move_no_bytes(store: SmallStore) -> None:
    base = store.add("flights", FILES)
    grown = store.add("flights", {"2013-03.csv": b"new"}, base)
    assert store.read_all(grown) == {**FILES, "2013-03.csv": b"new"}
    assert grown.stored_bytes < 4096
    assert [(c.path, c.before is None) for c in store.contents.compare(base, grown)] == [("2013-03.csv", True)]


def test_files_of_another_domain_are_not_kept(lite: SmallStore) -> None:
    other = lite.add("weather", FILES)
    with lite.contents.upload(lite.domain("flights")) as upload, pytest.raises(ContentUnknown):
        upload.keep(other, ["empty"])


def test_a_small_file_is_read_whole_up_to_its_limit(lite: SmallStore) -> None:
    version = lite.add("flights", FILES)
    assert lite.contents.read(version, "2013-01.csv", limit=18) == FILES["2013-01.csv"]
    with pytest.raises(TooLarge):
        lite.contents.read(version, "2013-01.csv", limit=17)
    for path in ("none", "deep", "deep/er", "2013-01.csv/x", "../key", ""):
        with pytest.raises(FileMissing):
            lite.contents.read(version, path, limit=10)


def test_a_checkout_writes_the_files_asked_for_in_that_order(lite: SmallStore, tmp_path: Path) -> None:
    version = lite.add("flights", FILES)
    paths = ["large", "deep/er/2013-02.csv"]
    written = lite.contents.checkout(version, tmp_path / "out", paths)
    assert written == [tmp_path / "out" / path for path in paths]
    assert [path.read_bytes() for path in written] == [FILES[path] for path in paths]
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 2


def test_a_checkout_replaces_nothing_and_follows_no_link(lite: SmallStore, tmp_path: Path) -> None:
    version = lite.add("flights", FILES)
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "deep").symlink_to(elsewhere)
    with pytest.raises(CheckoutRefused):
        lite.contents.checkout(version, out, ["deep/er/2013-02.csv"])
    (out / "empty").write_bytes(b"mine")
    (out / "large").symlink_to(elsewhere / "large")
    for path in ("empty", "large"):
        with pytest.raises(CheckoutRefused):
            lite.contents.checkout(version, out, [path])
    assert (out / "empty").read_bytes() == b"mine"
    assert list(elsewhere.iterdir()) == []
    assert sorted(p.name for p in out.iterdir()) == ["deep", "empty", "large"]


def test_an_upload_that_fails_leaves_nothing(store: SmallStore) -> None:
    location = store.contents.readers.location("main")
    with pytest.raises(ZeroDivisionError):
        abandon_after(store, some_bytes(3, 40_000_000))
    assert list(location.list()) == []
    assert store.contents.survey().packs == 0


def test_what_was_stored_is_recorded_once(store: SmallStore) -> None:
    stored = store.stored("flights", FILES)
    store.record("flights", stored)
    with pytest.raises(UploadClosed):
        store.record("flights", stored)


def test_what_counts_on_a_pack_that_is_gone_is_not_recorded(lite: SmallStore) -> None:
    lite.add("flights", FILES)
    stored = lite.stored("flights", {**FILES, "new": b"new"})
    with lite.database.write() as tx:
        drop_pack(tx, next(iter(stored.reused)))
    with pytest.raises(UploadClosed):
        lite.record("flights", stored)


def test_what_was_discarded_cannot_be_recorded(lite: SmallStore) -> None:
    stored = lite.stored("flights", FILES)
    lite.contents.discard(stored)
    assert list(lite.contents.readers.location("main").list()) == []
    with pytest.raises(UploadClosed):
        lite.record("flights", stored)


def test_discarding_what_was_recorded_does_nothing(store: SmallStore) -> None:
    stored = store.stored("flights", FILES)
    version = store.record("flights", stored)
    store.contents.discard(stored)
    assert store.read_all(version) == FILES


def test_two_uploads_at_once_of_the_same_content_are_both_whole(store: SmallStore) -> None:
    one, other = store.stored("flights", FILES), store.stored("flights", FILES)
    assert one.root == other.root
    versions = [store.record("flights", other), store.record("flights", one)]
    assert [store.read_all(version) for version in versions] == [FILES, FILES]
    assert store.contents.verify().ok


def test_a_location_that_is_not_declared_is_away(lite: SmallStore) -> None:
    version = lite.add("flights", {"a": b"a"})
    elsewhere = Contents(lite.database, lite.contents.keys, {"other": lite.contents.readers.location("main")})
    with pytest.raises(LocationAway):
        elsewhere.files(version)


def test_versions_of_different_domains_are_not_compared(lite: SmallStore) -> None:
    one, other = lite.add("flights", {"a": b"a"}), lite.add("weather", {"a": b"a"})
    with pytest.raises(Conflict):
        lite.contents.compare(one, other)


def test_reading_inside_an_open_transaction_uses_it(store: SmallStore) -> None:
    version = store.add("flights", {"a": b"a"})
    with store.database.read():
        assert store.read_all(version) == {"a": b"a"}
    with store.unit("look"):
        assert store.read_all(version) == {"a": b"a"}


# the chunk index


def test_the_index_finds_what_its_domain_holds_in_its_location_and_nothing_else(store: SmallStore) -> None:
    version = store.add("flights", FILES)
    store.add("weather", FILES)
    reader = store.contents.readers.reader(str(version.domain), "main")
    names = [need.name for need in reached(store.contents.tree(version), set())]
    assert set(reader.index.find(names)) == set(names)
    assert set(reader.index.find([*names[:2], bytes(32), *names[:2]])) == set(names[:2])
    assert reader.index.find([]) == {}
    for domain, location in ((store.domain("weather"), "main"), (str(version.domain), "other")):
        assert SqlIndex(store.database, domain, location).find(names) == {}


def test_of_two_places_of_a_chunk_the_first_stays(store: SmallStore) -> None:
    one, other = store.stored("flights", FILES), store.stored("flights", FILES)
    for stored in (one, other):
        store.record("flights", stored)
    assert one.packs
    assert other.packs
    with store.database.read() as tx:
        assert tx.row("SELECT count(DISTINCT pack) FROM chunk") == (len(one.packs),)


# long uploads


def test_a_long_upload_renews_its_row_and_ends_where_it_was_taken_for_dead(
    lite: SmallStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falaj.store.content.contents.RENEW_EVERY_S", 0.0)
    with lite.contents.upload(lite.domain("flights")) as upload:
        with lite.database.write() as tx:
            tx.run("UPDATE upload SET expires_at = '2020-01-01T00:00:00.000000Z'")
        upload.add_file("first", io.BytesIO(some_bytes(1, 40 << 20)))
        with lite.database.read() as tx:
            assert (tx.row("SELECT expires_at FROM upload") or ("",)) > (moment(datetime.now(UTC)),)
        with lite.database.write() as tx:
            tx.run("DELETE FROM upload")
        with pytest.raises(UploadClosed, match="taken for dead"):
            upload.add_file("second", io.BytesIO(some_bytes(2, 40 << 20)))
    assert list(lite.contents.readers.location("main").list()) == []


# all at once


def test_uploads_and_collections_at_once_lose_nothing(store: SmallStore, rng: random.Random) -> None:
    """Three threads add and retire versions of one asset that share content; one collects garbage all the while.

    It surveys inside the unit, where PostgreSQL shows each statement the rows of its own instant.
    """
    seeds = [[rng.randrange(6) for _ in range(5)] for _ in range(3)]
    done, kept, failures = threading.Event(), [], []

    def add(mine: list[int]) -> None:
        for seed in mine:
            files = {f"{seed}/{i}": some_bytes(seed + i, 90_000) for i in range(3)}
            version = store.add("flights", files)
            if seed % 2:
                store.set_state(version, "retired")
            else:
                kept.append((version, files))

    def collect() -> None:
        while not done.wait(0.05):
            with store.unit("store.gc") as unit:
                found = store.contents.forget(unit, store.catalog, store.contents.survey())
                unit.say(What.OBJECTS_COLLECTED, [])
            store.contents.remove(found)

    def told(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  told by the test's own thread
            failures.append(error)

    store.domain("flights")
    adders = [threading.Thread(target=told, args=(partial(add, mine),)) for mine in seeds]
    collector = threading.Thread(target=told, args=(collect,))
    for thread in (*adders, collector):
        thread.start()
    for thread in adders:
        thread.join()
    done.set()
    collector.join()
    assert failures == []
    assert store.contents.verify().problems == ()
    for version, files in kept:
        assert store.read_all(version) == files
    store.collect()
    assert store.contents.survey().packs == 0
