"""A hundred times `kill -9` of steps, fork parents and runners at moments drawn by the seed, on one store.

Whatever was ended, the same command brings the run to its end: no step commits twice, and the outputs are as they would
have been.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines import runners
from tests.pipelines.house import Project, children, is_running

KILLS = {"step": 64, "parent": 18, "runner": 18}
LATEST_S = 0.06
PIPELINE = """
import time

@fj.step(retries=10)
def first(salt: int) -> int:
    time.sleep(0.02)
    return salt

@fj.step(retries=10)
def middle(a: int, *, n: int) -> int:
    time.sleep(0.03)
    return a * n

@fj.step(retries=10)
def last(parts: list[int]) -> int:
    time.sleep(0.02)
    return sum(parts)

@fj.pipeline
def p(salt: int, ns: list[int] = [1, 2, 3, 4, 5, 6, 7, 8]):
    last(middle.map(a=first(salt), n=ns))
"""


class Runner:
    """A runner of the nursery, while it works."""

    def __init__(self, nursery: subprocess.Popen[str], salt: int) -> None:
        assert nursery.stdin is not None
        nursery.stdin.write(json.dumps({"salt": salt}) + "\n")
        nursery.stdin.flush()
        self._nursery = nursery
        word, self.pid = self._said()
        assert word == "pid"

    def ended(self) -> int:
        """Its exit code, once it has one."""
        word, status = self._said()
        assert word == "ended"
        return int(status)

    def victim(self, target: str) -> int | None:
        """A process of that sort that runs now; None once there will be none."""
        while is_running(self.pid):
            parents = children(self.pid)
            found = {
                "runner": [self.pid] if parents else [],
                "parent": parents,
                "step": [one for parent in parents for one in children(parent)],
            }[target]
            if found:
                return found[-1]
            time.sleep(0.001)
        return None

    def _said(self) -> list[object]:
        assert self._nursery.stdout is not None
        line = self._nursery.stdout.readline()
        assert line, "the nursery ended"
        said: list[object] = json.loads(line)
        return said


@pytest.fixture
def nursery(project: Project) -> Iterator[subprocess.Popen[str]]:
    project.write(PIPELINE)
    project.apply()
    words = [sys.executable, "-m", "tests.pipelines.runners", str(project.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    root = Path(__file__).parents[2]
    with subprocess.Popen(words, cwd=root, text=True, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
    assert process.returncode == 0


def kill(pid: int | None, after_s: float) -> bool:
    """End a process at once, after a moment; whether it was there to be ended."""
    time.sleep(after_s)
    if pid is None or not is_running(pid):
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(600)  # half a minute on two idle cores
def test_a_hundred_kills_commit_nothing_twice_and_change_no_output(
    project: Project, nursery: subprocess.Popen[str], rng: random.Random
) -> None:
    left, killed, salt = Counter(KILLS), Counter[str](), 0
    while left.total():
        salt += 1
        status, tries = None, 0
        while status != 0:
            tries += 1
            assert tries < 60
            runner = Runner(nursery, salt)
            planned = [target for target in left.elements() if target != "runner"]
            targets = rng.sample(planned, min(len(planned), 6)) + ["runner"] * (
                left["runner"] > 0 and rng.random() < 0.7
            )
            for target in targets:
                if kill(runner.victim(target), rng.uniform(0, LATEST_S)):
                    left[target] -= 1
                    killed[target] += 1
            left = +left
            status = runner.ended()
            assert status in (0, runners.FAILED, -signal.SIGKILL)
    assert killed.total() >= 100
    told = [project.run(salt=one) for one in range(1, salt + 1)]
    assert [project.value(one, "last") for one in told] == [36 * one for one in range(1, salt + 1)]
    assert all(one.computed == 0 for one in told)
    with project.platform.ground.database.read() as tx:
        twice = list(tx.rows("SELECT key FROM step WHERE state = 'done' GROUP BY key HAVING count(*) > 1", {}))
        done = tx.row("SELECT count(*) FROM step WHERE state = 'done'", {})
    assert (twice, done) == ([], (10 * salt,))
    assert project.call("ledger.verify").ok
    assert project.call("store.verify").ok
