"""Sixteen writers on PostgreSQL: changes with their entries, beside the same changes without a ledger.

Usage: python -m benchmarks.writers [--writers N] [--seconds S] [--rounds R]

Each writer has an asset of its own; a change adds a version and moves a ref to it, in one durable transaction
(`synchronous_commit` is on). Three kinds take turns on one server, each in a database of its own:

    ledger     the catalog through units of work, with a sequencer that numbers, signs and publishes meanwhile
    unwritten  the same code without a ledger: the bar is on this
    plain      psycopg without Falaj, recorded beside

Each runs with a process for each writer, and as threads of one process, as in a server. A turn of `ledger` ends when
every entry has its number.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from benchmarks.limits.writers import Bare, UnwrittenUnits
from benchmarks.measure import Loads, bar, median, recorded, result, show, turns
from falaj.core.entries import What
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.store.catalog import Catalog
from falaj.store.kinds import Kind, Kinds
from falaj.store.ledger.checkpoint import Signer
from falaj.store.ledger.log import Log, Sequencer
from falaj.store.ledger.publish import Publisher
from falaj.store.metadata import open_database
from falaj.store.metadata.open import migrate
from falaj.store.unit import Actor, Units
from scripts.postgres import PostgresServer

KEY = bytes(range(32))
SIGNER = Signer("falaj.example/benchmark", bytes(32))
KINDS = ("ledger", "unwritten", "plain")
FORK = multiprocessing.get_context("fork")
Change = Callable[[str], None]


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Of the kind made for this benchmark."""

    title: str


class Store:
    """A small ground over one database."""

    def __init__(self, url: str, *, ledger: bool) -> None:
        self.database = open_database(url)
        self.log = Log(self.database.dialect)
        self.units = (Units if ledger else UnwrittenUnits)(self.database, self.log, KEY)
        kind = Kind("thing", Payload, project_fields=lambda p: {"title": p.title})
        self.catalog = Catalog(Kinds(kind))

    def fill(self, writers: int) -> str:
        """A project with an asset for each writer; returns its id."""
        migrate(self.database)
        actor = Actor(new_id(), new_id(), "setup")
        with Units(self.database, self.log, KEY).begin(actor, "project.create") as unit:
            project = self.catalog.add_project(unit, "flights").id
            for number in range(writers):
                self.catalog.ensure_asset(unit, project, "thing", f"thing-{number}")
            unit.say(What.PROJECT_CREATED, [project])
        return project

    def change(self, project: str, name: str, actor: Actor) -> Change:
        """The measured change of one writer."""
        thing = Thing(name, "thing")

        def once(title: str) -> None:
            with self.units.begin(actor, "thing.add", project) as unit:
                asset = self.catalog.asset(unit.tx, project, thing)
                version = self.catalog.add_version(unit, asset, Payload(title=title))
                self.catalog.move(unit, asset, "main", version)
                unit.say(What.VERSION_ADDED, [asset.id], detail={"thing": str(thing), "version": version.number})

        return once


def writing(kind: str, url: str, project: str, numbers: Sequence[int], folder: Path | None, pipe: Connection) -> None:
    """A process with one writer or more, each a thread: ready, told for how long, then how many changes it committed.

    Args:
        folder: where to publish heads to: then a sequencer runs here too, woken by each commit, as in a server.
    """
    stores: list[Store] = []
    changes: list[Change] = []
    for number in numbers:
        name, actor = f"thing-{number}", Actor(new_id(), new_id(), f"writer-{number}")
        if kind == "plain":
            changes.append(Bare(url, project, name, actor.principal, actor.person).change)
            continue
        if not stores:
            stores.append(Store(url, ledger=kind == "ledger"))
        changes.append(stores[0].change(project, name, actor))
    sequencer = Sequencer(stores[0].log, stores[0].database, SIGNER, Publisher(folder).publish) if folder else None
    if sequencer:
        sequencer.start()
    with ThreadPoolExecutor(len(changes)) as pool:
        list(pool.map(lambda change: [change(f"warming {n}") for n in range(3)], changes))
        pipe.send("ready")
        until, begin = time.monotonic() + float(pipe.recv()), time.process_time()
        done = sum(pool.map(lambda change: _until(change, until), changes))
    pipe.send((done, time.process_time() - begin))
    _stop(sequencer, pipe)


def _until(change: Change, until: float) -> int:
    done = 0
    while time.monotonic() < until:
        change(f"change {done}")
        done += 1
    return done


def _stop(sequencer: Sequencer | None, pipe: Connection) -> None:
    """Number what is left, and say how long that took."""
    if sequencer is None:
        return
    begin = time.monotonic()
    sequencer.stop()
    if sequencer.failures:
        raise RuntimeError(sequencer.last_error)
    pipe.send(time.monotonic() - begin)


def sequencing(url: str, folder: Path, pipe: Connection) -> None:
    """The sequencer of a server, in a process of its own: until told to stop, then to the last entry."""
    database = open_database(url)
    sequencer = Sequencer(Log(database.dialect), database, SIGNER, Publisher(folder).publish)
    sequencer.start()
    pipe.send("ready")
    pipe.recv()
    _stop(sequencer, pipe)
    database.close()


