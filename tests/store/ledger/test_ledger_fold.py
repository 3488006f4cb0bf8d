"""Folding entries: the tree agrees with a plain one, the states with a plain replay, whatever the blocks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.encoding import canonical
from falaj.core.entries import Change, Entry, What
from falaj.store.ledger.checkpoint import sign_checkpoint
from falaj.store.ledger.fold import BLOCK, EntryRow, Fold
from falaj.store.ledger.merkle import Frontier, Node, leaf_hash
from falaj.store.ledger.states import Row, Walk
from falaj.store.ledger.verify import MOST_PROBLEMS, DetailRow, verify
from tests.store.ledger.stores import SIGNER, grown_nodes, slow_root

StateRow = tuple[str, str, str]
KEYS = st.sampled_from(["a", "b", "c"])
CHANGES = st.lists(
    st.builds(Change, st.sampled_from(["ref", "version"]), KEYS, st.none() | st.sampled_from(["b3k:1", "b3k:2"])),
    max_size=3,
)


def row_of(leaf: int, changes: Iterable[Change] = ()) -> EntryRow:
    entry = Entry(
        id=f"{leaf:026d}", at="2026-11-24T17:38:55.000000Z", what=What.REF_MOVED, op="ref.promote", by="p", person="q",
        project="r", changes=tuple(changes),
    )  # fmt: skip
    return leaf, canonical(entry), entry.id, entry.project, str(entry.what), entry.op, entry.at


@dataclass
class Listed:
    """A source whose rows are lists."""

    entries_: list[EntryRow]
    waiting: list[bytes] = field(default_factory=list)
    nodes_: list[Node] | None = None
    notes: list[tuple[int, str]] = field(default_factory=list)
    states_: list[StateRow] = field(default_factory=list)
    details_: list[DetailRow] = field(default_factory=list)

    def entries(self) -> Iterable[EntryRow]:
        return self.entries_

    def pending(self) -> Iterable[bytes]:
        return self.waiting

    def nodes(self) -> Iterable[Node]:
        made = grown_nodes(row[1] for row in self.entries_)[1] if self.nodes_ is None else self.nodes_
        return sorted(made, key=lambda node: node[:2])

    def has_exactly(self, levels: Sequence[bytes | bytearray]) -> bool:
        expected = {
            (level, at // 32): bytes(held[at : at + 32])
            for level, held in enumerate(levels)
            for at in range(0, len(held), 32)
        }
        stored = list(self.nodes())
        return len(stored) == len(expected) and {node[:2]: node[2] for node in stored} == expected

    def checkpoints(self) -> Iterable[tuple[int, str]]:
        return self.notes

    def tables(self) -> Sequence[str]:
        return tuple(dict.fromkeys(["ref", "version", *(table for table, _, _ in self.states_)]))

    def rows(self, table: str) -> Iterable[Row]:
        return [(key, digest) for of, key, digest in self.states_ if of == table]

    def details(self) -> Iterable[DetailRow]:
        return self.details_


def folded(rows: Iterable[EntryRow]) -> Fold:
    fold = Fold()
    fold.feed(rows)
    return fold


@pytest.mark.parametrize("size", [0, 1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_the_tree_is_that_of_the_frontier_at_the_edges_of_blocks(size: int) -> None:
    rows = [row_of(leaf) for leaf in range(size)]
    fold, (frontier, nodes) = folded(rows), grown_nodes(row[1] for row in rows)
    assert fold.root() == frontier.root()
    assert {(level, index): fold.node(level, index) for level, index, _ in nodes} == {n[:2]: n[2] for n in nodes}
    assert verify(Listed(rows), []).problems == ()


@given(st.integers(0, 40), st.data())
def test_every_earlier_root_is_the_plain_one(size: int, data: st.DataObject) -> None:
    rows = [row_of(leaf) for leaf in range(size)]
    earlier = data.draw(st.integers(0, size))
    assert folded(rows).root(earlier) == slow_root([row[1] for row in rows[:earlier]])


def replayed(changes: Iterable[Iterable[Change]]) -> dict[tuple[str, str], str]:
    """The rows that there are after all changes, in the order in which they are first spoken of."""
    plain: dict[tuple[str, str], str | None] = {}
    for said in changes:
        plain |= {(c.table, c.key): c.digest for c in said}
    return {row: digest for row, digest in plain.items() if digest is not None}


@given(st.lists(CHANGES, max_size=30), st.randoms(use_true_random=False))
def test_rows_as_the_entries_left_them_come_out_even_in_whatever_order_they_come(
    changes: list[list[Change]], shuffle: random.Random
) -> None:
    rows = [row_of(leaf, said) for leaf, said in enumerate(changes)]
    states: list[StateRow] = [(t, k, d) for (t, k), d in replayed(changes).items()]
    for _ in range(2):
        source = Listed(rows, states_=states)
        assert verify(source, []).problems == ()
        walk = Walk(source)
        Fold(walk.note).feed(rows)
        if walk.is_even():
            assert walk.count == len(states)
        shuffle.shuffle(states)


@given(st.lists(CHANGES, max_size=20), st.data())
def test_a_row_that_is_not_as_its_last_entry_left_it_is_named_with_that_entry(
    changes: list[list[Change]], data: st.DataObject
) -> None:
    rows = [row_of(leaf, said) for leaf, said in enumerate(changes)]
    states: list[StateRow] = [(t, k, d) for (t, k), d in replayed(changes).items()]
    if not states:
        return
    at = data.draw(st.integers(0, len(states) - 1))
    table, key, was = states[at]
    last = max(leaf for leaf, said in enumerate(changes) if any((c.table, c.key) == (table, key) for c in said))
    other = data.draw(st.sampled_from([d for d in ("b3k:1", "b3k:2", "b3k:other") if d != was]))
    wrong = [*states[:at], (table, key, other), *states[at + 1 :]]
    gone = [*states[:at], *states[at + 1 :]]
    for rows_now, sort in ((wrong, "state_changed"), (gone, "state_deleted")):
        report = verify(Listed(rows, states_=rows_now), [])
        [problem] = report.problems
        assert (problem.sort, problem.table, problem.key, problem.leaf) == (sort, table, key, last)
        assert report.states == len(rows_now)


@given(st.lists(CHANGES, max_size=20), KEYS, st.integers(0, 20))
def test_a_row_that_no_entry_speaks_of_or_that_was_deleted_is_named(
    changes: list[list[Change]], key: str, at: int
) -> None:
    rows = [row_of(leaf, said) for leaf, said in enumerate(changes)]
    there = replayed(changes)
    if ("ref", key) in there:
        return
    states: list[StateRow] = [(t, k, d) for (t, k), d in there.items()]
    states.insert(min(at, len(states)), ("ref", key, "b3k:1"))
    [problem] = verify(Listed(rows, states_=states), []).problems
    assert (problem.sort, problem.key) == ("state_unexplained", key)


@pytest.mark.parametrize(
    ("said", "now", "sort"),
    [
        (["b3k:1", "b3k:2", "b3k:1"], "b3k:1", None),
        (["b3k:1", "b3k:2", "b3k:1"], "b3k:2", "state_changed"),
        (["b3k:1", "b3k:2"], "b3k:1", "state_changed"),
        (["b3k:1", None], "b3k:1", "state_unexplained"),
        (["b3k:1", None, "b3k:1"], "b3k:1", None),
        (["b3k:1", None], None, None),
        (["b3k:1", None, "b3k:2"], None, "state_deleted"),
    ],
)
@pytest.mark.parametrize("before", [[], [("ref", "z", "b3k:1")]], ids=["in step", "out of step"])
def test_a_row_that_is_again_as_it_once_was(
    said: list[str | None], now: str | None, sort: str | None, before: list[StateRow]
) -> None:
    """`before` is a row that no entry speaks of at first, which keeps the walk out of step from the start."""
    told = [[Change("ref", "a", digest)] for digest in said] + [[Change(*row)] for row in before]
    rows = [row_of(leaf, changes) for leaf, changes in enumerate(told)]
    states = [*before, *([("ref", "a", now)] if now else [])]
    assert [p.sort for p in verify(Listed(rows, states_=states), []).problems] == ([sort] if sort else [])


def test_a_row_set_back_to_a_state_that_was_said_before_it_was_met_is_named() -> None:
    told = [Change("ref", "b", "b3k:1"), Change("ref", "a", "b3k:1"), Change("ref", "b", "b3k:2")]
    rows = [row_of(leaf, [change]) for leaf, change in enumerate(told)]
    states = [("ref", "a", "b3k:1"), ("ref", "b", "b3k:1")]
    [problem] = verify(Listed(rows, states_=states), []).problems
    assert (problem.sort, problem.key, problem.leaf) == ("state_changed", "b", 2)


@given(st.integers(1, 60), st.data())
def test_any_one_edited_entry_is_named(size: int, data: st.DataObject) -> None:
    rows = [row_of(leaf) for leaf in range(size)]
    at = data.draw(st.integers(0, size - 1))
    edited = [*rows[:at], (at, rows[at][1].replace(b'"by":"p"', b'"by":"x"'), *rows[at][2:]), *rows[at + 1 :]]
    nodes = grown_nodes(row[1] for row in rows)[1]
    assert [(p.sort, p.leaf) for p in verify(Listed(edited, nodes_=nodes), []).problems] == [("entry_edited", at)]


@given(st.integers(2, 60), st.data())
def test_any_one_removed_entry_is_named_whether_renumbered_or_not(size: int, data: st.DataObject) -> None:
    rows = [row_of(leaf) for leaf in range(size)]
    at = data.draw(st.integers(0, size - 2))
    nodes = grown_nodes(row[1] for row in rows)[1]
    left = [*rows[:at], *rows[at + 1 :]]
    renumbered = [(leaf, *row[1:]) for leaf, row in enumerate(left)]
    for rows_now in (left, renumbered):
        problems = verify(Listed(rows_now, nodes_=nodes), []).problems
        assert ("entry_removed", at) in {(p.sort, p.leaf) for p in problems}


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_cut_tail_is_named_by_the_nodes_and_by_a_checkpoint(size: int, cut: int) -> None:
    rows = [row_of(leaf) for leaf in range(size + cut)]
    frontier, nodes = grown_nodes(row[1] for row in rows)
    note = sign_checkpoint(SIGNER, frontier.size, frontier.root())
    by_nodes = verify(Listed(rows[:size], nodes_=nodes), []).problems
    assert "tail_cut" in {p.sort for p in by_nodes}
    [problem] = verify(Listed(rows[:size]), [SIGNER], [note]).problems
    assert (problem.sort, problem.leaf) == ("tail_cut", size)


@given(st.integers(1, 40), st.data())
def test_checkpoints_of_any_size_hold_for_their_own_ledger_only(size: int, data: st.DataObject) -> None:
    rows = [row_of(leaf) for leaf in range(size)]
    at = data.draw(st.integers(1, size))
    frontier = Frontier()
    for row in rows[:at]:
        frontier.push(leaf_hash(row[1]))
    note = sign_checkpoint(SIGNER, at, frontier.root())
    report = verify(Listed(rows), [SIGNER], [note])
    assert (report.problems, report.kept, report.signed) == ((), 1, at)
    other = [(leaf, body.replace(b'"by":"p"', b'"by":"x"'), *rest) for leaf, body, *rest in rows]
    assert [p.sort for p in verify(Listed(other), [SIGNER], [note]).problems] == ["checkpoint_mismatch"]


# entries that wait for a number


def waiting(*changes: Change) -> bytes:
    return row_of(10**6, changes)[1]


def test_a_waiting_entry_is_counted_and_its_change_is_expected() -> None:
    rows = [row_of(0, [Change("ref", "a", "b3k:1")])]
    pending = [waiting(Change("ref", "a", "b3k:2")), waiting(Change("ref", "a", "b3k:3"), Change("ref", "b", "b3k:1"))]
    for now in ("b3k:2", "b3k:3"):
        report = verify(Listed(rows, pending, states_=[("ref", "a", now), ("ref", "b", "b3k:1")]), [])
        assert (report.problems, report.pending) == ((), 2)


@pytest.mark.parametrize(
    ("states", "sort"),
    [
        ([("ref", "a", "b3k:1")], "state_changed"),
        ([("ref", "a", "b3k:other")], "state_changed"),
        ([], "state_deleted"),
    ],
    ids=["set back", "changed", "gone"],
)
def test_behind_a_waiting_entry_a_row_is_still_checked(states: list[StateRow], sort: str) -> None:
    rows = [row_of(0, [Change("ref", "a", "b3k:1")])]
    pending = [waiting(Change("ref", "a", "b3k:2"))]
    [problem] = verify(Listed(rows, pending, states_=states), []).problems
    assert (problem.sort, problem.key) == (sort, "a")


def test_a_row_that_a_waiting_entry_deleted_is_gone() -> None:
    rows = [row_of(0, [Change("ref", "a", "b3k:1")])]
    assert verify(Listed(rows, [waiting(Change("ref", "a", None))]), []).problems == ()
    [problem] = verify(Listed(rows, [waiting(Change("ref", "a", None))], states_=[("ref", "a", "b3k:1")]), []).problems
    assert problem.sort == "state_changed"


def test_a_waiting_entry_that_cannot_be_read_is_named() -> None:
    [problem] = verify(Listed([], [b"scribble"]), []).problems
    assert problem.sort == "entry_unreadable"


# whatever a changed database holds


@pytest.mark.parametrize(
    "row",
    [
        (0, "text", *row_of(0)[2:]),
        (0, None, *row_of(0)[2:]),
        ("0", *row_of(0)[1:]),
        (-3, *row_of(0)[1:]),
        (0, b"\xff", *row_of(0)[2:]),
        (0, b"[" * 100_000, *row_of(0)[2:]),
        (0, b"{}", *row_of(0)[2:]),
        (10**12, *row_of(0)[1:]),
    ],
    ids=["text", "null", "number as text", "negative", "not UTF-8", "deep", "empty", "far away"],
)
def test_a_row_of_any_shape_is_a_problem_and_never_an_error(row: EntryRow) -> None:
    report = verify(Listed([row], nodes_=[]), [])
    assert report.problems


@pytest.mark.parametrize(
    "node", [(0, "x", b"\0" * 32), (-1, 0, b"\0" * 32), (0, 0, "text"), (0, 0, b"short"), (0, 10**9, b"\0" * 32)]
)
def test_a_node_of_any_shape_is_a_problem_and_never_an_error(node: Node) -> None:
    source = Listed([row_of(0)])
    source.nodes = lambda: [node]  # type: ignore[method-assign]  # sorted as it stands
    assert verify(source, []).problems


def test_a_flood_of_problems_is_listed_up_to_a_bound_and_counted_beyond() -> None:
    flood = [("ref", str(number), "b3k:1") for number in range(MOST_PROBLEMS + 5)]
    report = verify(Listed([], states_=flood), [])
    assert (len(report.problems), report.unlisted, report.sound) == (MOST_PROBLEMS, 5, False)
