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
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

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
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measured(module: str, file: Path, scratch: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *more, str(file), str(scratch)]
    figures: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


def main() -> None:
    """Print the figures as JSON."""
    if sys.argv[1:2] == ["--judge"]:
        print(json.dumps(judge(Path(sys.argv[2]), Path(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", help="folder of flights.csv.zip; default: the installed package")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        file = made_flights(Path(folder), given.copies, given.source)
        runs: dict[str, list[dict[str, Any]]] = {"bare": [], "falaj": []}
        for _ in range(given.rounds):
            runs["bare"].append(measured("benchmarks.limits.checks", file, scratch))
            runs["falaj"].append(measured("benchmarks.checks", file, scratch, "--judge"))
        middle = {who: statistics.median(run["cpu_s"] for run in them) for who, them in runs.items()}
        print(
            json.dumps(
                {
                    "what": "contract of flights over one Parquet file, CPU s",
                    "rows": runs["bare"][0]["rows"],
                    "file_mib": round(file.stat().st_size / 2**20, 1),
                    "value": round(middle["falaj"], 3),
                    "limit": round(middle["bare"], 3),
                    "ratio": round(middle["falaj"] / middle["bare"], 2),
                    "wall_s": round(statistics.median(run["wall_s"] for run in runs["falaj"]), 3),
                    "peak_mib": {who: round(max(run["peak_mib"] for run in them)) for who, them in runs.items()},
                    "failed": runs["falaj"][0]["failed"],
                    "load": os.getloadavg()[0],
                },
                ensure_ascii=False,
            )
        )


if __name__ == "__main__":
    main()
