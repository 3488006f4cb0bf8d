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
from pathlib import Path

import pytest

from tests.pipelines.house import Project, is_running

PIPELINE = """
import time

def mark(marks, name):
    with open(marks, "a") as file:
        file.write(name + "\\n")
    time.sleep(0.05)

@fj.step
def first(marks: str) -> int:
    mark(marks, "first")
    return 1

@fj.step
def middle(a: int, *, n: int, marks: str) -> int:
    mark(marks, f"middle[{n}]")
    return a + n

@fj.step
def last(parts: list[int], marks: str) -> int:
    mark(marks, "last")
    return sum(parts)

@fj.pipeline
def p(marks: str, ns: list[int] = [1, 2, 3, 4, 5]):
    last(middle.map(a=first(marks), n=ns, marks=marks), marks)
"""


def run(project: Project, marks: Path) -> subprocess.Popen[bytes]:
    words = ["-C", str(project.folder), "-q", "pipeline", "run", "p", "--param", f"marks={marks}"]
    with marks.with_suffix(".err").open("wb") as errors:
        return subprocess.Popen([sys.executable, "-m", "falaj.cli.main", *words], stderr=errors)


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def committed(project: Project) -> set[str]:
    with project.platform.ground.database.read() as tx:
        rows = list(tx.rows("SELECT step, label FROM step WHERE state = 'done'", {}))
    return {f"{step}[{label}]" if label else str(step) for step, label in rows}


def below(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from below(child)


@pytest.mark.faults
@pytest.mark.parametrize("target", ["runner", "parent", "step"])
def test_a_kill_costs_only_what_had_not_committed(project: Project, tmp_path: Path, target: str, seed: int) -> None:
    rng = random.Random(f"{seed} {target}")
    project.write(PIPELINE)
    project.apply()
    marks = tmp_path / "marks"
    marks.touch()
    lines_at_kill = rng.randrange(1, 6)
    process = run(project, marks)
    while len(marks.read_text().splitlines()) < lines_at_kill and process.poll() is None:
        time.sleep(0.002)
    victims = {
        "runner": [process.pid],
        "parent": children(process.pid)[:1],
        "step": [grand for child in children(process.pid) for grand in children(child)][:1],
    }[target]
    begun = list(below(process.pid))
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    code = process.wait(60)
    before, ran = committed(project), Counter(marks.read_text().splitlines())
    if target == "runner":
        assert code == -signal.SIGKILL
        deadline = time.monotonic() + 20
        while any(is_running(pid) for pid in begun) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(is_running(pid) for pid in begun)
        ran = Counter(marks.read_text().splitlines())
    again = run(project, marks)
    assert again.wait(60) == 0, marks.with_suffix(".err").read_text()
    after = Counter(marks.read_text().splitlines())
    assert committed(project) == {"first", *(f"middle[{n}]" for n in range(1, 6)), "last"}
    assert {name: after[name] for name in before} == {name: ran[name] for name in before}
    assert all(after[name] >= 1 for name in committed(project))
    assert project.call("ledger.verify").ok
