"""Garbage collection: what goes, what stays, and that nothing reachable goes whatever happens in between."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from falaj.core.records import Version
from falaj.store import runs
from falaj.store.content import Garbage
from falaj.store.objects.errors import ContentErased, UploadClosed

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


def files(seed: int, count: int = 3) -> dict[str, bytes]:
    rng = random.Random(seed)
    return {f"{seed}-{i}.csv": rng.randbytes(rng.choice([100, 50_000, 400_000])) for i in range(count)}


def packs(store: SmallStore) -> set[str]:
    return {found.name for found in store.contents.readers.location("main").list()}


def set_upload(store: SmallStore, **columns: str) -> None:
    with store.database.write() as tx:
        for column, value in columns.items():
            assert tx.run(f"UPDATE upload SET {column} = :value", {"value": value}) == 1


def test_where_everything_is_needed_nothing_goes(store: SmallStore) -> None:
    live, rejected = store.add("flights", files(1)), store.add("flights", files(2))
    store.set_state(rejected, "rejected")
    before = packs(store)
    found, removed = store.collect()
    assert (found.packs, found.versions_emptied, removed.packs, found.kept_packs) == (0, 0, 0, 2)
    assert packs(store) == before
    assert store.read_all(live) == files(1)
    assert store.read_all(store.again(rejected)) == files(2)


def test_a_retired_version_loses_its_bytes_for_good(store: SmallStore) -> None:
    live, retired = store.add("flights", files(1)), store.add("flights", files(2))
    store.set_state(retired, "retired")
    assert store.read_all(store.again(retired)) == files(2)
    found, removed = store.collect()
    assert (found.packs, found.versions_emptied, removed.packs) == (1, 1, 1)
    assert removed.bytes == found.bytes == retired.stored_bytes
    assert store.again(retired).state == "erased"
    with pytest.raises(ContentErased):
        store.read_all(store.again(retired))
    assert store.read_all(live) == files(1)
    assert store.contents.verify().ok
    assert store.contents.survey().packs == 0


def test_what_a_survey_finds_stays_until_it_is_collected(lite: SmallStore) -> None:
    retired = lite.add("flights", files(2))
    lite.set_state(retired, "retired")
    before = packs(lite)
    found = lite.contents.survey()
    assert (found.packs, found.bytes, found.versions_emptied) == (1, retired.stored_bytes, 1)
    assert packs(lite) == before
    assert lite.read_all(lite.again(retired)) == files(2)


def test_what_a_live_version_shares_with_a_retired_one_stays(lite: SmallStore) -> None:
    base = lite.add("flights", files(1))
    grown = lite.add("flights", files(2), base)
    lite.set_state(base, "retired")
    found, removed = lite.collect()
    assert (found.versions_emptied, removed.packs) == (1, 0)
    assert lite.read_all(grown) == {**files(1), **files(2)}
    twin = lite.add("flights", {**files(1), **files(2)})
    lite.set_state(grown, "retired")
    lite.collect()
    assert lite.read_all(twin) == {**files(1), **files(2)}


def test_a_partly_used_pack_stays_and_its_waste_is_told(lite: SmallStore) -> None:
    base = lite.add("flights", {"kept": b"k" * 1000, "gone": random.Random(1).randbytes(500_000)})
    with lite.contents.upload(lite.domain("flights")) as upload:
        upload.keep(base, ["kept"])
        stored = upload.finish()
    smaller = lite.record("flights", stored)
    lite.set_state(base, "retired")
    found, removed = lite.collect()
    assert removed.packs == 0
    assert 500_000 < found.partly_used_bytes < 520_000
    assert lite.read_all(smaller) == {"kept": b"k" * 1000}


def test_within_the_grace_a_retired_version_can_be_restored(store: SmallStore) -> None:
    version = store.add("flights", files(1))
    store.set_state(version, "retired")
    assert store.contents.survey(grace=timedelta(hours=1)).packs == 0
    assert store.contents.survey(grace=timedelta(microseconds=1)).packs == 1
    store.collect(store.contents.survey(grace=timedelta(hours=1)))
    store.set_state(version, "live")
    assert store.read_all(version) == files(1)


def test_a_version_restored_after_the_survey_keeps_its_bytes(store: SmallStore) -> None:
    version = store.add("flights", files(1))
    store.set_state(version, "retired")
    surveyed = store.contents.survey()
    store.set_state(version, "live")
    found, removed = store.collect(surveyed)
    assert (removed.packs, found.versions_emptied, found.kept_packs) == (0, 0, 1)
    assert list(found.skipped.values()) == ["a version was restored"]
    assert store.read_all(version) == files(1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_retired_version_that_a_ref_holds_keeps_its_bytes(lite: SmallStore, when: str) -> None:
    """No operation makes one; two at once on PostgreSQL could."""
    version = lite.add("flights", files(1))
    lite.set_state(version, "retired")
    surveyed = lite.contents.survey() if when == "after" else None
    with lite.unit("ref.mark") as unit:
        lite.catalog.mark(unit, lite.asset(unit, "flights"), "main", lite.again(version))
        unit.say("ref.moved", [])
    found, removed = lite.collect(surveyed)
    assert (removed.packs, found.versions_emptied) == (0, 0)
    assert lite.read_all(lite.again(version)) == files(1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_version_added_after_the_survey_keeps_the_domain(store: SmallStore, seed: int) -> None:
    """Also one of the very bytes that were to go."""
    version = store.add("flights", files(1))
    store.set_state(version, "retired")
    surveyed = store.contents.survey()
    again = store.add("flights", files(seed))
    found, removed = store.collect(surveyed)
    assert (removed.packs, found.versions_emptied) == (0, 0)
    assert store.read_all(again) == files(seed)
    store.collect()
    assert store.read_all(again) == files(seed)
    assert store.again(version).state == "erased"


def test_a_running_upload_keeps_its_whole_domain_and_no_other(store: SmallStore) -> None:
    old, other = store.add("flights", files(1)), store.add("weather", files(3))
    for version in (old, other):
        store.set_state(version, "retired")
    with store.contents.upload(store.domain("flights")) as upload:
        for path, data in {**files(1), **files(2)}.items():
            upload.add_file(path, io.BytesIO(data))
        found, _ = store.collect()
        assert (found.packs, found.versions_emptied) == (1, 1)
        assert list(found.skipped.values()) == ["an upload is running"]
        stored = upload.finish()
        found, _ = store.collect()
        assert found.packs == 0
    assert store.read_all(store.record("flights", stored)) == {**files(1), **files(2)}


def test_an_upload_begun_after_the_survey_keeps_the_domain(store: SmallStore) -> None:
    old = store.add("flights", files(1))
    store.set_state(old, "retired")
    surveyed = store.contents.survey()
    with store.contents.upload(store.domain("flights")) as upload:
        upload.add_file("again", io.BytesIO(next(iter(files(1).values()))))
        stored = upload.finish()
    found, removed = store.collect(surveyed)
    assert list(found.skipped.values()) == ["an upload began"]
    assert removed.packs == 0
    store.record("flights", stored)
    assert store.contents.verify().ok


@pytest.mark.parametrize(
    "column",
    [{"expires_at": "2020-01-01T00:00:00.000000Z"}, {"owner": runs.this_process() + "0"}],
    ids=["expired", "dead"],
)
def test_what_a_dead_upload_wrote_goes_and_it_cannot_commit_any_more(store: SmallStore, column: dict[str, str]) -> None:
    live = store.add("flights", files(1))
    stored = store.stored("flights", files(2))
    set_upload(store, **column)
    found, removed = store.collect()
    assert (found.packs, removed.packs) == (1, 1)
    with pytest.raises(UploadClosed):
        store.record("flights", stored)
    assert store.read_all(live) == files(1)
    assert store.contents.survey().packs == 0


def test_an_upload_taken_for_dead_that_commits_before_it_is_forgotten_stays_whole(store: SmallStore) -> None:
    stored = store.stored("flights", files(2))
    set_upload(store, expires_at="2020-01-01T00:00:00.000000Z")
    surveyed = store.contents.survey()
    assert surveyed.packs == 1
    version = store.record("flights", stored)
    found, removed = store.collect(surveyed)
    assert (found.packs, removed.packs) == (0, 0)
    assert store.read_all(version) == files(2)


def test_packs_that_no_row_knows_go_and_foreign_blobs_stay(lite: SmallStore) -> None:
    live = lite.add("flights", files(1))
    location = lite.contents.readers.location("main")
    location.put_if_absent("packs/01ARZ3NDEKTSV4RRFFQ69G5FAV-1", b"half")
    location.put_if_absent("elsewhere/file", b"not ours to judge")
    found, removed = lite.collect()
    assert (found.packs, removed.packs, removed.bytes) == (1, 1, 4)
    assert [f.name for f in location.list("elsewhere/")] == ["elsewhere/file"]
    assert lite.read_all(live) == files(1)


def test_a_collection_that_was_interrupted_is_finished_by_the_next(lite: SmallStore) -> None:
    version = lite.add("flights", files(1))
    lite.set_state(version, "retired")
    with lite.unit("store.gc") as unit:
        lite.contents.forget(unit, lite.catalog, lite.contents.survey())
        unit.say("objects.collected", [])
    assert len(packs(lite)) == 1
    found, removed = lite.collect()
    assert (found.packs, found.versions_emptied, removed.packs) == (1, 0, 1)
    assert packs(lite) == set()


def test_temporary_files_of_interrupted_puts_go(lite: SmallStore, tmp_path: Path) -> None:
    lite.add("flights", files(1))
    (tmp_path / "objects/.tmp/left").write_bytes(b"half")
    assert lite.collect()[1].temporary_files == 1
    assert list((tmp_path / "objects/.tmp").iterdir()) == []


def test_a_tree_that_cannot_be_read_keeps_its_whole_domain(lite: SmallStore) -> None:
    broken, retired, other = (lite.add(n, files(i)) for i, n in enumerate(("flights", "flights", "weather")))
    for version in (retired, other):
        lite.set_state(version, "retired")
    root = bytes.fromhex(str(broken.content).removeprefix("b3k:"))
    with lite.database.write() as tx:
        assert tx.run("DELETE FROM chunk WHERE name = :name", {"name": root}) == 1
    found, removed = lite.collect()
    assert (removed.packs, found.versions_emptied) == (1, 1)
    assert list(found.skipped) == [broken.domain]
    assert lite.read_all(lite.again(retired)) == files(1)


def test_bytes_whose_keys_were_destroyed_go(store: SmallStore) -> None:
    gone, live = store.add("flights", files(1)), store.add("weather", files(2))
    with store.unit("keys.destroy") as unit:
        store.contents.keys.begin(unit).destroy(str(gone.domain))
        unit.say("key.destroyed", [])
    assert [p.sort for p in store.contents.verify().problems] == ["destroyed"]
    found, removed = store.collect()
    assert (found.packs, removed.packs) == (1, 1)
    assert store.read_all(live) == files(2)


def test_a_location_that_refuses_is_named_and_the_next_collection_tries_again(lite: SmallStore, tmp_path: Path) -> None:
    version = lite.add("flights", files(1))
    lite.set_state(version, "retired")
    with lite.unit("store.gc") as unit:
        found = lite.contents.forget(unit, lite.catalog, lite.contents.survey())
        unit.say("objects.collected", [])
    (tmp_path / "objects/packs").rename(tmp_path / "aside")
    (tmp_path / "objects/packs").symlink_to(tmp_path / "aside")
    assert [v.count("packs/") for v in lite.contents.remove(found).failed] == [1]
    (tmp_path / "objects/packs").unlink()
    (tmp_path / "aside").rename(tmp_path / "objects/packs")
    assert lite.collect()[1].packs == 1


class Life:
    """A store's life at random, beside a plain account of what must be readable."""

    def __init__(self, store: SmallStore, rng: random.Random) -> None:
        self.store, self.rng = store, rng
        self.kept: list[tuple[Version, dict[str, bytes]]] = []
        self.retired: list[tuple[Version, dict[str, bytes]]] = []
        self.surveyed: Garbage | None = None

    def add(self) -> None:
        name, data = self.rng.choice(["flights", "weather"]), files(self.rng.randrange(6), self.rng.randrange(4))
        mine = [v for v in self.kept if v[0].domain == self.store.domain(name)]
        base, held = self.rng.choice(mine) if mine and self.rng.random() < 0.6 else (None, {})
        self.kept.append((self.store.add(name, data, base), {**held, **data}))

    def retire(self) -> None:
        if self.kept:
            self.retired.append(self.kept.pop(self.rng.randrange(len(self.kept))))
            self.store.set_state(self.retired[-1][0], "retired")

    def restore(self) -> None:
        if self.retired:
            version, held = self.retired.pop(self.rng.randrange(len(self.retired)))
            if self.store.again(version).state == "retired":
                self.store.set_state(version, "live")
                self.kept.append((version, held))

    def reject(self) -> None:
        if self.kept:
            self.store.set_state(self.rng.choice(self.kept)[0], "rejected")

    def fail(self) -> None:
        with self.store.contents.upload(self.store.domain("flights")) as upload:
            upload.add_file("never", io.BytesIO(self.rng.randbytes(1000)))

    def survey(self) -> None:
        self.surveyed = self.store.contents.survey()

    def collect(self) -> None:
        """By an old survey, or by one of now."""
        self.store.collect(self.surveyed if self.rng.random() < 0.5 else None)
        self.check()

    def check(self) -> None:
        for version, held in self.kept:
            assert self.store.read_all(self.store.again(version)) == held
        for version, held in self.retired:
            now = self.store.again(version)
            if now.state == "retired":
                assert self.store.read_all(now) == held
        assert self.store.contents.verify().problems == ()


def test_nothing_reachable_ever_goes(lite: SmallStore, rng: random.Random) -> None:
    life = Life(lite, rng)
    for _ in range(150):
        step = rng.choice(
            [life.add, life.add, life.retire, life.restore, life.reject, life.fail, life.survey, life.collect]
        )
        step()
    life.collect()
    for version, _ in list(life.kept):
        lite.set_state(version, "retired")
    life.kept.clear()
    lite.collect()
    assert packs(lite) == set()
