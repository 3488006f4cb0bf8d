"""Whatever someone does to the database behind the door is found, and named with its row and its entry."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator

import pytest

from falaj.core.ids import new_id
from falaj.store.ledger.checkpoint import sign_checkpoint
from falaj.store.metadata import open_database
from scripts.postgres import PostgresServer
from tests.store.ledger.stores import FOREIGN, SIGNER, TABLES, Store, edited, filled, rewrite_tree, table_of

LEAF = 5
"""An entry in the middle: it has words, changes, entries before and after it, and a checkpoint over it."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if request.param == "sqlite":
        database = open_database(tmp_path_factory.mktemp("sound") / "falaj.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = open_database(server.create_database("sound"))
    yield filled(database)
    database.close()
    if request.param == "postgresql":
        server.drop_database("sound")


@pytest.fixture
def store(sound: Store) -> Iterator[Store]:
    with sound.rolled_back() as inside:
        yield inside


def test_a_store_that_nobody_touched_is_sound(store: Store) -> None:
    report = store.verify()
    assert report.problems == ()
    assert (report.entries, report.signed, report.pending, report.checkpoints) == (store.size(), store.size(), 0, 2)
    assert report.states > len(TABLES)
    assert report.details > 5


def test_every_governed_table_has_a_row_here(store: Store) -> None:
    counts = {t.name: store.value(f"SELECT count(*) FROM {t.name}") for t in TABLES}
    assert all(counts.values()), counts


# entries


def edit(store: Store) -> None:
    store.run(
        "UPDATE ledger_entry SET body = :body WHERE leaf = :leaf",
        leaf=LEAF,
        body=edited(store.entry(LEAF), by="mallory"),
    )


def edit_with_index(store: Store) -> None:
    body = edited(store.entry(LEAF), op="ref.other")
    store.run("UPDATE ledger_entry SET body = :body, op = 'ref.other' WHERE leaf = :leaf", leaf=LEAF, body=body)


def remove(store: Store) -> None:
    store.run("DELETE FROM ledger_detail WHERE entry = (SELECT id FROM ledger_entry WHERE leaf = :leaf)", leaf=LEAF)
    store.run("DELETE FROM ledger_entry WHERE leaf = :leaf", leaf=LEAF)


def remove_and_renumber(store: Store) -> None:
    remove(store)
    for leaf in range(LEAF + 1, store.size()):
        store.run("UPDATE ledger_entry SET leaf = :to WHERE leaf = :leaf", leaf=leaf, to=leaf - 1)


def swap(store: Store) -> None:
    for leaf, to in ((LEAF, -1), (LEAF + 1, LEAF), (-1, LEAF + 1)):
        store.run("UPDATE ledger_entry SET leaf = :to WHERE leaf = :leaf", leaf=leaf, to=to)


def insert(store: Store, leaf: int, like: int) -> None:
    """Put an entry of mine in at a free number, made from another."""
    entry_id = new_id()
    store.run(
        "INSERT INTO ledger_entry (id, leaf, project, what, op, at, body)"
        " SELECT :id, :leaf, project, what, op, at, :body FROM ledger_entry WHERE leaf = :like",
        id=entry_id, leaf=leaf, like=like, body=edited(store.entry(like), id=entry_id, changes=(), detail=None),
    )  # fmt: skip


def renumber_upwards(store: Store) -> None:
    for leaf in reversed(range(LEAF, store.size())):
        store.run("UPDATE ledger_entry SET leaf = :to WHERE leaf = :leaf", leaf=leaf, to=leaf + 1)


def add_at_the_end(store: Store) -> None:
    insert(store, store.size(), LEAF)


def add_in_the_middle(store: Store) -> None:
    renumber_upwards(store)
    insert(store, LEAF, LEAF + 1)


def break_the_body(store: Store) -> None:
    store.run("UPDATE ledger_entry SET body = :body WHERE leaf = :leaf", leaf=LEAF, body=b"\xff not an entry")


def cut_the_tail(store: Store) -> None:
    last = store.size() - 1
    store.run("DELETE FROM ledger_detail WHERE entry = (SELECT id FROM ledger_entry WHERE leaf = :leaf)", leaf=last)
    store.run("DELETE FROM ledger_entry WHERE leaf = :leaf", leaf=last)


@pytest.mark.parametrize(
    ("tamper", "sort", "where"),
    [
        (edit, "entry_edited", LEAF),
        (edit_with_index, "entry_edited", LEAF),
        (remove, "entry_removed", LEAF),
        (remove_and_renumber, "entry_removed", LEAF),
        (swap, "entry_swapped", LEAF),
        (swap, "entry_swapped", LEAF + 1),
        (add_at_the_end, "entry_added", -1),
        (add_in_the_middle, "entry_added", LEAF),
        (renumber_upwards, "entry_removed", LEAF),
        (break_the_body, "entry_unreadable", LEAF),
        (break_the_body, "entry_edited", LEAF),
        (cut_the_tail, "tail_cut", -1),
    ],
)
def test_a_changed_entry_is_named(store: Store, tamper: Callable[[Store], None], sort: str, where: int) -> None:
    # Without the checkpoints, the nodes alone say which entry it is.
    store.run("DELETE FROM ledger_checkpoint")
    tamper(store)
    leaf = where if where >= 0 else store.size() + where + (tamper is cut_the_tail)
    assert (sort, "ledger_entry", str(leaf)) in store.found()


@pytest.mark.parametrize("tamper", [edit, remove_and_renumber, swap, add_in_the_middle, renumber_upwards])
def test_a_changed_entry_is_found_by_the_checkpoints_when_the_nodes_were_made_to_fit(
    store: Store, tamper: Callable[[Store], None]
) -> None:
    first = store.value("SELECT min(size) FROM ledger_checkpoint")
    tamper(store)
    rewrite_tree(store)
    assert ("checkpoint_mismatch", "ledger_checkpoint", str(first)) in store.found()


def test_a_changed_entry_of_which_only_the_nodes_were_made_to_fit_below_a_checkpoint_points_at_the_entries(
    store: Store,
) -> None:
    edit(store)
    rewrite_tree(store)
    [problem] = [p for p in store.verify().problems if p.sort == "checkpoint_mismatch"]
    assert "are not those that were signed" in problem.message
    assert "compare with an export" in problem.next_step


@pytest.mark.parametrize("column", ["project", "what", "op", "at"])
def test_a_changed_index_column_is_named(store: Store, column: str) -> None:
    store.run(f"UPDATE ledger_entry SET {column} = 'other' WHERE leaf = :leaf", leaf=LEAF)
    [problem] = store.verify().problems
    assert (problem.sort, problem.leaf) == ("entry_misindexed", LEAF)
    assert column in problem.message


# the head


def test_a_cut_tail_shows_against_a_checkpoint_that_was_kept(store: Store) -> None:
    kept = store.newest_note()
    size = store.size()
    cut_the_tail(store)
    store.run("DELETE FROM ledger_checkpoint WHERE size > :size", size=store.size())
    rewrite_tree(store)
    assert ("tail_cut", "ledger_checkpoint", str(size)) in store.found([kept])
    [problem] = [p for p in store.verify([kept]).problems if p.sort == "tail_cut"]
    assert "restore the newer one" in problem.next_step


def test_a_cut_tail_shows_against_a_stored_checkpoint_too(store: Store) -> None:
    size = store.size()
    cut_the_tail(store)
    rewrite_tree(store)
    assert ("tail_cut", "ledger_checkpoint", str(size)) in store.found()


def test_a_ledger_rewritten_whole_and_signed_with_another_key_is_found(store: Store) -> None:
    kept = store.newest_note()
    edit(store)
    rewrite_tree(store, signed_by=FOREIGN)
    found = {sort for sort, _, _ in store.found([kept])}
    assert {"checkpoint_invalid", "checkpoint_mismatch"} <= found


def test_a_ledger_rewritten_whole_by_who_holds_the_key_is_found_by_what_was_kept(store: Store) -> None:
    kept = store.newest_note()
    edit(store)
    rewrite_tree(store, signed_by=SIGNER)
    assert {sort for sort, _, _ in store.found()} == set()
    assert ("checkpoint_mismatch", "ledger_checkpoint", str(store.size())) in store.found([kept])


def test_a_forged_checkpoint_is_named(store: Store) -> None:
    size = store.size() - 1
    note = sign_checkpoint(FOREIGN, size, bytes(32))
    store.run("INSERT INTO ledger_checkpoint (size, note, at) VALUES (:size, :note, '')", size=size, note=note)
    assert store.found() == {("checkpoint_invalid", "ledger_checkpoint", str(size))}


def test_a_checkpoint_stored_under_another_size_is_named(store: Store) -> None:
    size = store.value("SELECT min(size) FROM ledger_checkpoint")
    store.run("UPDATE ledger_checkpoint SET size = :to WHERE size = :size", size=size, to=size - 1)
    assert store.found() == {("checkpoint_invalid", "ledger_checkpoint", str(size - 1))}


def test_a_checkpoint_from_elsewhere_that_is_no_note_is_named(store: Store) -> None:
    assert store.found(["scribble"]) == {("checkpoint_invalid", "ledger_checkpoint", "kept")}


# nodes


def test_a_changed_node_is_named_and_the_entries_are_not_blamed(store: Store) -> None:
    store.run("UPDATE ledger_node SET hash = :hash WHERE level = 0 AND idx = :idx", hash=bytes(32), idx=LEAF)
    store.run("UPDATE ledger_node SET hash = :hash WHERE level = 2 AND idx = 1", hash=b"\1" * 32)
    assert store.found() == {
        ("node_missing", "ledger_node", f"0/{LEAF}"),
        ("node_wrong", "ledger_node", "2/1"),
    }


def test_a_missing_node_is_named(store: Store) -> None:
    store.run("DELETE FROM ledger_node WHERE level = 1 AND idx = 2")
    assert store.found() == {("node_missing", "ledger_node", "1/2")}


def test_a_node_over_nothing_is_named(store: Store) -> None:
    store.run("INSERT INTO ledger_node (level, idx, hash) VALUES (9, 0, :hash)", hash=b"\1" * 32)
    assert store.found() == {("node_wrong", "ledger_node", "9/0")}


# rows behind the door

ROW_CHANGES = [
    ("verdict", "passed = 1 - passed"),
    ("verdict", "used_by = 'another'"),
    ("proposal", "state = 'moved'"),
    ("approval", "roles = '[\"owner\"]'"),
    ("guard", "gate_version = gate_version + 1"),
    ("binding", "role = 'owner'"),
    ("token", "expires_at = NULL"),
    ("principal", "person = 'another'"),
    ("ref", "version = 3"),
    ("ref_move", "version = 3"),
    ("version", "payload = CAST('{}' AS {blob})"),
    ("version", "digest = 'sha256:0'"),
    ("run", "metrics = '{\"auc\":0.99}'"),
    ("run", "metrics = 'not json'"),
    ("asset", "name = 'cake'"),
    ("project", "name = 'other'"),
    ("wrapped_key", "state = 'retired'"),
]


@pytest.mark.parametrize(("table", "change"), ROW_CHANGES, ids=[f"{t} {c}" for t, c in ROW_CHANGES])
def test_a_changed_row_is_named_with_its_last_entry(store: Store, table: str, change: str) -> None:
    key = store.key_of(table)
    leaf = store.last_leaf_on(table, key)
    blob = "BLOB" if store.database.dialect == "sqlite" else "BYTEA"
    _update_one(store, table, key, change.replace("{blob}", blob))
    [problem] = store.verify().problems
    assert (problem.sort, problem.table, problem.key, problem.leaf) == ("state_changed", table, key, leaf)
    assert key in problem.message


@pytest.mark.parametrize("table", [t.name for t in TABLES])
def test_a_deleted_row_is_named_with_its_last_entry(store: Store, table: str) -> None:
    key = store.key_of(table)
    leaf = store.last_leaf_on(table, key)
    found = table_of(table)
    parts = dict(zip(found.key, key.split("/"), strict=True))
    store.run(found.delete_sql, **{k: int(v) if v.isdigit() else v for k, v in parts.items()})
    [problem] = store.verify().problems
    assert (problem.sort, problem.table, problem.key, problem.leaf) == ("state_deleted", table, key, leaf)


PUT_IN = {
    "verdict": "id = 'forged', passed = 1, used_by = NULL",
    "approval": "person = 'forged'",
    "proposal": "id = 'forged'",
    "guard": "ref = 'forged'",
    "binding": "id = 'forged', role = 'owner'",
    "token": "id = 'forged'",
    "principal": "id = 'forged', name = 'forged'",
    "ref": "name = 'forged'",
    "ref_move": "revision = 99",
    "version": "number = 99",
    "run": "id = 'forged'",
    "run_link": "role = 'forged'",
    "wrapped_key": "id = 'forged', epoch = 9",
}


@pytest.mark.parametrize("table", PUT_IN)
def test_a_row_put_in_is_named_as_state_without_an_entry(store: Store, table: str) -> None:
    found = table_of(table)
    changed = dict(part.split(" = ") for part in PUT_IN[table].split(", "))
    columns = ", ".join(found.columns)
    values = ", ".join(changed.get(c, c) for c in found.columns)
    store.run(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} LIMIT 1")
    [problem] = store.verify().problems
    assert (problem.sort, problem.table, problem.leaf) == ("state_unexplained", table, None)
    assert "forged" in problem.key or "99" in problem.key


def test_a_row_that_an_entry_deleted_and_someone_put_back_is_named(store: Store) -> None:
    assert store.revoked is not None
    rows = table_of("binding")
    store.run(rows.insert_sql, **rows.params(store.revoked))
    [problem] = store.verify().problems
    leaf = store.last_leaf_on("binding", store.revoked.id)
    assert (problem.sort, problem.key, problem.leaf) == ("state_unexplained", store.revoked.id, leaf)


def test_text_that_spells_out_the_bytes_of_a_row_is_another_row(store: Store) -> None:
    text = b64encode(store.value("SELECT payload FROM version WHERE number = 3")).decode()
    is_sqlite = store.database.dialect == "sqlite"  # PostgreSQL keeps bytes in a column of bytes whatever is written
    value = ":text" if is_sqlite else "convert_to(:text, 'UTF8')"
    store.run(f"UPDATE version SET payload = {value} WHERE number = 3", text=text)
    assert [sort for sort, _, _ in store.found()] == ["state_changed"]


# words


def test_changed_words_are_named_and_the_entry_is_not_blamed(store: Store) -> None:
    entry = store.entry(LEAF).id
    store.run("UPDATE ledger_detail SET body = :body WHERE entry = :entry", entry=entry, body=b'{"why":"bribed"}')
    [problem] = store.verify().problems
    assert (problem.sort, problem.key, problem.leaf) == ("detail_changed", entry, LEAF)


def test_a_changed_salt_is_named(store: Store) -> None:
    entry = store.entry(LEAF).id
    store.run("UPDATE ledger_detail SET salt = :salt WHERE entry = :entry", entry=entry, salt=b"short")
    assert store.found() == {("detail_changed", "ledger_detail", entry)}


def test_words_of_no_entry_are_named(store: Store) -> None:
    store.run("INSERT INTO ledger_detail (entry, salt, body) VALUES ('none', :salt, :body)", salt=bytes(32), body=b"{}")
    assert store.found() == {("detail_unexplained", "ledger_detail", "none")}


def test_erased_words_are_lawful(store: Store) -> None:
    store.run("DELETE FROM ledger_detail")
    assert store.verify().problems == ()


def _update_one(store: Store, table: str, key: str, change: str) -> None:
    found = table_of(table)
    where = " AND ".join(f"{k} = :{k}" for k in found.key)
    parts = dict(zip(found.key, key.split("/"), strict=True))
    touched = store.run(
        f"UPDATE {table} SET {change} WHERE {where}", **{k: int(v) if v.isdigit() else v for k, v in parts.items()}
    )
    assert touched == 1
