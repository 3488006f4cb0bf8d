"""A small store with a row in every governed table, and ways to look at it and to tamper with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from falaj.access import tokens
from falaj.access.records import Binding, Principal
from falaj.access.rows import BINDING, PRINCIPAL, TOKEN
from falaj.core.encoding import canonical
from falaj.core.entries import Entry, What
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.records import Approval, Verdict, Version
from falaj.store import runs
from falaj.store.keys.rows import KeyRow
from falaj.store.keys.sql import KEY as WRAPPED_KEY
from falaj.store.ledger.checkpoint import Signer, sign_checkpoint
from falaj.store.ledger.log import SqlNodes
from falaj.store.ledger.merkle import Frontier, leaf_hash
from falaj.store.ledger.source import SqlSource
from falaj.store.ledger.verify import Report, verify
from falaj.store.metadata import Database, Transaction
from falaj.store.metadata.tables import Table
from falaj.store.rows import APPROVAL, ASSET, GUARD, PROJECT, PROPOSAL, REF, REF_MOVE, RUN, RUN_LINK, VERDICT, VERSION
from falaj.store.unit import Unit
from tests.store.catalog.ground import ALICE, BOB, KEY, Recipe, Small, small_ground

SIGNER = Signer("falaj.example/tests", bytes(range(32)))
FOREIGN = Signer("falaj.example/tests", bytes(32))
TABLES = (
    PROJECT, ASSET, VERSION, REF, REF_MOVE, GUARD, VERDICT, PROPOSAL, APPROVAL, RUN, RUN_LINK,
    PRINCIPAL, BINDING, TOKEN, WRAPPED_KEY,
)  # fmt: skip


@dataclass
class Store:
    """A ground that was filled, and the ledger's key.

    Attributes:
        revoked: a binding that an entry deleted.
        tx: an open transaction that all goes through, None where each step has one of its own.
    """

    ground: Small
    database: Database
    revoked: Binding | None = None
    tx: Transaction | None = None

    @contextmanager
    def rolled_back(self) -> Iterator[Store]:
        """The same store inside a transaction that leaves nothing behind: much cheaper than filling another."""
        with suppress(_Undo), self.database.write() as tx:
            yield replace(self, tx=tx)
            raise _Undo

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        if self.tx is not None:
            yield self.tx
            return
        with self.database.read() as tx:
            yield tx

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Behind the door."""
        if self.tx is not None:
            yield self.tx
            return
        with self.database.write() as tx:
            yield tx

    def settle(self) -> None:
        """Number what waits."""
        while self.ground.log.sequence(self.database):
            pass

    def sign(self) -> str:
        """Number what waits and sign the head."""
        self.settle()
        note = self.ground.log.checkpoint(self.database, SIGNER)
        assert note is not None
        return note

    def newest_note(self) -> str:
        return self.value("SELECT note FROM ledger_checkpoint ORDER BY size DESC LIMIT 1")

    def verify(self, kept: Iterable[str] = ()) -> Report:
        with self.reading() as tx:
            return verify(SqlSource(tx, TABLES, KEY), [SIGNER], kept)

    def found(self, kept: Iterable[str] = ()) -> set[tuple[str, str, str]]:
        """What verification finds: sort, table and key of each problem."""
        return {(p.sort, p.table, p.key) for p in self.verify(kept).problems}

    def run(self, sql: str, **params: Any) -> int:
        """Do something behind the door."""
        with self.writing() as tx:
            return tx.run(sql, params)

    def value(self, sql: str, **params: Any) -> Any:
        with self.reading() as tx:
            row = tx.row(sql, params)
        assert row is not None, sql
        return row[0]

    def entry(self, leaf: int) -> Entry:
        return msgspec.json.decode(
            self.value("SELECT body FROM ledger_entry WHERE leaf = :leaf", leaf=leaf), type=Entry
        )

    def size(self) -> int:
        with self.reading() as tx:
            return self.ground.log.size(tx)

    def key_of(self, table: str) -> str:
        """The key of the first row of a table, as entries name it."""
        found = table_of(table)
        with self.reading() as tx:
            return found.key_of(next(iter(list(found.scan(tx)))))

    def last_leaf_on(self, table: str, key: str) -> int:
        """The number of the last entry that speaks of a row."""
        with self.reading() as tx:
            rows = tx.rows("SELECT leaf, body FROM ledger_entry WHERE leaf IS NOT NULL ORDER BY leaf")
        entries = [(leaf, msgspec.json.decode(body, type=Entry)) for leaf, body in rows]
        return [leaf for leaf, e in entries if any((c.table, c.key) == (table, key) for c in e.changes)][-1]


