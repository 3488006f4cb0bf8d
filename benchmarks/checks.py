"""A compiled contract beside the same rules written by hand, over about a million flights.

Usage: python -m benchmarks.checks [--copies N] [--rounds R] [--source FOLDER]

Every round runs both in turn, each in a process of its own, over the same Parquet file with the same settings; the
ratio is that of the medians of CPU time. The flights are the real ones, repeated with another year each time, so that
their key stays unique and every rule but the row count holds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.measure import Loads, median, peak_mib, recorded, result, show, spawned, turns
from falaj.data import checks, contract

EXAMPLE = Path(__file__).parents[1] / "examples" / "flights"
HEADER = "SELECT * REPLACE ((year + n.i) AS year) FROM read_csv(?, nullstr = ['NA', '']), range(?) n(i)"


def made_flights(folder: Path, copies: int, source: str | None) -> Path:
    """The flights `copies` times as one Parquet file."""
    spec = importlib.util.spec_from_file_location("flights_months", EXAMPLE / "months.py")
    if spec is None or spec.loader is None:
        raise SystemExit("examples/flights/months.py is missing")
    months = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(months)
    files = [str(path) for path in months.write_months(months.source(source), folder / "months")]
    target = folder / "flights.parquet"
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT * EXCLUDE (i) FROM ({HEADER})) TO '{target}' (FORMAT parquet)", [files, copies])
    return target


def judge(file: Path, scratch: Path) -> dict[str, Any]:
    """What a judgement takes, reading the contract included."""
    cpu, wall = time.process_time(), time.perf_counter()
    rules, _ = contract.parse((EXAMPLE / "contracts" / "flights.yaml").read_bytes())
    report = checks.judge_files(rules, [file], "parquet", scratch=scratch)
    return {
        "rows": report.rows,
        "failed": [str(f) for f in report.failed],
        "rules": len(report.findings),
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": peak_mib(),
    }


def figures(words: Sequence[str]) -> dict[str, Any]:
    """What a process measured of itself, starting left out."""
    found: dict[str, Any] = json.loads(spawned(words).out)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=3, help="of the year (default: 3, about a million flights)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", help="folder of flights.csv.zip; default: the installed package")
    parser.add_argument("--judge", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.judge:
        print(json.dumps(judge(*given.judge)))
        return
    loads = Loads()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        file = made_flights(Path(folder), given.copies, given.source)
        words = [str(file), str(scratch)]
        runs = turns(
            {
                "bare": partial(figures, ["-m", "benchmarks.limits.checks", *words]),
                "falaj": partial(figures, ["-m", "benchmarks.checks", "--judge", *words]),
            },
            given.rounds,
        )
        file_mib = round(file.stat().st_size / 2**20, 1)
    cpu = {who: median([run["cpu_s"] for run in them]) for who, them in runs.items()}
    peak = {who: max(run["peak_mib"] for run in them) for who, them in runs.items()}
    rows = runs["bare"][0]["rows"]
    others = [
        recorded(f"contract of {rows:,} flights", "CPU s", cpu["falaj"], cpu["bare"]),
        recorded(f"contract of {rows:,} flights, peak memory", "MiB", peak["falaj"], peak["bare"]),
    ]
    facts = {"rows": rows, "file_mib": file_mib, "rounds": given.rounds, "failed": runs["falaj"][0]["failed"]}
    show(result("checks", loads, (), others, **facts))


if __name__ == "__main__":
    main()
