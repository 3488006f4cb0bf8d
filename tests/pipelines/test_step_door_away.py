"""A door that is away for a while ends no attempt, and nothing is done twice when it answers again."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from falaj import capture
from falaj.core.errors import Unavailable
from falaj.engines import contract
from falaj.engines.contract import Attempt
from falaj.pipelines.errors import RunCancelled
from falaj.session import Session
from tests.pipelines.house import Project

STEPS = """
import os, time

@fj.step
def count(flights: fj.Dataset, *, n: int) -> int: return n + flights.table().num_rows

@fj.step
def waits(n: int) -> int:
    while not os.path.exists("never"):
        time.sleep(0.01)
    return n

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main"), n: int = 0): waits(count(flights, n=n))

@fj.pipeline
def alone(flights: fj.Dataset = fj.dataset("flights@main")): count(flights, n=1000)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("away") / "flights")
    made.write(STEPS)
    made.apply()
    yield made
    made.platform.close()


class Weak:
    """A door that is away when some operations are asked for the first time, before or after it did them.

    Args:
        busy: it cannot settle a run when it is asked for the first time.
    """

    def __init__(self, session: Session, before: str = "", after: str = "", *, busy: bool = False) -> None:
        self.session, self.before, self.after, self.busy = session, before.split(), after.split(), busy
        self.asked: list[str] = []
        self.told = threading.Event()

    def call(self, operation: str, args: Mapping[str, Any] = {}, *, idempotency_key: str = "") -> Any:
        first = operation not in self.asked
        self.asked.append(operation)
        if first and operation in self.before:
            raise Unavailable("nobody answers")
        if first and self.busy and operation == "step.settle":  # as where another process registers meanwhile
            return {"state": "running"}
        answer = self.session.call(operation, args, idempotency_key=idempotency_key)
        if first and operation in self.after:
            raise Unavailable("the answer broke off")
        if operation == "run.steps":
            self.told.set()
        return answer

    def stage(self, path: Path) -> dict[str, Any]:
        return self.session.stage(path)

    def stream(self, operation: str, args: Mapping[str, Any] = {}) -> Iterator[bytes]:
        first = operation not in self.asked
        self.asked.append(operation)
        if first and operation in self.before:
            raise Unavailable("nobody answers")
        yield from self.session.stream(operation, args)


def attempt(door: Weak, run: str, step: str, folder: Path, number: int = 1) -> Attempt:
    folder.mkdir()
    return Attempt(door, run, step, -1, number, capture.environment(), folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [("step.input step.commit", ""), ("", "step.commit"), ("", "step.fail"), ("step.fail", "")],
    ids=["away", "commit without an answer", "failure without an answer", "away at a failure"],
)
def test_a_door_that_is_away_is_asked_again(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    monkeypatch.setattr(contract, "PAUSE_S", (0.01, 0.02))
    fails = "step.fail" in before + after
    run = project.call("pipeline.begin", pipeline="p", params={"n": len(before) * 100 + len(after)}).run
    door = Weak(project.platform.session("flights"), before, after)
    if fails:  # what it takes is gone before it begins
        door.session.call("step.claim", {"run": run, "step": "count"})
        door.session.call("step.fail", {"run": run, "step": "count", "attempt": 1, "sort": "lost", "message": "x"})
    one = attempt(door, run, "count", tmp_path / "attempt", 2 if fails else 1)
    if fails:
        (tmp_path / "attempt" / "inputs").write_text("no folder can be made here")
        with pytest.raises(Exception, match="count"):
            one.run()
    else:
        told = one.run()
        assert (told["state"], told["output"].startswith("artifact/p.count:")) == ("done", True)
    rows = project.call("run.steps", run=run, step="count").steps
    assert [row.state for row in rows] == (["lost", "lost"] if fails else ["done"])
    assert project.call("ledger.verify").ok


def test_a_look_that_is_not_answered_ends_nothing_and_a_cancel_does(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "LOOK_S", (0.01, 0.02))
    run = project.call("pipeline.begin", pipeline="p", params={"n": 7}).run
    session = project.platform.session("flights")
    attempt(Weak(session), run, "count", tmp_path / "first").run()
    door = Weak(session, before="run.steps")
    ended: list[BaseException] = []

    def work() -> None:
        try:
            attempt(door, run, "waits", tmp_path / "second").run()
        except RunCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert door.told.wait(20)  # the first look was not answered, and the second one was
    assert not ended
    project.call("run.cancel", run=run)
    thread.join(20)
    assert [error.message for error in ended] == [f"run {run} is cancelled"]


def test_a_run_that_another_process_is_at_is_settled_once_that_is_done(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "PAUSE_S", (0.01, 0.02))
    run = project.call("pipeline.begin", pipeline="alone").run
    door = Weak(project.platform.session("flights"), busy=True)
    assert attempt(door, run, "count", tmp_path / "attempt").run()["run_state"] == "done"
    assert door.asked.count("step.settle") == 2
