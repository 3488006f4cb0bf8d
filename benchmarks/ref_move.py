"""A guarded ref move on SQLite, durable, beside the bare transaction that writes the same rows.

Usage: python -m benchmarks.ref_move [--moves N] [--folder DIR]

Two ways lead to the same rows and a few more: the catalog through a unit of work (a move with its verdict and its
proposal), and the door (a second person approves, and the approval moves the ref). Each runs first on a copy of the
store, where every statement that writes is noted with its values. Then as many moves and the noted statements take
turns, one by one, each on a database of its own, and both databases must hold as many rows of every table in the end.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from benchmarks.limits.ref_move import Bare, Statement
from benchmarks.measure import Loads, Took, bar, recorded, result, show, spread, took, turns
from falaj.access.records import Principal
from falaj.core.encoding import canonical
from falaj.core.entries import What
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.records import Asset, Verdict, Version
from falaj.data.records import DatasetVersion
from falaj.door import Caller
from falaj.platform import Platform
from falaj.store.catalog import Catalog
from falaj.store.kinds import Kind, Kinds
from falaj.store.ledger.log import Log
from falaj.store.metadata.driver import Params, Transaction
from falaj.store.metadata.open import migrate
from falaj.store.metadata.sqlite import SqliteDatabase, SqliteTransaction
from falaj.store.rows import PROPOSAL, VERDICT
from falaj.store.unit import Actor, Unit, Units

AMAL = Actor(new_id(), new_id(), "amal")
KEY = bytes(range(32))
PROJECT = "flights"
GATE = """
gate: delay
guards: [dataset/delay@production]
rules:
  - approval: {from: maintainer, not: proposer}
