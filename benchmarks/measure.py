"""What every benchmark shares: turns, medians, processes measured as a whole, and the form of a result.

A benchmark is a module of this folder with `main(argv)` that prints one JSON object, made by `result`:

    name       the module's name
    bars       what is promised: a value, the bare limit measured in the same run, their ratio, the bar, whether it held
    recorded   figures without a bar
    load       of the machine, before and after
    facts      sizes, rounds, spreads: whatever a reader needs to judge or repeat the figures
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


class Used(NamedTuple):
    """What one process used.

    Attributes:
        cpu_s: user and system time, of the processes that it waited for too.
        peak_mib: its greatest resident size, or that of the largest of those processes.
        out: what it printed.
    """

    cpu_s: float
    wall_s: float
    peak_mib: float
    out: str


# A process starts with the peak of the one it was started by (Linux hands the mark on at exec). So the one that
# starts what is measured is a bare interpreter, and the figures are its own child's.
_WATCHER = """
import json, os, sys, time
begin = time.perf_counter()
_, status, used = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
wall = time.perf_counter() - begin
figures = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024]
os.write(int(sys.argv[1]), json.dumps(figures).encode())
"""


def spawned(words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Used:
    """Run this interpreter with these words and measure the process from outside.

    Raises: RuntimeError where it fails; its errors stand on stderr.
    """
    ours, theirs = os.pipe()
    with os.fdopen(ours) as figures, tempfile.TemporaryFile() as out:
        command = [sys.executable, "-I", "-S", "-c", _WATCHER, str(theirs), sys.executable, *words]
        subprocess.run(command, stdout=out, env=environment, pass_fds=[theirs], check=True)
        os.close(theirs)
        status, cpu, wall, peak = json.loads(figures.read())
        if status:
            raise RuntimeError(f"{' '.join(words)}: status {status}")
        out.seek(0)
        text = out.read().decode()
    return Used(cpu, wall, peak, text)


def peak_mib() -> float:
    """The greatest resident size of this process since it began to run what it runs."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system does not tell the peak of a process")


class Took(NamedTuple):
    """What one call in this process took: of the wall clock, and of the processor by this thread."""

    wall_us: float
    cpu_us: float


def took(call: Callable[[], object]) -> Took:
    """Microseconds of one call."""
    cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
    call()
    wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
    return Took(wall / 1000, cpu / 1000)


def turns(kinds: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Each kind's values; the kinds take turns, A B A B, so that the machine's load falls on all alike."""
    values: dict[str, list[T]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, kind in kinds.items():
            values[name].append(kind())
    return values


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Tenth, middle and ninetieth of a hundred."""
    tenths = statistics.quantiles(values, n=10) if len(values) > 1 else [values[0]] * 9
    return {
        "p10": round(tenths[0], digits),
        "median": round(statistics.median(values), digits),
        "p90": round(tenths[8], digits),
    }


def bar(
    what: str,
    unit: str,
    value: float,
    limit: float | None = None,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> dict[str, Any]:
    """One promise: the ratio of `value` to the bare `limit`, or the value itself where no limit is given.

    Args:
        at_most, at_least: the bar, exactly one of them.
    """
    if (at_most is None) == (at_least is None):
        raise ValueError(f"{what}: at most or at least?")
    measured = value if limit is None else value / limit
    held = measured <= at_most if at_most is not None else at_least is not None and measured >= at_least
    return {
        "what": what,
        "unit": unit,
        "value": rounded(value),
        "limit": None if limit is None else rounded(limit),
        "ratio": None if limit is None else round(measured, 2),
        "at_most": at_most,
        "at_least": at_least,
        "ok": held,
    }


def recorded(what: str, unit: str, value: float, limit: float | None = None) -> dict[str, Any]:
    """One figure without a bar, beside its bare limit where there is one."""
    ratio = round(value / limit, 2) if limit else None  # processor time comes in ticks: few requests may take none
    return {
        "what": what,
        "unit": unit,
        "value": rounded(value),
        "limit": None if limit is None else rounded(limit),
        "ratio": ratio,
    }


def rounded(value: float) -> float:
    """Four significant digits: more would promise what no run repeats."""
    return float(f"{value:.4g}")


class Loads:
    """The machine's load when it was made, and when it is asked."""

    def __init__(self) -> None:
        self.before = os.getloadavg()[0]

    def as_dict(self) -> dict[str, float]:
        """One-minute loads before and now."""
        return {"before": round(self.before, 2), "after": round(os.getloadavg()[0], 2)}


def result(
    name: str,
    loads: Loads,
    bars: Sequence[dict[str, Any]] = (),
    others: Sequence[dict[str, Any]] = (),
    **facts: Any,
) -> dict[str, Any]:
    """The object that a benchmark prints."""
    return {"name": name, "bars": list(bars), "recorded": list(others), "load": loads.as_dict(), "facts": facts}


def show(made: Mapping[str, Any]) -> None:
    """Print a result."""
    print(json.dumps(made, indent=2, ensure_ascii=False))