class _Undo(Exception):
    pass


def table_of(name: str) -> Table[Any]:
    return next(t for t in TABLES if t.name == name)


def filled(database: Database) -> Store:
    """A store in which everything happened once: some twenty entries, signed twice."""
    ground = small_ground(database)
    store = Store(ground, database)
    add(ground, "rye", "wheat", "oat")
    for number in (1, 2):
        move(ground, "main", number)
    add(ground, "the guard", name="taste", guards=("recipe/bread@served",))
    move(ground, "main", 1, name="taste")
    store.sign()
    given = _judge(ground, 1)
    _propose_and_approve(ground, given)
    move(ground, "served", 1, verdicts=[given])
    _judge(ground, 2)
    _people(ground)
    with ground.units.begin(ALICE, "train", ground.project) as unit:
        run = runs.start(unit, "train")
        runs.link(unit, run.id, "in", _version(ground, unit.tx, "bread", 1))
        unit.say(What.RUN_STARTED, [run.id])
    with ground.units.begin(ALICE, "train", ground.project) as unit:
        runs.end(unit, run, metrics={"auc": 0.75})
        unit.say(What.RUN_ENDED, [run.id])
    store.revoked = _revoke(ground)
    add(ground, "spelt")
    store.sign()
    return store


def add(ground: Small, *titles: str, name: str = "bread", guards: tuple[str, ...] = ()) -> None:
    """One version for each title, each in a unit of its own."""
    for title in titles:
        with ground.units.begin(ALICE, "recipe.add", ground.project) as unit:
            asset = ground.catalog.ensure_asset(unit, ground.project, "recipe", name)
            ground.catalog.add_version(unit, asset, Recipe(title=title, guards=guards))
            unit.say(What.VERSION_ADDED, [asset.id], detail={"title": title})


def move(ground: Small, ref: str, number: int, *, name: str = "bread", verdicts: Iterable[Verdict] = ()) -> None:
    with ground.units.begin(ALICE, "ref.promote", ground.project) as unit:
        version = _version(ground, unit.tx, name, number)
        asset = ground.catalog.asset(unit.tx, ground.project, Thing(name, "recipe"))
        ground.catalog.move(unit, asset, ref, version, verdicts=tuple(verdicts))
        unit.say(What.REF_MOVED, [asset.id], detail={"why": "it tastes good"})


def _version(ground: Small, tx: Transaction, name: str, number: int) -> Version:
    return ground.catalog.version(tx, ground.catalog.asset(tx, ground.project, Thing(name, "recipe")), number)


def _judge(ground: Small, number: int) -> Verdict:
    with ground.units.begin(ALICE, "gate.judge", ground.project) as unit:
        gate = ground.catalog.asset(unit.tx, ground.project, Thing("taste", "recipe"))
        candidate = _version(ground, unit.tx, "bread", number)
        given = unit.add(
            VERDICT,
            Verdict(
                id=new_id(), project=ground.project, asset=candidate.asset, version=number, ref="served",
                candidate=candidate.digest, gate=gate.id, gate_version=1, holder=None, passed=number == 1, body=b"{}",
                at=unit.now, by=unit.actor.principal, person=unit.actor.person,
            ),
        )  # fmt: skip
        unit.say(What.VERDICT_GIVEN, [given.id])
    return given


