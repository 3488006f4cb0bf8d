"""`kill -9` around every transaction of a start, drawn by the seed: one start, one model, one verdict, one move."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.store.rows import ASSET, REF_MOVE, RUN, VERDICT, VERSION
from falaj.store.steps import STEP
from falaj.store.triggers import START
from tests.pipelines.house import Project

ROOT = Path(__file__).parents[2]
PIPELINE = """
import numpy as np
from sklearn.linear_model import LogisticRegression

@fj.step
def rows(flights: fj.Dataset) -> fj.Table:
    return flights.sql("SELECT id::DOUBLE AS x, id % 5 > 2 AS late FROM flights ORDER BY id")

@fj.step
def train(data: fj.Table) -> fj.Model:
    return LogisticRegression().fit(np.array([data["x"]]).T, np.array(data["late"]))

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main")):
    fj.register("late", train(rows(flights)), label="id > 2", columns=["x"])
"""
GATE = """
gate: release
guards: [late@production]
rules:
  - check: signature
  - approval: {from: maintainer, not: proposer}
    embedded: waive
"""
TRIGGER = "trigger: again\nwhen: {any: [new_version: flights@main]}\nstart: p\npropose: late@production\n"
CAUSES, KILLS, TRANSACTIONS = 1, 2, 24  # as many as an undisturbed start has, but for the last


def watch(project: Project, number: int, moment: str = "after") -> int:
    """`falaj watch --once`, ended at a transaction; its exit status."""
    words = [sys.executable, "-W", "error", "-m", "tests.triggers.dying", str(project.folder), str(number), moment]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


@pytest.fixture
def project(tmp_path: Path, database_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project on either database, with a pipeline, a gate and a trigger."""
    monkeypatch.setenv("FALAJ_DATABASE", database_address)
    made = Project(tmp_path / "flights")
    made.write(PIPELINE)
    made.apply()
    files = {"gates/release.yaml": GATE, "triggers.yaml": TRIGGER}
    made.call("config.apply", files=[{"path": path, "text": text} for path, text in files.items()])
    yield made
    made.platform.close()


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_any_transaction_leaves_one_start_that_goes_on(project: Project, rng: random.Random) -> None:
    kills = 0
    for cause in range(1, CAUSES + 1):
        project.add_data(100 * cause)
        for _ in range(KILLS):  # more would make it wait: what dies again and again is tried less and less often
            kills += watch(project, rng.randint(1, TRANSACTIONS), rng.choice(["before", "after"])) != 0
        assert watch(project, 0) == 0
        check(project, cause)
    assert kills > 0


def check(project: Project, causes: int) -> None:
    with project.platform.ground.database.read() as tx:
        starts = sorted(START.scan(tx), key=lambda start: start.number)
        runs = {run.id: run for run in RUN.scan(tx)}
        verdicts = list(VERDICT.scan(tx))
        moves = [move for move in REF_MOVE.scan(tx) if move.ref == "production"]
        kinds = {asset.id: asset.kind for asset in ASSET.scan(tx)}
        models = [version for version in VERSION.scan(tx) if kinds[version.asset] == "model"]
        steps = Counter((step.step, step.key) for step in STEP.scan(tx) if step.state == "done")
        cause = [m.entry for m in REF_MOVE.where(tx, "ref = 'main' AND sort = 'move' ORDER BY at", {})]
    assert [(one.number, one.state, one.outcome.get("sort"), one.error) for one in starts] == [
        (number, "done", "promote", None) for number in range(1, causes + 1)
    ]
    assert [one.entry for one in starts] == [entry for entry in cause if entry in {one.entry for one in starts}]
    assert len({one.registered for one in starts}) == len(moves) == len(verdicts) == causes
    assert {verdict.used_by for verdict in verdicts} == {move.entry for move in moves}
    assert len(models) == causes
    assert set(steps.values()) == {1}
    ended = Counter(runs[run].state for one in starts for run in one.runs)
    assert ended["done"] == causes
    assert set(ended) <= {"done", "lost", "failed"}
    assert project.call("ledger.verify").ok
