"""`kill -9` of runner, fork parent and steps at seeded moments: nothing that was committed is computed again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.pipelines.house import Project, children, is_running

PIPELINE = """
import time

@fj.step
def first() -> int:
    time.sleep(0.05)
    return 1

@fj.step
def middle(a: int, *, n: int) -> int:
    time.sleep(0.05)
    return a + n

@fj.step
def last(parts: list[int]) -> int:
    time.sleep(0.05)
    return sum(parts)

@fj.pipeline
def p(ns: list[int] = [1, 2, 3, 4, 5]):
    last(middle.map(a=first(), n=ns))
"""


def run(project: Project) -> subprocess.Popen[bytes]:
    words = ["-C", str(project.folder), "-q", "pipeline", "run", "p"]
    with (project.folder / "errors.txt").open("wb") as errors:
        return subprocess.Popen([sys.executable, "-m", "falaj.cli.main", *words], stderr=errors)


def attempts(project: Project, *states: str) -> Counter[str]:
    """How often each step was begun, or came to one of these states."""
    with project.platform.ground.database.read() as tx:
        rows = list(tx.rows("SELECT step, label, state FROM step WHERE attempt > 0", {}))
    return Counter(f"{step}[{label}]" for step, label, state in rows if not states or state in states)


def below(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from below(child)


@pytest.mark.faults
@pytest.mark.parametrize("target", ["runner", "parent", "step"])
def test_a_kill_costs_only_what_had_not_committed(project: Project, target: str, rng: random.Random) -> None:
    project.write(PIPELINE)
    project.apply()
    committed_at_kill = rng.randrange(5)
    process = run(project)
    while attempts(project, "done").total() < committed_at_kill and process.poll() is None:
        time.sleep(0.002)
    while not (steps := [grand for child in children(process.pid) for grand in children(child)]):
        assert process.poll() is None
        time.sleep(0.001)
    begun = list(below(process.pid))
    victim = {"runner": process.pid, "parent": children(process.pid)[0], "step": steps[0]}[target]
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    code = process.wait(60)
    if target == "runner":
        assert code == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in begun) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in begun)
    before = attempts(project)
    done = attempts(project, "done")
    again = run(project)
    assert again.wait(60) == 0, (project.folder / "errors.txt").read_text()
    after = attempts(project)
    every = {"first[]", *(f"middle[{n}]" for n in range(1, 6)), "last[]"}
    assert attempts(project, "done") == Counter(every)
    assert {name: after[name] for name in done} == {name: before[name] for name in done}
    assert project.call("ledger.verify").ok
