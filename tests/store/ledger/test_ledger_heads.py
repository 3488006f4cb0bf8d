"""Signed heads: each continues the last, is kept outside of the database, and shows an older one put back."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.core.errors import FalajError, Invalid
from falaj.store.ledger.checkpoint import parse_checkpoint, parse_note, sign_checkpoint
from falaj.store.ledger.errors import CheckpointInvalid, LedgerDamaged
from falaj.store.ledger.log import NEWEST, Heads, Sequencer
from falaj.store.ledger.merkle import EMPTY_ROOT
from falaj.store.ledger.publish import DAY_S, Publisher, PublishFailed
from falaj.store.metadata import open_database
from tests.store.catalog.ground import small_ground
from tests.store.ledger.stores import FOREIGN, SIGNER, Store, add, edited, rewrite_tree


@pytest.fixture
def store(database_address: str) -> Iterator[Store]:
    database = open_database(database_address)
    store = Store(small_ground(database), database)
    add(store.ground, "rye", "wheat", "oat")
    yield store
    database.close()


@pytest.fixture
def publisher(tmp_path: Path, store: Store) -> Publisher:
    made = Publisher(tmp_path / "witness" / "flights")
    store.ground.log.kept = made.newest
    return made


@pytest.fixture
def heads(store: Store, publisher: Publisher) -> Heads:
    return Heads(store.ground.log, store.database, SIGNER, publisher.publish)


def size_of(note: str | None) -> int:
    assert note is not None
    return parse_checkpoint(parse_note(note).text).size


def note(size: int, root: bytes = bytes(32)) -> str:
    return sign_checkpoint(SIGNER, size, root)


def test_a_head_covers_all_that_was_committed_and_lies_outside_too(
    store: Store, heads: Heads, publisher: Publisher
) -> None:
    signed = heads.renew()
    assert size_of(signed) == store.size() == 4
    assert publisher.kept() == (signed,)
    assert store.verify(publisher.kept()).kept == 1


def test_a_head_is_signed_again_only_when_the_ledger_grew(store: Store, heads: Heads, publisher: Publisher) -> None:
    assert heads.renew() == heads.renew()
    add(store.ground, "spelt")
    heads.renew()
    assert [size_of(kept) for kept in publisher.kept()] == [4, 5]
    assert store.value("SELECT count(*) FROM ledger_checkpoint") == 2


def test_a_head_that_was_signed_and_not_published_is_published_by_the_next(
    store: Store, heads: Heads, publisher: Publisher
) -> None:
    store.sign()
    assert publisher.kept() == ()
    heads.renew()
    assert [size_of(kept) for kept in publisher.kept()] == [4]


def test_a_note_that_was_thinned_out_since_it_was_listed_is_not_missed(heads: Heads, publisher: Publisher) -> None:
    signed = heads.renew()
    for size in ("3".zfill(20), "7".zfill(20)):
        (publisher.folder / size).symlink_to("gone")  # is listed, and there is nothing to read
    assert publisher.kept() == (signed,)
    assert publisher.newest() == signed


def test_an_empty_ledger_has_no_head(tmp_path: Path) -> None:
    database = open_database(tmp_path / "empty.db")
    from falaj.store.ledger.log import Log
    from falaj.store.metadata.open import migrate

    migrate(database)
    assert Heads(Log("sqlite"), database, SIGNER, lambda _: None).renew() is None
    database.close()


def test_a_store_opened_read_only_gives_the_last_head_and_signs_none(
    store: Store, heads: Heads, tmp_path: Path
) -> None:
    if store.database.dialect != "sqlite":
        return  # one test of the driver
    signed = heads.renew()
    add(store.ground, "spelt")
    from falaj.store.ledger.log import Log

    database = open_database(tmp_path / "falaj.db", read_only=True)
    assert Heads(Log("sqlite"), database, SIGNER, _refuse).renew() == signed
    database.close()


def _refuse(_: str) -> None:
    raise AssertionError("nothing is published from a store that is only read")


# what is not a continuation gets no signature


def test_a_rewritten_ledger_is_not_signed(store: Store, heads: Heads) -> None:
    heads.renew()
    store.run("UPDATE ledger_entry SET body = :body WHERE leaf = 1", body=edited(store.entry(1), by="mallory"))
    rewrite_tree(store)
    add(store.ground, "spelt")
    with pytest.raises(LedgerDamaged, match="first 4 entries are not those that were signed"):
        heads.renew()


def test_a_rewritten_ledger_whose_stored_heads_were_removed_is_not_signed_against_the_published_one(
    store: Store, heads: Heads
) -> None:
    heads.renew()
    store.run("UPDATE ledger_entry SET body = :body WHERE leaf = 1", body=edited(store.entry(1), by="mallory"))
    store.run("DELETE FROM ledger_checkpoint")
    rewrite_tree(store)
    with pytest.raises(LedgerDamaged, match="nothing more is signed"):
        heads.renew()


def test_a_cut_ledger_is_not_signed(store: Store, heads: Heads) -> None:
    heads.renew()
    store.run("DELETE FROM ledger_entry WHERE leaf = 3")
    store.run("DELETE FROM ledger_checkpoint")
    rewrite_tree(store)
    with pytest.raises(LedgerDamaged, match="has 3 entries, a checkpoint covers 4"):
        heads.renew()


def test_a_forged_newest_head_stops_the_signing(store: Store, heads: Heads) -> None:
    heads.renew()
    forged = sign_checkpoint(FOREIGN, 9, bytes(32))
    store.run("INSERT INTO ledger_checkpoint (size, note, at) VALUES (9, :note, '')", note=forged)
    add(store.ground, "spelt")
    store.settle()
    with pytest.raises(CheckpointInvalid, match="not signed by"):
        heads.renew()


def test_a_head_by_an_earlier_key_is_continued_by_the_next_key(store: Store, publisher: Publisher) -> None:
    store.settle()
    log = store.ground.log
    log.checkpoint(store.database, FOREIGN)
    add(store.ground, "spelt")
    store.settle()
    assert size_of(log.checkpoint(store.database, SIGNER, [FOREIGN])) == 5
    assert store.found() == {("checkpoint_invalid", "ledger_checkpoint", "4")}  # verified by the new key alone


def test_an_older_database_put_back_is_found_by_what_was_published(
    store: Store, heads: Heads, publisher: Publisher, tmp_path: Path
) -> None:
    if store.database.dialect != "sqlite":
        return  # a copied file is SQLite's own way to be older; a cut ledger stands for both above
    heads.renew()
    store.database.close()
    shutil.copy(tmp_path / "falaj.db", tmp_path / "backup.db")
    add(store.ground, "spelt", "einkorn")
    heads.renew()
    store.database.close()
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"falaj.db{ending}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", tmp_path / "falaj.db")
    assert store.found() == set()  # alone it looks sound
    assert store.found(publisher.kept()) == {("tail_cut", "ledger_checkpoint", "6")}
    add(store.ground, "something else")
    with pytest.raises(LedgerDamaged):
        heads.renew()


# the folder outside


@pytest.mark.parametrize(
    ("address", "folder"),
    [("file:witness", "/place/witness"), ("file:/mnt/witness", "/mnt/witness"), ("file:a/b", "/place/a/b")],
)
def test_the_folder_is_named_by_an_address(address: str, folder: str) -> None:
    assert str(Publisher.at(address, Path("/place")).folder) == folder


@pytest.mark.parametrize("address", ["", "file:", "witness", "https://example.ae/x", "file:a\0b"])
def test_any_other_address_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match="the path of a folder is expected"):
        Publisher.at(address, Path("/place"))


def test_a_note_is_there_whole_or_not_at_all_and_readable_by_others(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "witness")
    publisher.publish(note(7))
    publisher.publish(note(7))
    [file] = (tmp_path / "witness").iterdir()
    assert (file.name, file.read_text(), file.stat().st_mode & 0o777) == ("00000000000000000007", note(7), 0o644)


def test_two_ledgers_in_one_folder_are_noticed(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.publish(note(7))
    with pytest.raises(LedgerDamaged, match="another checkpoint of 7 entries"):
        publisher.publish(note(7, b"\1" * 32))
    assert publisher.newest() == note(7)


def test_what_is_no_note_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid):
        Publisher(tmp_path / "witness").publish("scribble")
    assert not (tmp_path / "witness").exists()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("checkpoints of flights")
    (tmp_path / ".0000").write_text("left behind by a crash")
    publisher = Publisher(tmp_path)
    publisher.publish(note(3))
    assert publisher.kept() == (note(3),)


def test_a_file_that_was_changed_is_given_as_it_is_and_fails_its_check(store: Store, publisher: Publisher) -> None:
    publisher.publish(store.sign())
    [file] = publisher.folder.iterdir()
    file.write_bytes(b"\xff\0 scribble")
    assert store.found(publisher.kept()) == {("checkpoint_invalid", "ledger_checkpoint", "kept")}


@pytest.mark.skipif(os.getuid() != 0, reason="only root meets a folder that is a file in its way")
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    publisher = Publisher(tmp_path / "file" / "witness")
    with pytest.raises(PublishFailed, match="Not a directory"):
        publisher.publish(note(1))


def test_of_old_notes_the_last_of_each_day_stays(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    total, by_day = NEWEST + 40, 10
    for size in range(1, total + 1):
        publisher.publish(note(size))
        at = size // by_day * DAY_S + 60
        os.utime(tmp_path / f"{size:020d}", (at, at))
    kept = [size_of(k) for k in publisher.kept()]
    assert kept[-NEWEST:] == list(range(total - NEWEST + 1, total + 1))
    assert kept[:-NEWEST] == [9, 19, 29, 39, 40]


def test_of_old_heads_in_the_database_the_last_of_each_day_stays(store: Store) -> None:
    store.settle()
    with store.writing() as tx:
        for back in range(1, NEWEST + 3):
            day = "2026-01-01" if back >= NEWEST else "2026-01-02"
            head = {"size": -back, "note": note(0, EMPTY_ROOT), "at": f"{day}T00:00:00.000000Z"}
            tx.run("INSERT INTO ledger_checkpoint (size, note, at) VALUES (:size, :note, :at)", head)
    store.ground.log.checkpoint(store.database, SIGNER)
    with store.reading() as tx:
        sizes = [row[0] for row in tx.rows("SELECT size FROM ledger_checkpoint ORDER BY size")]
    assert sizes == [-NEWEST - 2, *range(-NEWEST, 0), 4]  # the second of the older day went


# the thread that does it


def test_the_sequencer_numbers_signs_and_publishes_and_its_end_leaves_nothing_waiting(
    store: Store, publisher: Publisher
) -> None:
    sequencer = Sequencer(store.ground.log, store.database, SIGNER, publisher.publish)
    sequencer.start()
    add(store.ground, "spelt", "einkorn")
    sequencer.stop()
    newest = publisher.newest()
    assert (size_of(newest), store.size(), sequencer.failures) == (6, 6, 0)


def test_a_round_that_fails_is_counted_told_and_tried_again(store: Store) -> None:
    done = threading.Event()
    fails = iter([True, True, False])

    def publish(_: str) -> None:
        if next(fails):
            raise PublishFailed("the share is away")
        done.set()

    sequencer = Sequencer(store.ground.log, store.database, SIGNER, publish)
    sequencer.start()
    assert done.wait(timeout=30)
    sequencer.stop()
    assert (sequencer.failures, sequencer.last_error) == (2, "PublishFailed: the share is away")


def test_a_head_made_apart_is_seen_by_the_snapshot_that_asked_for_it(store: Store, heads: Heads) -> None:
    with store.database.read() as tx:
        heads.renew_apart()
        assert tx.row("SELECT max(size) FROM ledger_checkpoint") == (4,)
    heads.close()


def test_a_head_that_cannot_be_made_apart_is_not_the_readers_error(store: Store) -> None:
    def publish(_: str) -> None:
        raise PublishFailed("the share is away")

    heads = Heads(store.ground.log, store.database, SIGNER, publish)
    heads.renew_apart()
    with pytest.raises(FalajError, match="the share is away"):
        heads.renew()
    heads.close()
