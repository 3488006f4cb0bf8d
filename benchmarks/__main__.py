"""`make bench`: every benchmark in a process of its own, one after the other; the bars, and what is recorded beside.

Usage: python -m benchmarks [NAME …] [--write]

Each result is kept as build/bench/NAME.json. With --write the page docs/benchmarks.md is written anew from the results
there are, those of earlier runs with them. Ends with 1 where a bar does not hold, with 2 where a benchmark failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.machine import describe
from benchmarks.measure import ROOT

FIRST = ("start", "ref_move", "writers", "objects", "ledger_verify")
SHARED = {"__main__", "machine", "measure", "report"}
RESULTS = ROOT / "build" / "bench"
PAGE = ROOT / "docs" / "benchmarks.md"


def names() -> list[str]:
    """Every benchmark of this folder: those with bars first, then the others by name."""
    found = {file.stem for file in Path(__file__).parent.glob("*.py")} - SHARED
    return [name for name in FIRST if name in found] + sorted(found - set(FIRST))


class Failed(RuntimeError):
    """A benchmark did not end well; what it said stands on stderr."""


def run(name: str) -> dict[str, Any]:
    """Run one benchmark, and keep its result with what the machine was like.

    Raises: Failed.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed(f"{name}: status {done.returncode}")
    made: dict[str, Any] = json.loads(done.stdout)
    made |= {"at": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": describe()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return made


def kept() -> list[dict[str, Any]]:
    """Every result there is, in the order of `names`."""
    files = [RESULTS / f"{name}.json" for name in names()]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())} (default: all)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md anew")
    given = parser.parse_args(argv)
    if unknown := set(given.names) - set(names()):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    print(report.machine_line(describe()), flush=True)
    print(report.heading(), flush=True)
    status = 0
    for name in given.names or names():
        try:
            made = run(name)
        except Failed as failure:
            print(f"{failure}", file=sys.stderr, flush=True)
            status = 2
            continue
        for line in report.lines(made):
            print(line, flush=True)
        status = max(status, 0 if all(bar["ok"] for bar in made["bars"]) else 1)
    if given.write:
        PAGE.write_text(report.page(kept()), encoding="utf-8")
        print(f"written: {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    return status


if __name__ == "__main__":
    sys.exit(main())
