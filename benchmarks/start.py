"""CPU of starting: `import falaj`, the command line's help, its completion, beside an interpreter that does nothing.

Usage: python -m benchmarks.start [--runs N]

Each is a process of its own, measured by its user and system time; the kinds take turns, and the medians are compared.
Byte code is compiled before.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from benchmarks.measure import Loads, bar, median, recorded, result, show, spawned, spread, turns

BARE = "pass"
KINDS: dict[str, list[str]] = {
    BARE: ["-c", "pass"],
    "import falaj": ["-c", "import falaj"],
    "falaj --help": ["-m", "falaj.cli.main", "--help"],
    "falaj promote --help": ["-m", "falaj.cli.main", "promote", "--help"],
    "completion of a command": ["-m", "falaj.cli.main", "__complete", "falaj pro"],
}
BARS = {"import falaj": 8.0, "falaj --help": 12.0}


def cpu_ms(words: list[str]) -> float:
    """User and system milliseconds of one process. Raises: RuntimeError where it fails."""
    return spawned(words).cpu_s * 1000


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, metavar="N", help="processes of each kind (default: 30)")
    given = parser.parse_args(argv)
    loads = Loads()
    for words in KINDS.values():
        cpu_ms(words)
    took = turns({name: partial(cpu_ms, words) for name, words in KINDS.items()}, given.runs)
    middle = {name: median(values) for name, values in took.items()}
    bars = [bar(name, "CPU ms", middle[name], middle[BARE], at_most=most) for name, most in BARS.items()]
    others = [recorded(name, "CPU ms", middle[name], middle[BARE]) for name in KINDS if name not in {BARE, *BARS}]
    show(result("start", loads, bars, others, runs=given.runs, cpu_ms={n: spread(v) for n, v in took.items()}))


if __name__ == "__main__":
    main()
