"""An isolated step with its commit beside a bare fork of the same parent with the same commit; a cached run as a whole.

Usage: python -m benchmarks.steps [--steps N] [--rounds N] [--runs N] [--preload MODULE] [--folder DIR]

Steps run one after the other, each in a process forked from one that has scikit-learn imported. What a step takes is
the time between two commits. The statements that it writes (its claim and its commit, two transactions) are noted once,
and written by the bare limit before and after its fork. Batches of either take turns.

The cached run is the whole command, from the start of the interpreter to its end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from benchmarks.limits.ref_move import Bare, Statement
from benchmarks.limits.steps import Forks
from benchmarks.measure import Loads, bar, median, recorded, result, show, spawned, spread
from benchmarks.ref_move import noting
from falaj import capture
from falaj.engines import parent
from falaj.engines.keeper import surroundings
from falaj.engines.local import LocalEngine
from falaj.pipelines import sending
from falaj.pipelines.engine import ENGINE
from falaj.platform import Platform
from falaj.store.metadata.sqlite import SqliteDatabase
from falaj.store.steps import of_run

PROJECT, DATABASE = "flights", ".falaj/falaj.db"
PIPELINE = """
import {preload}

import falaj as fj

@fj.step
def add(n: int, *, salt: int) -> int:
    return n + salt

@fj.pipeline
def sums(ns: list[int], salt: int):
    add.map(n=ns, salt=salt)

@fj.pipeline
def chain(salt: int = 1):
    add(add(add(1, salt=salt), salt=2), salt=3)
"""
MODULES = (*parent.OURS, "falaj.engines.parent")


class Store:
    """A store with the pipeline, open in this process; attempts run one at a time."""

    def __init__(self, place: Path, preload: str) -> None:
        place.mkdir(exist_ok=True)
        (place / "falaj.toml").write_text(f'project = "{PROJECT}"\n', encoding="utf-8")
        (place / "pipeline.py").write_text(PIPELINE.format(preload=preload), encoding="utf-8")
        self.platform = Platform.create(place, PROJECT)
        self.platform.ground.fill(ENGINE, lambda: LocalEngine(capture.environment, cores=1))
        self.session = self.platform.session(PROJECT)
        if not isinstance(self.platform.ground.database, SqliteDatabase):
            raise TypeError("this benchmark is about SQLite")
        self.database = self.platform.ground.database

    def keep(self) -> None:
        """Keep both pipelines."""
        for name in ("sums", "chain"):
            sending.keep(self.session, self.platform.layout.place, name, code=dict, environment=capture.environment())

    def sums(self, steps: int, salt: int) -> list[float]:
        """Milliseconds of each step but the first, from commit to commit."""
        params = {"ns": list(range(steps)), "salt": salt}
        run = self.session.call("pipeline.run", {"pipeline": "sums", "params": params})["run"]
        with self.database.read() as tx:
            ends = sorted(datetime.fromisoformat(row.ended_at or "") for row in of_run(tx, run))
        return [(b - a).total_seconds() * 1000 for a, b in pairwise(ends)]


def batches(transactions: list[list[Statement]], steps: int) -> list[tuple[list[Statement], list[Statement]]]:
    """The claim and the commit of each step of a run: the pairs that write to the table of attempts."""
    mine = [one for one in transactions if _is_step(one)][: 2 * steps]
    if len(mine) != 2 * steps:
        raise RuntimeError(f"{steps} steps took {len(mine)} transactions")
    return list(zip(mine[::2], mine[1::2], strict=True))


def measure(folder: Path, preload: str, steps: int, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of isolated steps, and of bare ones."""
    store = Store(folder / "base", preload)
    store.keep()
    store.sums(2, 0)
    store.platform.close()
    for name in ("noted", "bare"):
        shutil.copytree(folder / "base", folder / name)
    noted = Store(folder / "noted", preload)
    written = noting(noted.database)
    whole: list[list[list[Statement]]] = []
    for salt in range(1, rounds + 1):
        written.clear()
        noted.sums(steps, salt)
        whole.append(list(written))
    noted.platform.close()
    ours, bare = list[float](), list[float]()
    store, limit = Store(folder / "base", preload), Bare(folder / "bare" / DATABASE)
    with Forks((*MODULES, preload), surroundings()) as forks:
        for salt in range(1, rounds + 1):
            ours += store.sums(steps, salt)
            pairs = iter(batches(whole[salt - 1], steps))
            for transaction in whole[salt - 1]:
                if not _is_step(transaction):
                    limit.write(transaction)
                    continue
                if (pair := next(pairs, None)) is not None:
                    bare.append(_bare(limit, forks, folder / "value.json", pair))
    limit.close()
    store.platform.close()
    return ours, bare


def _is_step(transaction: list[Statement]) -> bool:
    return any(" step " in sql for sql, _ in transaction)


def _bare(limit: Bare, forks: Forks, file: Path, pair: tuple[list[Statement], list[Statement]]) -> float:
    begin = time.perf_counter()
    limit.write(pair[0])
    forks.step(file, 1, 2)
    file.read_bytes()
    limit.write(pair[1])
    return (time.perf_counter() - begin) * 1000


def cached(folder: Path, preload: str, runs: int) -> tuple[list[float], list[float], float]:
    """Wall and processor seconds of a run that computes nothing, as a command; wall of the first one."""
    store = Store(folder / "cached", preload)
    store.platform.close()
    words = ["-m", "falaj.cli.main", "-C", str(folder / "cached"), "-q", "pipeline", "run", "chain"]
    first = spawned(words).wall_s
    used = [spawned(words) for _ in range(runs)]
    return [one.wall_s for one in used], [one.cpu_s for one in used], first


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=25, metavar="N", help="of a batch")
    parser.add_argument("--rounds", type=int, default=6, metavar="N")
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="cached runs")
    parser.add_argument("--preload", default="sklearn.linear_model", metavar="MODULE", help="what the steps import")
    parser.add_argument("--folder", help="where the stores lie (default: the temporary folder)")
    given = parser.parse_args(argv)
    loads = Loads()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        ours, bare = measure(Path(folder), given.preload, given.steps, given.rounds)
        wall, cpu, first = cached(Path(folder), given.preload, given.runs)
    bars = [
        bar("isolated step with commit, scikit-learn preloaded", "ms", median(ours), median(bare), at_most=2.0),
        bar("cached pipeline run, whole command", "s", median(wall), at_most=1.5),
    ]
    others = [
        recorded("cached pipeline run, processor time", "s", median(cpu)),
        recorded(f"first run of three steps, whole command, {given.preload} imported", "s", first),
    ]
    facts = {"step_ms": spread(ours), "bare_ms": spread(bare), "cached_s": spread(wall, 3), "python": sys.version}
    show(result("steps", loads, bars, others, steps=given.steps, rounds=given.rounds, **facts))


if __name__ == "__main__":
    main()
