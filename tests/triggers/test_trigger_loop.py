"""The loop: what a start does from cause to ref; causes that come meanwhile; refusals; stopping; `falaj watch`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from falaj.cli.commands.watch import WorkWaits
from falaj.cli.main import main
from falaj.core.encoding import moment
from falaj.platform import Platform
from falaj.platform.loops import Loops
from falaj.platform.waiting import Waiting
from tests.pipelines.house import Project
from tests.platform.places import rows
from tests.triggers.test_trigger_kills import GATE, PIPELINE, TRIGGER

WAITING = """
import time

@fj.step
def wait(flights: fj.Dataset, *, seconds: float) -> int:
    time.sleep(seconds)
    return 1

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main"), seconds: float = 0):
    wait(flights, seconds=seconds)
"""


class Said:
    """What a loop told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, level: str = "info", **facts: Any) -> None:
        self.events.append((event, facts))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.events if name == event]


def prepared(project: Project, pipeline: str, trigger: str, gate: str = "") -> None:
    project.write(pipeline)
    project.apply()
    files = {"triggers.yaml": trigger} | ({"gates/release.yaml": gate} if gate else {})
    project.call("config.apply", files=[{"path": path, "text": text} for path, text in files.items()])


def history(project: Project, limit: int = 20) -> list[Any]:
    (one,) = project.call("trigger.list", limit=limit)
    return list(one.history)


def until(true: Callable[[], Any]) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError


def test_from_a_new_version_to_the_ref_or_to_the_verdict_that_refused_it(project: Project) -> None:
    prepared(project, PIPELINE, TRIGGER, GATE)
    loops = Loops(project.platform, said := Said())
    loops.until_idle()
    assert history(project) == []
    project.add_data(100)
    loops.until_idle()
    (one,) = history(project)
    assert (one.state, one.became, one.registered, one.pipeline) == ("done", "promote", "model/late:1", "p:1")
    assert len(one.verdicts) == 1
    assert project.call("asset.show", thing="model/late@production").shown.version == 1
    assert [facts["state"] for facts in said.of("start_ended")] == ["done"]
    (run,) = one.runs
    assert project.call("run.show", run=run).params["params"] == {"flights": "dataset/flights:2"}
    stricter = GATE.replace("    embedded: waive\n", "")
    project.call("config.apply", files=[{"path": "gates/release.yaml", "text": stricter}])
    project.add_data(200)
    loops.until_idle()
    (two, _) = history(project)
    assert (two.state, two.became, two.error["code"]) == ("refused", "refused", "gate_refused")
    assert two.registered == "model/late:2"
    verdict = project.call("gate.show", verdict=two.verdicts[0])
    assert not verdict.passed
    assert project.call("asset.show", thing="model/late@production").shown.version == 1
    assert [facts["state"] for facts in said.of("start_ended")] == ["done", "refused"]
    assert loops.failures == 0
    assert project.call("ledger.verify").ok


def test_a_pipeline_without_the_model_fails_its_start(project: Project) -> None:
    prepared(project, WAITING, TRIGGER)
    project.add_data(100)
    Loops(project.platform, Said()).until_idle()
    (one,) = history(project)
    assert (one.state, one.error["code"]) == ("failed", "nothing_registered")


def test_causes_that_come_while_a_start_is_underway_wait_and_the_newest_stands_for_them(project: Project) -> None:
    prepared(project, WAITING, TRIGGER.replace("propose: late@production\n", "params: {seconds: 60}\n"))
    loops = Loops(project.platform, Said(), every_s=0.02)
    project.add_data(100)
    loops.start()
    until(lambda: history(project) and history(project)[0].runs)
    for start in (200, 300, 400):
        project.add_data(start)
    until(lambda: len(history(project)) == 4)
    assert [one.state for one in history(project)] == ["due", "due", "due", "running"]
    project.call("run.cancel", run=history(project)[-1].runs[0])
    until(lambda: history(project)[0].runs)
    assert [(one.number, one.state, one.covered_by) for one in reversed(history(project))] == [
        (1, "failed", None),
        (2, "covered", 4),
        (3, "covered", 4),
        (4, "running", None),
    ]
    loops.stop()
    assert history(project)[-1].error["code"] == "run_cancelled"
    assert loops.failures == 0


def test_stopping_interrupts_what_runs_and_the_next_process_goes_on(project: Project) -> None:
    trigger = TRIGGER.replace("propose: late@production\n", "params: {seconds: 60}\n")
    prepared(project, WAITING, trigger)
    project.add_data(100)
    loops = Loops(project.platform, Said(), every_s=0.02)
    loops.start()
    until(lambda: history(project) and history(project)[0].runs)
    loops.stop()
    (one,) = history(project)
    assert (one.state, one.attempt, one.error["code"]) == ("due", 1, "loop_stopped")
    assert loops.failures == 0
    project.platform.close()
    project.platform = Platform.open(project.folder)
    again = Loops(project.platform, Said(), every_s=0.02)
    again.start()
    until(lambda: history(project)[0].attempt == 2 and len(history(project)[0].runs) == 2)
    again.stop()
    assert len(history(project)) == 1
    assert project.call("ledger.verify").ok