def _propose_and_approve(ground: Small, given: Verdict) -> None:
    with ground.units.begin(ALICE, "ref.propose", ground.project) as unit:
        asset = ground.catalog.asset(unit.tx, ground.project, Thing("bread", "recipe"))
        proposal = ground.catalog.propose(unit, asset, "served", 1, None, (given.id,), "better crust")
        unit.say(What.REF_PROPOSED, [proposal.id])
    with ground.units.begin(BOB, "ref.approve", ground.project) as unit:
        yes = Approval(proposal=proposal.id, person=BOB.person, by=BOB.principal, roles=("maintainer",), at=unit.now)
        unit.add(APPROVAL, yes)
        unit.say(What.REF_APPROVED, [proposal.id])


def _people(ground: Small) -> None:
    with ground.units.begin(ALICE, "principal.add") as unit:
        sara = unit.add(PRINCIPAL, Principal(id=new_id(), person=new_id(), name="sara"))
        unit.say(What.PRINCIPAL_ADDED, [sara.id], detail={"name": "sara"})
    with ground.units.begin(ALICE, "access.grant") as unit:
        unit.add(
            BINDING,
            Binding(
                id=new_id(), subject=sara.id, role="viewer", scope="store", granted_by="a", created_at=unit.now
            ),
        )  # fmt: skip
        minted = tokens.mint(
            sara, key=bytes(32), now=datetime.now(UTC), expires_at=datetime.now(UTC) + timedelta(days=1)
        )
        unit.add(TOKEN, minted.row)
        unit.say(What.BINDING_GRANTED, [sara.id])
    with ground.units.begin(ALICE, "key.create") as unit:
        unit.add(WRAPPED_KEY, key_row(unit))
        unit.say(What.KEY_CREATED)


def _revoke(ground: Small) -> Binding:
    with ground.units.begin(ALICE, "access.revoke") as unit:
        passing = Binding(
            id=new_id(), subject=BOB.principal, role="owner", scope="store", granted_by="a", created_at=unit.now
        )  # fmt: skip
        unit.add(BINDING, passing)
        unit.say(What.BINDING_GRANTED, [passing.id])
        unit.drop(BINDING, passing)
        unit.say(What.BINDING_REVOKED, [passing.id])
    return passing


def key_row(unit: Unit) -> KeyRow:
    return KeyRow(
        id=new_id(), purpose="project", domain="kitchen", epoch=1, parent="root", wrapped=b"wrapped",
        fingerprint="00", algorithm="aes-256", state="live", created_at=unit.now,
    )  # fmt: skip


def grown_nodes(bodies: Iterable[bytes]) -> tuple[Frontier, list[tuple[int, int, bytes]]]:
    """The tree over leaves, as someone would compute it who rewrites a ledger."""
    frontier, nodes = Frontier(), []
    for body in bodies:
        nodes += frontier.push(leaf_hash(body))
    return frontier, nodes


def rewrite_tree(store: Store, *, signed_by: Signer | None = None) -> None:
    """Make the stored nodes fit the entries as they now are; sign the result where one has a key."""
    with store.writing() as tx:
        rows = tx.rows("SELECT body FROM ledger_entry WHERE leaf IS NOT NULL ORDER BY leaf")
        frontier, nodes = grown_nodes(bytes(row[0]) for row in rows)
        tx.run("DELETE FROM ledger_node")
        SqlNodes(tx).put_many(nodes)
        if signed_by is not None:
            tx.run("DELETE FROM ledger_checkpoint")
            note = sign_checkpoint(signed_by, frontier.size, frontier.root())
            tx.run(
                "INSERT INTO ledger_checkpoint (size, note, at) VALUES (:size, :note, '')",
                {"size": frontier.size, "note": note},
            )


def edited(entry: Entry, **changed: Any) -> bytes:
    """The body of an entry with other values."""
    return canonical(msgspec.structs.replace(entry, **changed))


def slow_root(leaves: list[bytes]) -> bytes:
    """The root by the words of RFC 6962, for comparison."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\1" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()
