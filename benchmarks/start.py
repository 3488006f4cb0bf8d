"""CPU of starting: `import falaj`, the command line's help, its completion, beside an interpreter that does nothing.

Usage: python -m benchmarks.start [--runs N]

Prints one JSON object. Each is a process of its own, measured by its user and system time; the kinds take turns, so
that the machine's load falls on all alike, and the medians are compared. Byte code is compiled before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

BARE = "pass"
KINDS: dict[str, tuple[list[str], float | None]] = {
    # name: (what the interpreter is given, the bar in multiples of the bare start)
    BARE: (["-c", "pass"], None),
    "import_falaj": (["-c", "import falaj"], 8.0),
    "help": (["-m", "falaj.cli.main", "--help"], 12.0),
    "command_help": (["-m", "falaj.cli.main", "promote", "--help"], None),
    "completion": (["-m", "falaj.cli.main", "__complete", "falaj pro"], None),
}


def cpu_ms(words: list[str]) -> float:
    """User and system milliseconds of one process. Raises: RuntimeError where it fails."""
    quiet = [(os.POSIX_SPAWN_OPEN, at, os.devnull, os.O_WRONLY, 0) for at in (1, 2)]
    pid = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(words)}: status {status}")
    return (used.ru_utime + used.ru_stime) * 1000


def measure(runs: int) -> dict[str, dict[str, float | bool]]:
    """Each kind's median, its multiple of the bare start, and whether that is within its bar."""
    took: dict[str, list[float]] = {name: [] for name in KINDS}
    for words, _ in KINDS.values():
        cpu_ms(words)
    for _ in range(runs):
        for name, (words, _) in KINDS.items():
            took[name].append(cpu_ms(words))
    bare = statistics.median(took[BARE])
    out: dict[str, dict[str, float | bool]] = {}
    for name, (_, bar) in KINDS.items():
        value = statistics.median(took[name])
        out[name] = {"cpu_ms": round(value, 1), "ratio": round(value / bare, 2)}
        if bar is not None:
            out[name] |= {"bar": bar, "met": value <= bar * bare}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, metavar="N", help="processes of each kind (default: 30)")
    args = parser.parse_args()
    os.chdir(Path(__file__).resolve().parents[1])
    result = {"name": "start", "load": os.getloadavg()[0], "runs": args.runs, "starts": measure(args.runs)}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
