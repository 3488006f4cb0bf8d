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
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

from falaj.core.encoding import canonical
from falaj.core.entries import Change, Entry, What
from falaj.store.ledger.checkpoint import Signer, sign_checkpoint
from falaj.store.ledger.export import inclusion_proof
from falaj.store.ledger.fold import EntryRow, Fold
from falaj.store.ledger.log import SqlNodes
from falaj.store.ledger.merkle import Frontier, Node, consistency, leaf_hash
from falaj.store.ledger.verify import DetailRow, verify
from falaj.store.metadata import open_database
from falaj.store.metadata.open import migrate
from falaj.store.metadata.queries import queries

SQL = queries("ledger")
SIGNER = Signer("falaj.example/benchmark", bytes(32))
BATCH = 10_000
CHECKPOINTS = 100
TABLES = ("version", "ref", "ref_move", "verdict", "run")


def made_entries(count: int) -> Iterator[Entry]:
    """Entries of one or two changes, half of them to a row that changed before."""
    whats = list(What)
    for number in range(count):
        mixed = sha256(b"%d" % number).hexdigest()
        row = number if number % 2 else number // 8
        changes = [Change(TABLES[number % 5], f"{row:010d}", "b3k:" + mixed)]
        if number % 3 == 0:
            changes.append(Change("state", f"{number:010d}", "b3k:" + mixed[::-1]))
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
        tx.run("CREATE TABLE made_state (tbl TEXT, key TEXT, digest TEXT, PRIMARY KEY (tbl, key)) WITHOUT ROWID")
        while batch := list(islice(entries, BATCH)):
            nodes: list[Node] = []
            rows, states = [], []
            for entry in batch:
                body, leaf = canonical(entry), frontier.size
                columns = {"id": entry.id, "project": entry.project, "what": str(entry.what), "op": entry.op}
                rows.append(columns | {"leaf": leaf, "at": entry.at, "body": body})
                nodes += frontier.push(leaf_hash(body))
                states += [{"tbl": c.table, "key": c.key, "digest": c.digest} for c in entry.changes]
                if frontier.size % step == 0:
                    note = sign_checkpoint(SIGNER, frontier.size, frontier.root())
                    tx.run(SQL["add_checkpoint"], {"size": frontier.size, "note": note, "at": entry.at})
            tx.run_many(SQL["add_entry"], rows)
            tx.run_many("INSERT OR REPLACE INTO made_state VALUES (:tbl, :key, :digest)", states)
            SqlNodes(tx).put_many(nodes)
    with database.read() as tx:
        tx.rows("SELECT 1")
    database.close()


class Store:
    """The verification's source over the made database."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def entries(self) -> Iterable[EntryRow]:
        return self._connection.execute(SQL["indexed_leaves"])

    def pending(self) -> Iterable[bytes]:
        return (row[0] for row in self._connection.execute("SELECT body FROM ledger_entry WHERE leaf IS NULL"))

    def nodes(self) -> Iterable[Node]:
        return self._connection.execute("SELECT level, idx, hash FROM ledger_node ORDER BY level, idx")

    def checkpoints(self) -> Iterable[tuple[int, str]]:
        return self._connection.execute(SQL["checkpoints"])

    def states(self) -> Iterable[tuple[str, str, str]]:
        return self._connection.execute("SELECT tbl, key, digest FROM made_state ORDER BY tbl, key")

    def details(self) -> Iterable[DetailRow]:
        return self._connection.execute(SQL["details"])


def _measured(path: str) -> dict[str, object]:
    cpu, wall = time.process_time(), time.perf_counter()
    report = verify(Store(path), [SIGNER])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if not report.sound:
        raise SystemExit(f"the made store is not sound: {report.problems[:3]}")
    return {
        "entries": report.entries,
        "states": report.states,
        "checkpoints": report.checkpoints,
        "root": report.root,
        "cpu_s": round(cpu, 3),
        "wall_s": round(wall, 3),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _fold_only(path: str) -> dict[str, object]:
    cpu = time.process_time()
    fold = Fold()
    fold.feed(Store(path).entries())
    return {"entries": fold.entries, "cpu_s": round(time.process_time() - cpu, 3)}


def _proofs(path: str) -> dict[str, object]:
    database = open_database(Path(path), read_only=True)
    times, widths = [], []
    with database.read() as tx:
        nodes = SqlNodes(tx)
        size = int((tx.row(SQL["size"]) or (0,))[0]) + 1
        for number in range(200):
            leaf = int.from_bytes(sha256(b"%d" % number).digest()[:8], "big") % size
            start = time.perf_counter()
            proof = inclusion_proof(nodes, leaf, size)
            times.append(time.perf_counter() - start)
            widths.append(32 * len(proof.path))
        start = time.perf_counter()
        consistency(nodes, size // 2 + 1, size)
        between = time.perf_counter() - start
    database.close()
    return {
        "inclusion_ms_median": round(statistics.median(times) * 1000, 3),
        "inclusion_ms_p99": round(sorted(times)[-3] * 1000, 3),
        "inclusion_bytes_most": max(widths),
        "consistency_ms": round(between * 1000, 3),
    }


def _in_process(*argv: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", *argv], check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _compare(path: str, rounds: int) -> dict[str, object]:
    bare, full, folds = [], [], []
    for _ in range(rounds):
        bare.append(_in_process("benchmarks.limits.ledger_tree", path))
        full.append(_in_process("benchmarks.ledger_verify", "--measure", path))
        folds.append(_in_process("benchmarks.ledger_verify", "--fold", path))

    def middle(runs: list[dict[str, float]], name: str) -> float:
        return round(statistics.median(run[name] for run in runs), 3)

    limit, value = middle(bare, "cpu_s"), middle(full, "cpu_s")
    return {
        "name": "ledger_verify",
        "entries": full[0]["entries"],
        "states": full[0]["states"],
        "checkpoints": full[0]["checkpoints"],
        "value_cpu_s": value,
        "value_wall_s": middle(full, "wall_s"),
        "limit_cpu_s": limit,
        "limit_wall_s": middle(bare, "wall_s"),
        "ratio": round(value / limit, 2),
        "bar": 3.0,
        "entries_alone_cpu_s": middle(folds, "cpu_s"),
        "peak_mib": max(run["peak_mib"] for run in full),
        "load": os.getloadavg()[0],
        **_proofs(path),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", help="make the database here, or use the one that is here")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--fold", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure or args.fold:
        print(json.dumps(_measured(args.measure) if args.measure else _fold_only(args.fold)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.keep or Path(folder) / "metadata.db")
        if not path.exists():
            fill(path, args.entries)
        print(json.dumps(_compare(str(path), args.rounds), indent=2))


if __name__ == "__main__":
    main()