"""
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


def noting(database: SqliteDatabase) -> list[list[Statement]]:
    """From now on, what each transaction of this database writes."""
    transactions: list[list[Statement]] = []
    write = database.write

    @contextmanager
    def noted() -> Iterator[Transaction]:
        notes: list[Statement] = []
        with write() as tx:
            yield Noting(tx, notes)
        transactions.append(notes)

    database.write = noted  # type: ignore[method-assign, assignment]
    return transactions


class Way(ABC):
    """One way to a guarded move, over the store in a folder.

    Attributes:
        database: the file that the moves write to.
    """

    FILE = "falaj.db"
    database: SqliteDatabase
    units: Units
    catalog: Catalog
    project: str

    @abstractmethod
    def __init__(self, place: Path) -> None:
        """Open the store in this folder, made where there is none."""

    @abstractmethod
    def fill(self, moves: int) -> None:
        """Make everything that so many moves need."""

    @abstractmethod
    def move(self, proposal: str) -> None:
        """The measured change: from the id of a proposal to the commit."""

    def close(self) -> None:
        self.database.close()

    def proposals(self) -> list[str]:
        """Ids of the open proposals, in order."""
        with self.database.read() as tx:
            return [p.id for p in PROPOSAL.where(tx, "state = 'open' ORDER BY id", {}, limit=1_000_000)]

    def propose(
        self, unit: Unit, asset: Asset, versions: Sequence[Version], moves: int, approvals: tuple[str, ...]
    ) -> None:
        """Verdicts that pass, and proposals that are open, each for the move after the one before."""
        [guard] = self.catalog.guards_of(unit.tx, asset, "production")
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
                gate=guard.gate,
                gate_version=guard.gate_version,
                holder=holder,
                passed=True,
                body=findings(number),
                at=unit.now,
                by=AMAL.principal,
                person=AMAL.person,
                approvals=approvals,
            )
            unit.add(VERDICT, verdict)
            self.catalog.propose(unit, asset, "production", candidate.number, holder, (verdict.id,), REASON)
            holder = candidate.number


class ByUnit(Way):
    """A unit of work over a small ground, with kinds made for this benchmark."""

    def __init__(self, place: Path) -> None:
        self.database = SqliteDatabase(place / self.FILE)
        migrate(self.database)
        self.units = Units(self.database, Log(self.database.dialect), KEY)
        kinds = Kinds(Kind("thing", Payload), Kind("gate", Payload, guards=lambda p: p.guards))
        self.catalog = Catalog(kinds)
        with self.database.read() as tx:
            found = tx.row("SELECT id FROM project")
        self.project = str(found[0]) if found else ""

    def fill(self, moves: int) -> None:
        catalog = self.catalog
        with self.units.begin(AMAL, "project.create") as unit:
            self.project = catalog.add_project(unit, PROJECT).id
            asset = catalog.ensure_asset(unit, self.project, "thing", "delay")
            versions = [catalog.add_version(unit, asset, Payload(title=t)) for t in ("one", "two")]
            gate = catalog.ensure_asset(unit, self.project, "gate", "delay")
            rules = catalog.add_version(unit, gate, Payload(title="gate", guards=("thing/delay@production",)))
            catalog.move(unit, gate, "main", rules)
            self.propose(unit, asset, versions, moves, ())
            unit.say(What.PROJECT_CREATED, [self.project])

    def move(self, proposal: str) -> None:
        catalog = self.catalog
        with self.units.begin(AMAL, "ref.promote", self.project) as unit:
            found = PROPOSAL.get(unit.tx, proposal, lock=True)
            if found is None:
                raise LookupError(proposal)
            thing = Thing("delay", "thing", "production")
            asset = catalog.asset(unit.tx, self.project, thing)
            candidate = catalog.version(unit.tx, asset, found.version)
            verdicts = [v for v in (catalog.verdict(unit.tx, i) for i in found.verdicts) if v]
            catalog.move(unit, asset, found.ref, candidate, verdicts=verdicts, proposal=found)
            unit.say(What.REF_MOVED, [asset.id, found.id], detail={"thing": str(thing), "reason": found.reason})


class ByDoor(Way):
    """The door of a whole platform: another person than the proposer approves."""

    FILE = ".falaj/falaj.db"

    def __init__(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        (place / "falaj.toml").write_text(f'project = "{PROJECT}"\n', encoding="utf-8")
        self._platform = Platform.create(place, PROJECT)
        ground = self._platform.ground
        if not isinstance(ground.database, SqliteDatabase):
            raise TypeError("this benchmark is about SQLite")
        self.database, self.units, self.catalog = ground.database, ground.units, ground.catalog
        with self.database.read() as tx:
            self.project = self.catalog.project(tx, PROJECT).id
        self._badr = Caller(principal=Principal(id=new_id(), person=new_id(), name="badr"), embedded=True)

    def fill(self, moves: int) -> None:
        self._platform.session(PROJECT).call("config.apply", {"files": [{"path": "gates/delay.yaml", "text": GATE}]})
        with self.units.begin(AMAL, "data.add", self.project) as unit:
            asset = self.catalog.ensure_asset(unit, self.project, "dataset", "delay")
            payload = DatasetVersion(format="files", size_bytes=0)
            versions = [self.catalog.add_version(unit, asset, payload) for _ in range(2)]
            self.propose(unit, asset, versions, moves, ("maintainer",))
            unit.say(What.VERSION_ADDED, [asset.id])

    def move(self, proposal: str) -> None:
        answer = self._platform.door.call("ref.approve", {"proposal": proposal}, caller=self._badr, project=PROJECT)
        if answer.state != "moved":
            raise RuntimeError(f"proposal {proposal} is {answer.state}")

    def close(self) -> None:
        self._platform.close()


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


def noted(way: Way) -> list[list[Statement]]:
    """What each move writes, found by doing all of them."""
    wanted = way.proposals()
    transactions = noting(way.database)
    for proposal in wanted:
        way.move(proposal)
    if len(transactions) != len(wanted):
        raise RuntimeError(f"{len(wanted)} moves took {len(transactions)} transactions")
    return transactions


def counts(path: Path) -> list[tuple[str, int]]:
    """Rows of each table."""
    with sqlite3.connect(path) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return [(t, db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]) for t in tables]


def measure(make: type[Way], folder: Path, moves: int) -> dict[str, list[Took]]:
    """What each move took, and each bare transaction."""
    base = folder / "base"
    base.mkdir()
    with closing(make(base)) as way:
        way.fill(moves)
    with closing(make(copied(base, "noted"))) as way:
        written = noted(way)
    ours, bare = copied(base, "falaj"), copied(base, "bare")
    limit = Bare(bare / make.FILE)
    with closing(make(ours)) as way:
        wanted, rows = iter(way.proposals()), iter(written)
        values = turns(
            {
                "move": lambda: took(lambda: way.move(next(wanted))),
                "bare": lambda: took(lambda: limit.write(next(rows))),
            },
            moves,
        )
        limit.close()
        if counts(ours / make.FILE) != counts(bare / make.FILE):
            raise RuntimeError(f"not the same rows: {counts(ours / make.FILE)} and {counts(bare / make.FILE)}")
    return values


def copied(base: Path, name: str) -> Path:
    """The store in a folder of its own."""
    return Path(shutil.copytree(base, base.with_name(name)))


WAYS: dict[str, type[Way]] = {
    "guarded ref move, SQLite, durable": ByUnit,
    "the same by an approval at the door": ByDoor,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=1000, metavar="N")
    parser.add_argument("--folder", help="where the databases lie (default: the temporary folder)")
    given = parser.parse_args(argv)
    loads = Loads()
    bars, others, facts = [], [], {}
    for what, way in WAYS.items():
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            values = measure(way, Path(folder), given.moves)
        wall = {name: spread([t.wall_us for t in them]) for name, them in values.items()}
        cpu = {name: spread([t.cpu_us for t in them]) for name, them in values.items()}
        bars.append(bar(what, "µs", wall["move"]["median"], wall["bare"]["median"], at_most=3.0))
        others.append(recorded(f"{what}, processor time", "µs", cpu["move"]["median"], cpu["bare"]["median"]))
        facts[what] = {"wall_us": wall, "cpu_us": cpu}
    show(result("ref_move", loads, bars, others, moves=given.moves, **facts))


if __name__ == "__main__":
    main()
