"""Repair sets right what the entries prove, and makes nothing look right that was tampered with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from falaj.store.ledger.errors import LedgerDamaged
from falaj.store.ledger.repair import repair
from falaj.store.metadata import open_database
from scripts.postgres import PostgresServer
from tests.store.ledger.stores import FOREIGN, SIGNER, Store, edited, filled, rewrite_tree


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if request.param == "sqlite":
        database = open_database(tmp_path_factory.mktemp("repair") / "falaj.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = open_database(server.create_database("repair"))
    yield filled(database)
    database.close()
    if request.param == "postgresql":
        server.drop_database("repair")


@pytest.fixture
def store(sound: Store) -> Iterator[Store]:
    with sound.rolled_back() as inside:
        yield inside


def repaired(store: Store, *kept: str) -> tuple[int, int]:
    assert store.tx is not None
    return repair(store.tx, store.ground.log, [SIGNER], kept)


def test_what_is_sound_is_left_alone(store: Store) -> None:
    assert repaired(store, store.newest_note()) == (0, 0)


@pytest.mark.parametrize(
    ("damage", "nodes"),
    [
        ("DELETE FROM ledger_node WHERE level = 0 AND idx = 3", 1),
        ("DELETE FROM ledger_node WHERE level > 0", None),
        ("DELETE FROM ledger_node", None),
        (
            "UPDATE ledger_node SET hash = (SELECT hash FROM ledger_node WHERE level = 0 AND idx = 0) WHERE level = 1",
            None,
        ),
        (
            "INSERT INTO ledger_node (level, idx, hash) SELECT 9, 0, hash FROM ledger_node WHERE level = 0 AND idx = 0",
            1,
        ),
    ],
)
def test_nodes_are_written_anew_from_the_entries(store: Store, damage: str, nodes: int | None) -> None:
    before = store.value("SELECT count(*) FROM ledger_node")
    store.run(damage)
    wrong, columns = repaired(store)
    assert (wrong, columns) == (nodes, 0) if nodes else wrong > 1
    assert store.found() == set()
    assert store.value("SELECT count(*) FROM ledger_node") == before


def test_index_columns_are_set_back_to_what_the_bodies_say(store: Store) -> None:
    store.run("UPDATE ledger_entry SET what = 'ref.moved', at = 'then' WHERE leaf < 3")
    assert repaired(store) == (0, 3)
    assert store.found() == set()


def edit(store: Store) -> None:
    store.run("UPDATE ledger_entry SET body = :body WHERE leaf = 4", body=edited(store.entry(4), by="mallory"))


def edit_and_rewrite_the_tree(store: Store) -> None:
    edit(store)
    rewrite_tree(store)


def edit_and_lose_the_tree(store: Store) -> None:
    edit(store)
    store.run("DELETE FROM ledger_node")


def remove(store: Store) -> None:
    store.run("DELETE FROM ledger_entry WHERE leaf = 4")


def cut_the_tail(store: Store) -> None:
    store.run("DELETE FROM ledger_entry WHERE leaf = :leaf", leaf=store.size() - 1)
    store.run("DELETE FROM ledger_checkpoint WHERE size > :size", size=store.size())


def edit_what_is_not_signed_yet(store: Store) -> None:
    store.run("DELETE FROM ledger_checkpoint")
    edit(store)


def add_what_is_in_no_tree(store: Store) -> None:
    store.run("DELETE FROM ledger_checkpoint")
    last = store.size() - 1
    store.run("DELETE FROM ledger_node WHERE level = 0 AND idx = :idx", idx=last)


def sign_with_another_key(store: Store) -> None:
    rewrite_tree(store, signed_by=FOREIGN)


@pytest.mark.parametrize(
    "tamper",
    [
        edit,
        edit_and_rewrite_the_tree,
        edit_and_lose_the_tree,
        remove,
        cut_the_tail,
        edit_what_is_not_signed_yet,
        add_what_is_in_no_tree,
        sign_with_another_key,
    ],
)
def test_a_ledger_that_was_tampered_with_is_beyond_repair(store: Store, tamper: Callable[[Store], None]) -> None:
    tamper(store)
    before = store.found()
    with pytest.raises(LedgerDamaged, match="beyond repair"):
        repaired(store)
    assert store.found() == before


def test_a_rewritten_ledger_is_beyond_repair_by_what_was_kept_outside(store: Store) -> None:
    kept = store.newest_note()
    edit(store)
    rewrite_tree(store, signed_by=SIGNER)
    assert repaired(store) == (0, 0)
    with pytest.raises(LedgerDamaged, match="not those that were signed"):
        repaired(store, kept)
