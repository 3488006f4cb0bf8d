"""Runs that are lent, as the door sees them: each comes to an end, whatever its steps come to, and says how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from falaj.core.errors import NotFound
from falaj.pipelines.engine import ENGINE
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.rules import MAX_LOST
from tests.pipelines.house import Project

STEPS = """
@fj.step
def numbers(flights: fj.Dataset, *, n: int) -> list[int]: return list(range(n))

@fj.step
def twice(n: int) -> int: return 2 * n

@fj.step
def measure(n: int) -> fj.Metrics: return {"error": n}

@fj.step
def model(flights: fj.Dataset, *, n: int) -> fj.Model: return None

@fj.step
def models(n: int) -> fj.Model: return None

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main"), n: int = 2): twice.map(n=numbers(flights, n=n))

@fj.pipeline
def choice(few: list[int] = [1]): fj.best(models.map(n=few), measure.map(n=few), by="auc")

@fj.pipeline
def registers(flights: fj.Dataset = fj.dataset("flights@main"), n: int = 1):
    fj.register("late", model(flights, n=n), label="id > 2", columns=["id"])
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("lent") / "flights")
    made.write(STEPS)
    made.apply()
    yield made
    made.platform.close()


class Lent:
    """A run that was lent to nobody but the test, which speaks to the door."""

    def __init__(self, project: Project, pipeline: str, **params: Any) -> None:
        self.project = project
        self.run = project.call("pipeline.begin", pipeline=pipeline, params=params).run

    def __call__(self, operation: str, /, **args: Any) -> Any:
        return self.project.call(f"step.{operation}", run=self.run, **args)

    def claim(self, step: str, **more: Any) -> Any:
        environment = self.project.platform.ground.port(ENGINE).environment()
        return self("claim", step=step, environment=environment, **more)

    def commit(self, step: str, kind: str, made: Any, *, inside: bool = True, **more: Any) -> Any:
        """Claim an attempt and commit a value, or the bytes of a file, as what it made."""
        self.claim(step, **more)
        file = self.project.folder / ("value.json" if inside or kind != "model" else "model.skops")
        file.write_bytes(made if isinstance(made, bytes) else json.dumps(made).encode())
        manifest = {"type": kind, "files": [file.name], **({"value": made} if inside else {})}
        environment = self.project.platform.ground.port(ENGINE).environment()
        args = {"step": step, "attempt": 1, "manifest": manifest, "files": [self.project.stage(file)], **more}
        return self("commit", environment=environment, **args)

    def ended(self) -> tuple[str, str, str]:
        """State, code and message of the run."""
        self("settle")
        row = self.project.call("run.show", run=self.run)
        error = row.error or {}
        return row.state, error.get("code", ""), error.get("message", "")


@pytest.mark.parametrize(
    ("made", "inside", "words"),
    [
        ([], True, "twice.map: 0 items"),
        (b"no JSON", False, "numbers: its file holds no list[int]"),
        (b'{"a": 1}', False, "numbers: its file holds no list[int]"),
    ],
    ids=["empty", "not JSON", "no list"],
)
def test_a_run_whose_map_cannot_be_laid_out_ends_as_failed(steps: Project, made: Any, inside: bool, words: str) -> None:
    lent = Lent(steps, "p", n=len(made) + 10)
    assert lent.commit("numbers", "list[int]", made, inside=inside).is_last
    for operation, args in (("claim", {"step": "twice", "item": 0}), ("items", {"step": "twice"})):
        with pytest.raises(PipelineInvalid):
            lent(operation, **args)
    state, code, message = lent.ended()
    assert (state, code) == ("failed", "pipeline_invalid")
    assert words in message


def test_a_run_with_nothing_to_choose_by_ends_as_failed(steps: Project) -> None:
    lent = Lent(steps, "choice")
    assert not lent.commit("models", "model", estimator(steps.folder), inside=False, item=0).is_last
    assert lent.commit("measure", "metrics", {"error": 1}, item=0).is_last
    assert lent.ended() == ("failed", "pipeline_invalid", "best: item 0 has no number 'auc'")


def estimator(folder: Path) -> bytes:
    skops.io.dump(LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 1]), folder / "model.skops")
    return (folder / "model.skops").read_bytes()


def test_an_attempt_that_is_lost_too_often_ends_its_run(steps: Project) -> None:
    lent = Lent(steps, "p", n=50)
    for attempt in range(1, MAX_LOST + 2):
        lent.claim("numbers", attempt=attempt)
        told = lent("fail", step="numbers", attempt=attempt, sort="lost", message="the machine went away")
        assert (told.again, told.is_last) == (attempt <= MAX_LOST, attempt > MAX_LOST)
    state, code, message = lent.ended()
    assert (state, code) == ("failed", "step_failed")
    assert "the machine went away" in message


def test_a_result_that_came_by_another_run_gives_the_attempt_underway_up(steps: Project) -> None:
    lent = Lent(steps, "registers", n=60)
    assert lent.claim("model").state == "running"
    Lent(steps, "registers", n=60).commit("model", "model", estimator(steps.folder), inside=False)
    told = lent.claim("model", attempt=2)
    assert (told.state, told.is_last) == ("cached", True)
    rows = steps.call("run.steps", run=lent.run).steps
    assert {(row.attempts, row.state) for row in rows} == {(1, "lost"), (0, "cached")}
    assert lent.ended() == ("done", "", "")


def test_a_model_that_cannot_be_read_to_be_registered_ends_the_run(tmp_path: Path) -> None:
    project = Project(tmp_path / "flights")
    try:
        project.write(STEPS)
        project.apply()
        lent = Lent(project, "registers")
        assert lent.commit("model", "model", estimator(tmp_path), inside=False).is_last
        for file in (project.folder / ".falaj" / "objects").rglob("*"):
            if file.is_file():
                file.chmod(0o600)
                file.write_bytes(b"")
        assert lent.ended()[:2] == ("failed", "step_failed")
        with pytest.raises(NotFound):
            project.call("asset.show", thing="model/late")
    finally:
        project.platform.close()


def test_the_second_file_of_an_attempt_is_found_without_laying_out_the_run(steps: Project) -> None:
    lent = Lent(steps, "p", n=70)
    lent.claim("numbers")
    said: list[str] = []
    connection = steps.platform.ground.database._connection()
    counts = []
    for path in ("source.json", "dataset/flights/1/rows.csv", "source.json"):
        connection.set_trace_callback(said.append)
        b"".join(lent("input", step="numbers", attempt=1, path=path))
        connection.set_trace_callback(None)
        counts.append(sum(one.startswith("SELECT") for one in said))
        said.clear()
    assert counts[1] < counts[0] / 2 > counts[2], counts