def test_all_of_the_conditions_start_once_each_was_met_and_what_comes_in_a_pause_is_past(project: Project) -> None:
    both = TRIGGER.replace(
        "any: [new_version: flights@main]", "all: [new_version: flights@main, new_version: flights@b]"
    )
    both = both.replace("propose: late@production\n", "")
    prepared(project, WAITING, both)
    loops = Loops(project.platform, Said())

    def states() -> list[str]:
        loops.until_idle()
        return [one.state for one in reversed(history(project))]

    project.add_data(100)
    project.add_data(200)
    assert states() == ["met", "met"]
    file = rows(project.folder / "b.csv", 300)
    project.call("data.add", dataset="flights", files=[project.stage(file)], ref="b", mode="replace")
    assert states() == ["covered", "covered", "done"]
    files = [{"path": "triggers.yaml", "text": f"{both}{paused}"} for paused in ("paused: true\n", "")]
    project.call("config.apply", files=files[:1])
    project.add_data(400)
    project.call("config.apply", files=files[1:])
    assert states() == ["covered", "covered", "done"]
    project.add_data(500)
    assert states() == ["covered", "covered", "done", "met"]
    assert [one.covered_by for one in history(project)] == [None, None, 3, 3]


def test_who_ends_says_what_is_left_and_until_when(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A start rests where it failed before its row says so, and after three attempts; no round follows another."""
    prepared(project, WAITING, TRIGGER)
    project.add_data(100)
    told = {"sort": "start", "project": "flights", "name": "again", "start": 1}
    assert Loops(project.platform, Said(), starts=0).until_idle() == [Waiting(**told)]
    database = project.platform.ground.database
    with database.write() as tx:
        tx.run("ALTER TABLE run RENAME TO elsewhere")
    at = moment(datetime.now(UTC))
    (left,) = Loops(project.platform, said := Said()).until_idle()
    assert (left.start, left.attempt, left.until > at) == (1, 1, True), said.events
    with database.write() as tx:
        tx.run("ALTER TABLE elsewhere RENAME TO run")
        at = moment(datetime.now(UTC) + timedelta(hours=1))
        tx.run("UPDATE trigger_start SET attempt = 3, began_at = :at", {"at": at})
    project.platform.close()
    assert main(["-C", str(project.folder), "watch", "--once", "--json"]) == WorkWaits.exit_code
    error = json.loads(capsys.readouterr().out)
    assert error["code"] == "work_waits"
    assert "again: start 1 waits until" in error["message"]
    (waits,) = error["facts"]["waiting"]
    assert waits["until"] > at
    assert {**waits, "until": ""} == {**told, "attempt": 3, "until": "", "why": ""}


def test_a_thread_that_cannot_be_had_is_asked_for_again(project: Project) -> None:
    prepared(project, PIPELINE, TRIGGER.replace("propose: late@production\n", ""))
    project.add_data(100)
    loops = Loops(project.platform, said := Said())
    before = threading.stack_size(1 << 50)  # no machine has room for it
    try:
        loops.round()
    finally:
        threading.stack_size(before)
    assert (loops.running, loops.failures, len(said.of("loop_failed"))) == (0, 1, 1)
    assert loops.until_idle() == []
    assert history(project)[0].state == "done"


def test_a_loop_outlives_what_fails(project: Project) -> None:
    prepared(project, WAITING, TRIGGER)
    loops = Loops(project.platform, said := Said())
    with project.platform.ground.database.write() as tx:
        tx.run("ALTER TABLE trigger_start RENAME TO elsewhere")
    loops.round()
    loops.round()
    assert loops.failures == 2
    assert len(said.of("loop_failed")) == 1
    with project.platform.ground.database.write() as tx:
        tx.run("ALTER TABLE elsewhere RENAME TO trigger_start")
    loops.round()
    assert (loops.failures, loops.rounds) == (2, 3)


def test_a_person_fires_and_looks(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(project, PIPELINE, TRIGGER, GATE)
    project.platform.close()
    place = ["-C", str(project.folder)]
    assert main([*place, "trigger", "fire", "again", "--reason", "to see"]) == 0
    assert "again start 1   done   late v1   promoted" in capsys.readouterr().out
    (project.folder / "triggers.yaml").write_text(TRIGGER.replace("start: p", "start: q"), encoding="utf-8")
    assert main([*place, "apply"]) == 0
    assert "trigger/again" in capsys.readouterr().out
    assert main([*place, "trigger", "fire", "again"]) == 3
    assert main([*place, "watch", "--once"]) == 0
    capsys.readouterr()
    assert main([*place, "trigger", "list"]) == 0
    head, second, first = capsys.readouterr().out.splitlines()
    words = "again v2 new_version: flights@main starts q proposes late@production not there: pipeline/q"
    assert head.split() == words.split()
    assert "failed" in second
    assert "not for you" in second
    assert "done" in first
    assert "late v1   promoted" in first


def test_watching_is_for_embedded_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9", "--project", "flights", "watch"]) != 0
    capsys.readouterr()
