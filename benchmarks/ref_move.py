"""A guarded ref move on SQLite, durable, beside the bare transaction that writes the same rows.

Usage: python -m benchmarks.ref_move [--moves N] [--folder DIR]

The move has a verdict and a proposal and is explained by an entry with words beside it. It runs first on a copy of the
database, where each statement that writes is noted with its values; then the same number of moves and the noted
statements take turns, one by one, each on a database of its own, and both databases must hold the same in the end.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.limits.ref_move import Bare, Statement
from benchmarks.measure import Loads, Took, bar, recorded, result, show, spread, took, turns
from falaj.core.encoding import canonical
from falaj.core.entries import What
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.records import Verdict
from falaj.store.catalog import Catalog
from falaj.store.kinds import Kind, Kinds
from falaj.store.ledger.log import Log
from falaj.store.metadata.driver import Params, Transaction
from falaj.store.metadata.open import migrate
from falaj.store.metadata.sqlite import SqliteDatabase, SqliteTransaction
from falaj.store.rows import PROPOSAL, VERDICT
from falaj.store.unit import Actor, Units

AMAL = Actor(new_id(), new_id(), "amal")
KEY = bytes(range(32))
REASON = "better than the holder on the months of summer, and by every carrier"
_PARAM = re.compile(r"(?<!:):([a-z_]+)")


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Of the two kinds made for this benchmark."""

    title: str
    guards: tuple[str, ...] = ()


class Noting:
    """A transaction that notes what it writes, with the values in the order of the statement."""

    writable = True

    def __init__(self, inner: SqliteTransaction, notes: list[Statement]) -> None:
        self.row, self.rows, self.stream = inner.row, inner.rows, inner.stream
        self._inner, self._notes = inner, notes

    def run(self, sql: str, params: Params = {}) -> int:  # noqa: B006  never mutated
        self._note(sql, params)
        return self._inner.run(sql, params)

    def run_many(self, sql: str, params: Iterable[Params]) -> None:
        every = list(params)
        for one in every:
            self._note(sql, one)
        self._inner.run_many(sql, every)

    def _note(self, sql: str, params: Params) -> None:
        self._notes.append((_PARAM.sub("?", sql), tuple(params[name] for name in _PARAM.findall(sql))))


class NotingDatabase(SqliteDatabase):
    """A database that notes each transaction's writes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.transactions: list[list[Statement]] = []

    @contextmanager
    def write(self) -> Iterator[Transaction]:  # type: ignore[override]
        notes: list[Statement] = []
        with super().write() as tx:
            yield Noting(tx, notes)
        self.transactions.append(notes)


class Store:
    """A small ground over one database file: two versions of a thing, and a ref of it that a gate guards."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        migrate(database)
        log = Log(database.dialect)
        self.units = Units(database, log, KEY)
        kinds = Kinds(Kind("thing", Payload), Kind("gate", Payload, guards=lambda p: p.guards))
        self.catalog = Catalog(kinds)
        with database.read() as tx:
            found = tx.row("SELECT id FROM project")
        self.project = str(found[0]) if found else ""

    def fill(self, moves: int) -> None:
        """Everything that so many moves need: verdicts that pass, and proposals that are open."""
        catalog = self.catalog
        with self.units.begin(AMAL, "project.create") as unit:
            self.project = catalog.add_project(unit, "flights").id
            asset = catalog.ensure_asset(unit, self.project, "thing", "delay")
            versions = [catalog.add_version(unit, asset, Payload(title=t)) for t in ("one", "two")]
            gate = catalog.ensure_asset(unit, self.project, "gate", "delay")
            rules = catalog.add_version(unit, gate, Payload(title="gate", guards=("thing/delay@production",)))
            catalog.move(unit, gate, "main", rules)
            holder: int | None = None
            for number in range(moves):
                candidate = versions[number % 2]
                verdict = Verdict(
                    id=new_id(),
                    project=self.project,
                    asset=asset.id,
                    version=candidate.number,
                    ref="production",
                    candidate=candidate.digest,
                    gate=gate.id,
                    gate_version=rules.number,
                    holder=holder,
                    passed=True,
                    body=findings(number),
                    at=unit.now,
                    by=AMAL.principal,
                    person=AMAL.person,
                )
                unit.add(VERDICT, verdict)
                catalog.propose(unit, asset, "production", candidate.number, holder, (verdict.id,), REASON)
                holder = candidate.number
            unit.say(What.PROJECT_CREATED, [self.project])

    def proposals(self) -> list[str]:
        """Ids of the open proposals, in order."""
        with self.database.read() as tx:
            return [p.id for p in PROPOSAL.where(tx, "state = 'open' ORDER BY id", {}, limit=1_000_000)]

    def move(self, proposal_id: str) -> None:
        """The measured change: from the id of a proposal to the commit."""
        catalog = self.catalog
        with self.units.begin(AMAL, "ref.promote", self.project) as unit:
            proposal = PROPOSAL.get(unit.tx, proposal_id, lock=True)
            if proposal is None:
                raise LookupError(proposal_id)
            thing = Thing("delay", "thing", "production")
            asset = catalog.asset(unit.tx, self.project, thing)
            candidate = catalog.version(unit.tx, asset, proposal.version)
            verdicts = [v for v in (catalog.verdict(unit.tx, i) for i in proposal.verdicts) if v]
            catalog.move(unit, asset, proposal.ref, candidate, verdicts=verdicts, proposal=proposal)
            detail = {"thing": str(thing), "reason": proposal.reason}
            unit.say(What.REF_MOVED, [asset.id, proposal.id], detail=detail)


