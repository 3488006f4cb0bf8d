"""A drift report of a million rows by fifty columns, beside a bare scan of the same two files.

Usage: python -m benchmarks.drift [--rows N] [--rounds R]

Half of the columns are numbers (some with nulls), half are text (one with 50,000 values); the window has as many rows
as the reference. Every round runs both in turn, each in a process of its own; the scan reads every column of both files
with PyArrow and does nothing with them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Loads, median, peak_mib, recorded, result, show, spawned, turns
from falaj.data import tables
from falaj.deploy.records import Drift
from falaj.models.records import Input
from falaj.monitor import measuring
from falaj.monitor.measuring import Sample
from falaj.monitor.rules import INPUT

NUMBERS, TEXTS, MANY = 25, 25, 50_000
DRIFTED = ("n0", "n1", "t1")


def made(path: Path, rows: int, seed: int, prefix: str, *, moved: bool) -> None:
    """One Parquet file; in a moved one three columns drift."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for i in range(NUMBERS):
        values = rng.normal(1.0 if moved and f"n{i}" in DRIFTED else 0.0, 1.0 + i / 10, rows)
        mask = rng.random(rows) < 0.05 if i % 3 == 2 else None
        columns[f"{prefix}n{i}"] = pa.array(values, mask=mask)
    for i in range(TEXTS):
        many = MANY if i == 0 else 5 + i
        at = (many * rng.random(rows) ** (3.0 if moved and f"t{i}" in DRIFTED else 1.5)).astype(np.int32)
        names = pa.array([f"value {value}" for value in range(many)])
        columns[f"{prefix}t{i}"] = pa.DictionaryArray.from_arrays(pa.array(at), names).cast(pa.string())
    pq.write_table(pa.table(columns), path, row_group_size=128 * 1024)


def scan(reference: Path, live: Path) -> dict[str, Any]:
    """What reading every value of both files takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    rows = sum(batch.num_rows for path in (reference, live) for batch in pq.ParquetFile(path).iter_batches(128 * 1024))
    return {"rows": rows, **used(cpu, wall)}


def report(reference: Path, live: Path, scratch: Path) -> dict[str, Any]:
    """What the columns of a report take, from the files to the answers."""
    cpu, wall = time.process_time(), time.perf_counter()
    inputs = [Input(name=f"n{i}", type="number") for i in range(NUMBERS)]
    inputs += [Input(name=f"t{i}", type="text") for i in range(TEXTS)]
    with tables.connect([reference, live], scratch=scratch) as con:
        views = [f"read_parquet({tables.text(str(path))})" for path in (reference, live)]
        found = measuring.compared(Sample(con, views[0]), Sample(con, views[1]), inputs)
    drifted = sorted(one.column for one in measuring.judged(found, Drift()) if one.drifted)
    return {"drifted": drifted, **used(cpu, wall)}


def used(cpu: float, wall: float) -> dict[str, float]:
    """Processor and wall time since then, and the most memory that was held."""
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "peak_mib": peak_mib()}


def figures(words: Sequence[str]) -> dict[str, Any]:
    """What a process measured of itself, starting left out."""
    found: dict[str, Any] = json.loads(spawned(words).out)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scan", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--report", nargs=3, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.scan or given.report:
        print(json.dumps(scan(*given.scan) if given.scan else report(*given.report)))
        return
    loads = Loads()
    with tempfile.TemporaryDirectory() as folder:
        reference, live, scratch = (Path(folder, name) for name in ("reference.parquet", "live.parquet", "scratch"))
        scratch.mkdir()
        made(reference, given.rows, 1, "", moved=False)
        made(live, given.rows, 2, INPUT, moved=True)
        words = [str(reference), str(live)]
        runs = turns(
            {
                "bare": partial(figures, ["-m", "benchmarks.drift", "--scan", *words]),
                "falaj": partial(figures, ["-m", "benchmarks.drift", "--report", *words, str(scratch)]),
            },
            given.rounds,
        )
        file_mib = round(reference.stat().st_size / 2**20, 1)
    cpu, wall = (
        {who: median([run[unit] for run in them]) for who, them in runs.items()} for unit in ("cpu_s", "wall_s")
    )
    peak = {who: max(run["peak_mib"] for run in them) for who, them in runs.items()}
    what = f"drift report of {given.rows:,} rows, {NUMBERS + TEXTS} columns"
    others = [
        recorded(what, "CPU s", cpu["falaj"], cpu["bare"]),
        recorded(f"{what}, waited", "s", wall["falaj"], wall["bare"]),
        recorded(f"{what}, peak memory", "MiB", peak["falaj"], peak["bare"]),
    ]
    facts = {"rows": given.rows, "file_mib": file_mib, "rounds": given.rounds, "drifted": runs["falaj"][0]["drifted"]}
    show(result("drift", loads, (), others, **facts))


if __name__ == "__main__":
    main()