class Turn(msgspec.Struct, frozen=True):
    """What one turn came to: changes a second, and the processor's milliseconds of the writers a change."""

    rate: float
    cpu_ms: float
    drained_s: float = 0.0


class Bench:
    """Writers over one server."""

    def __init__(self, server: PostgresServer, folder: Path, writers: int, seconds: float) -> None:
        self.server, self.folder, self.writers, self.seconds = server, folder, writers, seconds
        self._names = (f"bench_{number}" for number in itertools.count(1))

    def turn(self, kind: str, *, threads: bool = False) -> Turn:
        """One turn of one kind, in a fresh database; the writers are processes, or threads of one."""
        name = next(self._names)
        url = self.server.create_database(name)
        store = Store(url, ledger=kind == "ledger")
        project = store.fill(self.writers)
        store.database.close()
        heads = self.folder / name if kind == "ledger" else None
        shares = [list(range(self.writers))] if threads else [[number] for number in range(self.writers)]
        inside = heads if threads else None
        parts = [_started(writing, kind, url, project, share, inside) for share in shares]
        apart = _started(sequencing, url, heads) if heads and not threads else None
        for _, pipe in parts:
            pipe.send(self.seconds)
        done = [pipe.recv() for _, pipe in parts]
        if apart:
            apart[1].send("stop")
        drained = (apart or parts[0])[1].recv() if heads else 0.0
        _ended([*parts, *([apart] if apart else [])])
        if heads:
            check_numbered(url)
        self.server.drop_database(name)
        changes = sum(count for count, _ in done)
        return Turn(changes / self.seconds, 1000 * sum(cpu for _, cpu in done) / max(1, changes), drained)


def _started(target: Callable[..., None], *args: Any) -> tuple[Any, Connection]:
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=target, args=(*args, theirs), daemon=True)
    process.start()
    theirs.close()
    if mine.recv() != "ready":
        raise RuntimeError("a process of the benchmark did not start")
    return process, mine


def _ended(parts: Sequence[tuple[Any, Connection]]) -> None:
    for process, _ in parts:
        process.join(30)
        if process.exitcode != 0:
            raise RuntimeError(f"a process of the benchmark ended with {process.exitcode}")


def check_numbered(url: str) -> None:
    """Raises: RuntimeError where an entry has no number, or a version has no entry."""
    with psycopg.connect(url) as connection:
        pending, entries, versions, signed = connection.execute(
            "SELECT (SELECT count(*) FROM ledger_entry WHERE leaf IS NULL), (SELECT count(*) FROM ledger_entry),"
            " (SELECT count(*) FROM version), (SELECT max(size) FROM ledger_checkpoint)"
        ).fetchone() or (1, 0, 0, 0)
    if pending or entries != versions + 1 or signed != entries:
        raise RuntimeError(f"{entries} entries for {versions} versions, {pending} without a number, {signed} signed")


def measured(given: argparse.Namespace) -> tuple[dict[str, list[Turn]], dict[str, str]]:
    """The turns of each kind, and the server's settings that matter."""
    folder = Path(tempfile.mkdtemp(prefix="falaj-bench-pg-"))
    server = PostgresServer(folder)
    published = Path(tempfile.mkdtemp(prefix="falaj-bench-"))
    try:
        server.start()
        with psycopg.connect(server.url()) as connection:
            settings = {
                name: str((connection.execute(f"SHOW {name}").fetchone() or ("",))[0])
                for name in ("server_version", "synchronous_commit", "fsync", "shared_buffers")
            }
        bench = Bench(server, published, given.writers, given.seconds)
        plan = {kind: partial(bench.turn, kind) for kind in KINDS}
        plan |= {f"{kind}, threads": partial(bench.turn, kind, threads=True) for kind in KINDS}
        return turns(plan, given.rounds), settings
    finally:
        server.stop()
        shutil.rmtree(folder)
        shutil.rmtree(published)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=16, metavar="N")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each turn")
    parser.add_argument("--rounds", type=int, default=7, metavar="R")
    given = parser.parse_args(argv)
    loads = Loads()
    values, settings = measured(given)
    rate = {kind: median([t.rate for t in them]) for kind, them in values.items()}
    cpu = {kind: median([t.cpu_ms for t in them]) for kind, them in values.items()}
    what = f"{given.writers} writers on PostgreSQL, changes with their entries"
    inside = f"{given.writers} threads of one process with its sequencer"
    others = [
        recorded(f"{what}, beside plain psycopg", "changes/s", rate["ledger"], rate["plain"]),
        recorded(inside, "changes/s", rate["ledger, threads"], rate["unwritten, threads"]),
        recorded(f"{inside}, beside plain psycopg", "changes/s", rate["ledger, threads"], rate["plain, threads"]),
        recorded("processor time of a writer, a change", "ms", cpu["ledger"], cpu["unwritten"]),
    ]
    show(
        result(
            "writers",
            loads,
            [bar(what, "changes/s", rate["ledger"], rate["unwritten"], at_least=0.7)],
            others,
            rounds=given.rounds,
            seconds=given.seconds,
            settings=settings,
            rates={kind: [round(t.rate) for t in them] for kind, them in values.items()},
            drained_s=[round(t.drained_s, 2) for t in values["ledger"]],
        )
    )


if __name__ == "__main__":
    main()
