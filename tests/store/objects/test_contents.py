"""The bytes of versions, on both databases: stored, kept, read, compared, written out; and what is refused."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.core.errors import Conflict, TooLarge
from falaj.store.content import Contents
from falaj.store.objects import CheckoutRefused
from falaj.store.objects.errors import ContentUnknown, FileMissing, LocationAway, UploadClosed

from .small_store import SmallStore, open_small


@pytest.fixture
def store(database_address: str, tmp_path: Path) -> Iterator[SmallStore]:
    small = open_small(tmp_path, database_address)
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


def test_the_same_files_in_another_domain_share_nothing(store: SmallStore) -> None:
    one, other = store.add("flights", FILES), store.add("weather", FILES)
    assert one.content != other.content
    assert other.stored_bytes > 9_000_000


def test_kept_files_move_no_bytes(store: SmallStore) -> None:
    base = store.add("flights", FILES)
    grown = store.add("flights", {"2013-03.csv": b"new"}, base)
    assert store.read_all(grown) == {**FILES, "2013-03.csv": b"new"}
    assert grown.stored_bytes < 4096
    assert [(c.path, c.before is None) for c in store.contents.compare(base, grown)] == [("2013-03.csv", True)]


def test_files_of_another_domain_are_not_kept(store: SmallStore) -> None:
    other = store.add("weather", FILES)
    with store.contents.upload(store.domain("flights")) as upload, pytest.raises(ContentUnknown):
        upload.keep(other, ["empty"])


def test_a_small_file_is_read_whole_up_to_its_limit(store: SmallStore) -> None:
    version = store.add("flights", FILES)
    assert store.contents.read(version, "2013-01.csv", limit=18) == FILES["2013-01.csv"]
    with pytest.raises(TooLarge):
        store.contents.read(version, "2013-01.csv", limit=17)
    for path in ("none", "deep", "deep/er", "2013-01.csv/x", "../key", ""):
        with pytest.raises(FileMissing):
            store.contents.read(version, path, limit=10)


def test_a_checkout_writes_the_files_asked_for_in_that_order(store: SmallStore, tmp_path: Path) -> None:
    version = store.add("flights", FILES)
    paths = ["large", "deep/er/2013-02.csv"]
    written = store.contents.checkout(version, tmp_path / "out", paths)
    assert written == [tmp_path / "out" / path for path in paths]
    assert [path.read_bytes() for path in written] == [FILES[path] for path in paths]
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 2


def test_a_checkout_replaces_nothing_and_follows_no_link(store: SmallStore, tmp_path: Path) -> None:
    version = store.add("flights", FILES)
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "deep").symlink_to(elsewhere)
    with pytest.raises(CheckoutRefused):
        store.contents.checkout(version, out, ["deep/er/2013-02.csv"])
    (out / "empty").write_bytes(b"mine")
    (out / "large").symlink_to(elsewhere / "large")
    for path in ("empty", "large"):
        with pytest.raises(CheckoutRefused):
            store.contents.checkout(version, out, [path])
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


def test_what_was_discarded_cannot_be_recorded(store: SmallStore) -> None:
    stored = store.stored("flights", FILES)
    store.contents.discard(stored)
    assert list(store.contents.readers.location("main").list()) == []
    with pytest.raises(UploadClosed):
        store.record("flights", stored)


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


def test_a_location_that_is_not_declared_is_away(store: SmallStore) -> None:
    version = store.add("flights", {"a": b"a"})
    elsewhere = Contents(store.database, store.contents.keys, {"other": store.contents.readers.location("main")})
    with pytest.raises(LocationAway):
        elsewhere.files(version)


def test_versions_of_different_domains_are_not_compared(store: SmallStore) -> None:
    one, other = store.add("flights", {"a": b"a"}), store.add("weather", {"a": b"a"})
    with pytest.raises(Conflict):
        store.contents.compare(one, other)


def test_reading_inside_an_open_transaction_uses_it(store: SmallStore) -> None:
    version = store.add("flights", {"a": b"a"})
    with store.database.read():
        assert store.read_all(version) == {"a": b"a"}
    with store.unit("look"):
        assert store.read_all(version) == {"a": b"a"}
