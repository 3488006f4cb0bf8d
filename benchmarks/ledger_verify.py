"""`ledger verify` of a million entries beside the bare tree over the same database, and proofs at that size.

Usage: python -m benchmarks.ledger_verify [--entries N] [--rounds R] [--keep FILE]

Every round runs the bare tree and the verification in turn, each in a process of its own, so that load and page
cache are the same for both; the ratio is that of the medians of CPU time. What is verified is a sound store with
the ground's own schema: all entries, all nodes, checkpoints, and all governed rows that the entries speak of. The
digests of the rows come ready made: to compute them is the work of the catalog, not of the ledger.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.measure import Loads, bar, median, recorded, result, show, spawned, turns
from falaj.core.encoding import canonical
from falaj.core.entries import Change, Entry, What
from falaj.store.ledger.checkpoint import Signer, sign_checkpoint
from falaj.store.ledger.export import inclusion_proof
from falaj.store.ledger.fold import Fold
from falaj.store.ledger.log import SqlNodes
from falaj.store.ledger.merkle import Frontier, Node, consistency, leaf_hash
from falaj.store.ledger.source import SqlSource
from falaj.store.ledger.states import Row
from falaj.store.ledger.verify import verify
from falaj.store.metadata import Transaction, open_database
from falaj.store.metadata.open import migrate
from falaj.store.metadata.queries import queries

SQL = queries("ledger")
SIGNER = Signer("falaj.example/benchmark", bytes(32))
BATCH = 10_000
CHECKPOINTS = 100
TABLES = ("version", "ref", "ref_move", "verdict", "run")
MADE = (*TABLES, "run_link")


def made_entries(count: int) -> Iterator[Entry]:
    """Entries of one or two changes, half of them to a row that changed before."""
    whats = list(What)
    for number in range(count):
        mixed = sha256(b"%d" % number).hexdigest()
        row = number if number % 2 else number // 8
        changes = [Change(TABLES[number % 5], f"{row:010d}", "b3k:" + mixed)]
        if number % 3 == 0:
            changes.append(Change("run_link", f"{number:010d}", "b3k:" + mixed[::-1]))
        yield Entry(
            id=f"{number:013d}{mixed[:13]}",
            at="2026-11-24T17:38:55.000000Z",
            what=whats[number % len(whats)],
            op="ref.promote",
            by=mixed[:12],
            person=mixed[12:24],
            project=mixed[24:36],
            on=(mixed[36:48],),
            changes=tuple(changes),
        )


def fill(path: Path, count: int) -> None:
    """Write a sound store of that many entries."""
    database = open_database(path)
    migrate(database)
    frontier = Frontier()
    entries = made_entries(count)
    step = max(1, count // CHECKPOINTS)
    with database.write() as tx:
        for table in MADE:
            tx.run(f"CREATE TABLE made_{table} (key TEXT PRIMARY KEY, digest TEXT)")
        while batch := list(islice(entries, BATCH)):
            nodes: list[Node] = []
            rows = []
            states: dict[str, list[dict[str, str | None]]] = {table: [] for table in MADE}
            for entry in batch:
                body, leaf = canonical(entry), frontier.size
                columns = {"id": entry.id, "project": entry.project, "what": str(entry.what), "op": entry.op}
                rows.append(columns | {"leaf": leaf, "at": entry.at, "body": body})
                nodes += frontier.push(leaf_hash(body))
                for change in entry.changes:
                    states[change.table].append({"key": change.key, "digest": change.digest})
                if frontier.size % step == 0:
                    note = sign_checkpoint(SIGNER, frontier.size, frontier.root())
                    tx.run(SQL["add_checkpoint"], {"size": frontier.size, "note": note, "at": entry.at})
            tx.run_many(SQL["add_entry"], rows)
            for table, changed in states.items():
                tx.run_many(
                    f"INSERT INTO made_{table} VALUES (:key, :digest)"
                    " ON CONFLICT (key) DO UPDATE SET digest = excluded.digest",
                    changed,
                )
            SqlNodes(tx).put_many(nodes)
    with database.read() as tx:
        tx.rows("SELECT 1")
    database.close()


class Made(SqlSource):
    """The verification's own source over the made database, but that the rows' digests are there already."""

    def __init__(self, tx: Transaction) -> None:
        super().__init__(tx, (), bytes(32))
        self._made = tx

    def tables(self) -> Sequence[str]:
        return MADE

    def rows(self, table: str) -> Iterator[Row]:
        return self._made.stream(f"SELECT key, digest FROM made_{table}")


def _measured(path: str) -> dict[str, object]:
    database = open_database(Path(path), read_only=True)
    with database.read() as tx:
        cpu, wall = time.process_time(), time.perf_counter()
        report = verify(Made(tx), [SIGNER])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    database.close()
    if not report.sound:
        raise SystemExit(f"the made store is not sound: {report.problems[:3]}")
    return {
        "entries": report.entries,
        "states": report.states,
        "checkpoints": report.checkpoints,
        "root": b64decode(report.root).hex(),
        "cpu_s": round(cpu, 3),
        "wall_s": round(wall, 3),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _fold_only(path: str) -> dict[str, object]:
    database = open_database(Path(path), read_only=True)
    with database.read() as tx:
        cpu, wall = time.process_time(), time.perf_counter()
        fold = Fold()
        fold.feed(Made(tx).entries())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    database.close()
    return {"root": fold.root().hex(), "cpu_s": round(cpu, 3), "wall_s": round(wall, 3)}


def _proofs(path: str) -> list[dict[str, Any]]:
    """What proofs cost at this size."""
    database = open_database(Path(path), read_only=True)
    times, widths = [], []
    with database.read() as tx:
        nodes = SqlNodes(tx)
        size = int((tx.row(SQL["size"]) or (0,))[0]) + 1
        for number in range(200):
            leaf = int.from_bytes(sha256(b"%d" % number).digest()[:8], "big") % size
            start = time.perf_counter()
            proof = inclusion_proof(nodes, leaf, size)
            times.append((time.perf_counter() - start) * 1000)
            widths.append(32 * len(proof.path))
        start = time.perf_counter()
        consistency(nodes, size // 2 + 1, size)
        between = (time.perf_counter() - start) * 1000
    database.close()
    return [
        recorded(f"inclusion proof at {size:,} entries", "ms", median(times)),
        recorded("the longest of 200", "ms", max(times)),
        recorded("its size", "bytes", max(widths)),
        recorded("consistency proof, half to whole", "ms", between),
    ]


def _turn(*words: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(spawned(["-m", *words]).out)
    return figures


def _compare(path: str, rounds: int, loads: Loads) -> dict[str, Any]:
    values = turns(
        {
            "bare": partial(_turn, "benchmarks.limits.ledger_tree", path),
            "whole": partial(_turn, "benchmarks.ledger_verify", "--measure", path),
            "entries": partial(_turn, "benchmarks.ledger_verify", "--fold", path),
        },
        rounds,
    )
    if len({run["root"] for kind in values.values() for run in kind}) != 1:
        raise SystemExit("the roots differ")
    cpu = {kind: median([run["cpu_s"] for run in runs]) for kind, runs in values.items()}
    wall = {kind: median([run["wall_s"] for run in runs]) for kind, runs in values.items()}
    one = values["whole"][0]
    what = f"ledger verify of {one['entries']:,} entries"
    return result(
        "ledger_verify",
        loads,
        [bar(what, "s of the processor", cpu["whole"], cpu["bare"], at_most=3.0)],
        [
            recorded(what, "s", wall["whole"], wall["bare"]),
            recorded("its entries alone", "s of the processor", cpu["entries"], cpu["bare"]),
            recorded("its memory", "MiB", max(run["peak_mib"] for run in values["whole"])),
            *_proofs(path),
        ],
        rounds=rounds,
        states=one["states"],
        checkpoints=one["checkpoints"],
        ratios=[round(w["cpu_s"] / b["cpu_s"], 2) for w, b in zip(values["whole"], values["bare"], strict=True)],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", help="make the database here, or use the one that is here")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--fold", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure or args.fold:
        print(json.dumps(_measured(args.measure) if args.measure else _fold_only(args.fold)))
        return
    loads = Loads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.keep or Path(folder) / "metadata.db")
        if not path.exists():
            fill(path, args.entries)
        show(_compare(str(path), args.rounds, loads))


if __name__ == "__main__":
    main()