def findings(number: int) -> bytes:
    """The body of a verdict with ten rules, about 1.5 KiB."""
    rules = [
        {
            "rule": f"rule {at}",
            "measure": "roc_auc",
            "slice": f"carrier = {at}",
            "value": 0.75 + number % 7 / 1000,
            "holder": 0.74,
            "interval": [-0.001, 0.021],
            "bound": -0.005,
            "passed": True,
        }
        for at in range(10)
    ]
    return canonical({"findings": rules, "seed": number})


def copied(source: Path, target: Path) -> Path:
    """The database as a file of its own."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()
    return target


def noted(path: Path) -> list[list[Statement]]:
    """What each move writes, found by doing all of them."""
    database = NotingDatabase(path)
    store = Store(database)
    wanted = store.proposals()
    for proposal in wanted:
        store.move(proposal)
    database.close()
    return database.transactions[-len(wanted) :]


def counts(path: Path) -> list[tuple[str, int]]:
    """Rows of each table."""
    with sqlite3.connect(path) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return [(t, db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]) for t in tables]


def measure(folder: Path, moves: int) -> dict[str, list[Took]]:
    """What each move took, and each bare transaction."""
    base = folder / "base.db"
    database = SqliteDatabase(base)
    Store(database).fill(moves)
    database.close()
    written = noted(copied(base, folder / "noted.db"))
    ours, bare = copied(base, folder / "falaj.db"), copied(base, folder / "bare.db")
    store, limit = Store(SqliteDatabase(ours)), Bare(bare)
    wanted, rows = iter(store.proposals()), iter(written)
    values = turns(
        {"move": lambda: took(lambda: store.move(next(wanted))), "bare": lambda: took(lambda: limit.write(next(rows)))},
        moves,
    )
    store.database.close()
    limit.close()
    if counts(ours) != counts(bare):
        raise RuntimeError(f"not the same rows: {counts(ours)} and {counts(bare)}")
    return values


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=1000, metavar="N")
    parser.add_argument("--folder", help="where the databases lie (default: the temporary folder)")
    given = parser.parse_args(argv)
    loads = Loads()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        values = measure(Path(folder), given.moves)
    wall = {name: spread([t.wall_us for t in them]) for name, them in values.items()}
    cpu = {name: spread([t.cpu_us for t in them]) for name, them in values.items()}
    show(
        result(
            "ref_move",
            loads,
            [
                bar(
                    "guarded ref move, SQLite, durable",
                    "µs",
                    wall["move"]["median"],
                    wall["bare"]["median"],
                    at_most=3.0,
                )
            ],
            [recorded("guarded ref move, processor time", "µs", cpu["move"]["median"], cpu["bare"]["median"])],
            moves=given.moves,
            wall_us=wall,
            cpu_us=cpu,
        )
    )


if __name__ == "__main__":
    main()
