"""The step contract without a server, where the owner of the store needs no token; and on both databases."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import msgspec
import pytest

from falaj.core.entries import What
from falaj.core.errors import Conflict, Forbidden, NotFound, Unauthenticated
from falaj.pipelines.define import defined_in
from falaj.pipelines.errors import StaleAttempt
from falaj.platform import Platform
from falaj.platform.loops import Loops
from falaj.store import runs
from falaj.store.rows import RUN
from falaj.store.steps import STEP
from tests.cli.playing import falaj
from tests.pipelines.house import HEAD, Project
from tests.platform.places import Person, Served, make_place, serve
from tests.server.running import until

SMALL = """
@fj.step
def count(flights: fj.Dataset) -> int: return flights.table().num_rows

@fj.step
def twice(n: int, *, times: int) -> int:
    print(f"times {times}")
    if times > 5:
        raise ValueError("too often")
    return n * times

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main"), times: list[int] = [1, 2]):
    twice.map(n=count(flights), times=times)
"""


def test_steps_are_run_by_argv_on_an_embedded_store(project: Project) -> None:
    project.write(SMALL)
    project.apply()
    begun = project.call("pipeline.begin", pipeline="p")
    assert (begun.token, [step.items for step in begun.steps]) == ("", [None, 2])
    step = ("-C", project.folder, "step", "run", "--run", begun.run, "--json")
    told = [falaj(*step, "--step", "count")]
    told += [falaj(*step, "--step", "twice", "--item", item) for item in (1, 0)]
    assert [one.json["state"] for one in told] == ["done"] * 3
    assert [one.json.get("run_state") for one in told] == [None, None, "done"]
    run = project.call("run.show", run=begun.run)
    assert (run.state, run.result["computed"]) == ("done", 3)
    assert {(link.thing, link.role) for link in run.links if link.direction == "in"} == {
        ("pipeline/p:1", "pipeline"),
        ("dataset/flights:1", "data"),
    }
    assert project.call("run.reproduce", run=begun.run).ok
    assert project.run().computed == 0
    late = falaj(*step, "--step", "count", "--attempt", 2)
    assert (late.code, late.json["code"]) == (Conflict.exit_code, "stale_attempt")
    failed = project.call("pipeline.begin", pipeline="p", params={"times": [9]})
    step = ("-C", project.folder, "step", "run", "--run", failed.run, "--json")
    assert falaj(*step, "--step", "count").json["state"] == "cached"
    told = [falaj(*step, "--step", "twice", "--item", 0)]
    assert (told[0].json["code"], told[0].json["facts"]["again"]) == ("step_failed", False)
    assert told[0].json["message"] == "twice[9]: ValueError: too often (pipeline.py:10 in twice)"
    assert told[0].json["facts"]["log"].startswith("times 9\nTraceback")
    explained = falaj("-C", project.folder, "run", "explain", begun.run, "--step", "twice")
    assert {line.strip() for line in explained.lines if line.strip().startswith("times ")} == {"times 1", "times 2"}
    assert falaj("-C", project.folder, "run", "explain", begun.run, "--step", "none").code == NotFound.exit_code
    assert project.call("run.show", run=failed.run).state == "failed"
    assert project.call("ledger.verify").ok


def test_a_run_of_this_machine_is_not_lent_and_one_that_is_ends_with_its_time(project: Project) -> None:
    own = project.run(SMALL)
    for operation in ("step.claim", "step.items"):
        with pytest.raises(Conflict, match="by Falaj itself"):
            project.call(operation, run=own.run, step="count")
    lent = project.call("pipeline.begin", pipeline="p", params={"times": [3]})
    _expire(project, lent.run)
    with pytest.raises(StaleAttempt, match="over its time"):
        project.call("step.claim", run=lent.run, step="count")
    assert project.call("run.show", run=lent.run).state == "lost"
    project.platform.close()
    project.platform = Platform.open(project.folder)
    assert _state(project, lent.run) == "lost"
    # In a process that goes on it is found as well, without opening the store anew.
    other = project.call("pipeline.begin", pipeline="p", params={"times": [4]})
    said: list[str] = []
    loops = Loops(project.platform, lambda event, *_, **facts: said.append(f"{event} {facts.get('runs')}"))
    _expire(project, other.run)
    loops.round()
    assert (_state(project, other.run), said) == ("lost", [f"runs_lost {[other.run]}"])
    assert project.call("ledger.verify").ok


def _expire(project: Project, run: str) -> None:
    """Make the time that a run was lent for be over."""
    with project.platform.ground.units.begin(project.platform.caller.actor, "test") as unit:
        row = RUN.get(unit.tx, run, lock=True)
        assert row is not None
        unit.put(RUN, msgspec.structs.replace(row, owner=runs.lent("", "2020-01-01T00:00:00.000000Z")))
        unit.say(What.RUN_STARTED, [run])


def _state(project: Project, run: str) -> str:
    with project.platform.ground.database.read() as tx:
        row = RUN.get(tx, run)
    return row.state if row else ""


def test_a_lent_run_on_both_databases(tmp_path: Path, database_address: str) -> None:
    served = serve(make_place(tmp_path / "flights"), database_address)
    try:
        sara = served.person("sara", ("contributor", "project:flights"))
        text = HEAD + SMALL.replace("flights: fj.Dataset", "flights: int").replace(
            "flights.table().num_rows", "flights"
        )
        text = text.replace('fj.dataset("flights@main")', "7")
        (tmp_path / "pipeline.py").write_text(text, encoding="utf-8")
        (graph,) = defined_in(tmp_path / "pipeline.py")
        source = tmp_path / "source.json"
        source.write_text(json.dumps({"pipeline.py": text}), encoding="utf-8")
        sara.call("pipeline.apply", graph=msgspec.to_builtins(graph), source=sara.stage(source))
        begun = sara.call("pipeline.begin", pipeline="p")
        lent = served.another_token("sara", expires_in="2h")
        shorter = lent.call("pipeline.begin", pipeline="p", expires_in="8h")  # by a token that ends sooner
        mine = [one.expires_at for one in served.owner.call("token.list", project="", principal="sara")]
        assert shorter.expires_at in mine
        assert shorter.expires_at < begun.expires_at
        lent.token = begun.token
        for step, item in (("count", -1), ("twice", 0), ("twice", 1)):
            what = {"run": begun.run, "step": step, "item": item, "attempt": 1}
            assert lent.call("step.claim", **what).state == "running"
            (tmp_path / "value.json").write_text("14")
            manifest = {"type": "int", "files": ["value.json"], "value": 14}
            files = [lent.stage(tmp_path / "value.json")]
            told = lent.call("step.commit", **what, manifest=manifest, files=files)
            assert (told.state, told.is_last) == ("done", item == 1)
        with pytest.raises((Forbidden, NotFound)):
            lent.call("run.list")
        assert lent.call("step.settle", run=begun.run).state == "done"
        with pytest.raises(Unauthenticated):
            lent.call("step.settle", run=begun.run)
        _check_the_second_of_two_failures_is_the_last(served, sara)
        assert (
            sara.call("pipeline.run", pipeline="p").computed == 3
        )  # what a client says of its environment is in the key
        assert served.owner.call("ledger.verify", project="").ok
    finally:
        served.platform.close()


def _check_the_second_of_two_failures_is_the_last(served: Served, sara: Person) -> None:
    """Two attempts fail at the same moment: the second one waits for what the first one writes down."""
    begun = sara.call("pipeline.begin", pipeline="p", params={"times": [3, 4], "flights": 8})
    lent = served.another_token("sara")
    lent.token = begun.token
    made = {"run": begun.run, "step": "count", "attempt": 1}
    lent.call("step.claim", **made)
    manifest = {"type": "int", "files": ["value.json"], "value": 8}
    value = served.platform.layout.place / "value.json"
    value.write_text("8")
    lent.call("step.commit", **made, manifest=manifest, files=[lent.stage(value)])
    for item in (0, 1):
        lent.call("step.claim", run=begun.run, step="twice", item=item)
    told: list[bool] = []

    def fail() -> None:
        said = {"sort": "raised", "message": "no"}
        told.append(lent.call("step.fail", run=begun.run, step="twice", item=1, attempt=1, **said).is_last)

    second = threading.Thread(target=fail)
    with served.platform.ground.units.begin(served.platform.caller.actor, "test") as unit:
        RUN.get(unit.tx, begun.run, lock=True)
        row = STEP.get(unit.tx, begun.run, "twice", 0, 1)
        assert row is not None
        unit.put(STEP, msgspec.structs.replace(row, state="failed", error={"code": "raised", "message": "no"}))
        unit.say(What.STEP_ENDED, [begun.run])
        second.start()
        if served.platform.ground.database.dialect == "postgresql":  # on SQLite writers are alone
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            until(lambda: told or any(unit.tx.row(waiting) or ()))
    second.join(30)
    assert told == [True]
