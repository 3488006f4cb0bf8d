"""The step contract: an engine that only runs `falaj step run …` brings a pipeline to its end, and is fenced."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from falaj import capture
from falaj.access import tokens
from falaj.access.rows import PRINCIPAL, TOKEN
from falaj.client import RemoteSession, claim
from falaj.core.entries import What
from falaj.core.errors import FalajError
from falaj.pipelines import sending
from tests.cli.playing import Folder, Server
from tests.pipelines.house import HEAD, children, is_running
from tests.platform.places import contract, make_place, rows
from tests.server.house import House
from tests.server.running import until

PIPELINE = (
    HEAD
    + """
import numpy as np
from sklearn.linear_model import LogisticRegression

@fj.step
def cities(flights: fj.Dataset) -> fj.Table:
    return flights.sql("SELECT id::DOUBLE AS x, id > 2 AS late FROM flights ORDER BY id")

@fj.step
def penalties(data: fj.Table) -> list[float]: return [0.01, 10.0]

@fj.step
def train(data: fj.Table, *, c: float) -> fj.Model:
    fj.log(rows=data.num_rows)
    return LogisticRegression(C=c).fit(np.array([data["x"]]).T, np.array(data["late"]))

@fj.step
def evaluate(model: fj.Model, data: fj.Table) -> fj.Metrics:
    wrong = np.abs(model.predict_proba(np.array([data["x"]]).T)[:, 1] - np.array(data["late"]))
    return {"error": wrong.mean()}

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main")):
    data = cities(flights)
    models = train.map(data=data, c=penalties(data))
    best = fj.best(models, evaluate.map(model=models, data=data), by="error", least=True)
    fj.register("late", best, label="id > 2", columns=["x"])
"""
)


class Engine:
    """A foreign engine: knows a server, a run and its token, and the argv. Nothing else is Falaj's."""

    def __init__(self, url: str, begun: Mapping[str, Any], place: Path) -> None:
        self.run, self.steps, self.place = begun["run"], begun["steps"], place
        self.env = {"PATH": os.environ["PATH"], "HOME": str(place), "FALAJ_URL": url, "FALAJ_PROJECT": "flights"}
        self.env["FALAJ_TOKEN"] = begun["token"]

    def falaj(self, *words: object) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "falaj.cli.main", *map(str, words), "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(argv, env=self.env, cwd=self.place, text=True, **pipes)

    def start(self, step: str, item: int | None = None, attempt: int = 1) -> subprocess.Popen[str]:
        place = () if item is None else ("--item", item)
        return self.falaj("step", "run", "--run", self.run, "--step", step, *place, "--attempt", attempt)

    def step(self, step: str, item: int | None = None, attempt: int = 1) -> tuple[int, dict[str, Any]]:
        """Exit code and answer of one attempt."""
        return ended(self.start(step, item, attempt))

    def all(self) -> list[tuple[int, dict[str, Any]]]:
        """Every step, in the order that the server told; the items of a map side by side."""
        out = []
        for step in self.steps:
            if not step["mapped"]:
                out.append(self.step(step["step"]))
                continue
            _, found = ended(self.falaj("step", "items", "--run", self.run, "--step", step["step"]))
            with ThreadPoolExecutor(2) as pool:
                out += pool.map(lambda item, name=step["step"]: self.step(name, item), found["items"])
        return out


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    out, errors = process.communicate(timeout=120)
    assert out, errors
    return process.returncode, json.loads(out.splitlines()[-1])


def keep(session: RemoteSession, place: Path, text: str, name: str = "p") -> None:
    (place / "pipeline.py").write_text(text, encoding="utf-8")
    sending.keep(session, place, name, code=dict, environment=capture.environment())


def add_flights(session: RemoteSession, place: Path) -> None:
    session.call("config.apply", {"files": [contract()]})
    staged = session.stage(rows(place / "rows.csv"))
    session.call("data.add", {"dataset": "flights", "files": [{k: staged[k] for k in ("staged", "name")}]})


def test_a_foreign_engine_brings_a_pipeline_with_a_map_to_its_end(tmp_path: Path) -> None:
    folder = Folder(make_place(tmp_path / "flights"))
    folder.done("init")
    server = Server(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        session = stack.enter_context(RemoteSession(server.url, claim(server.url, server.one_time, "olga"), "flights"))
        add_flights(session, tmp_path)
        keep(session, tmp_path, PIPELINE)
        begun = session.call("pipeline.begin", {"pipeline": "p"})
        assert [(s["step"], s["after"], s["mapped"]) for s in begun["steps"]] == [
            ("cities", [], False),
            ("penalties", ["cities"], False),
            ("train", ["cities", "penalties"], True),
            ("evaluate", ["cities", "train"], True),
        ]
        engine = Engine(server.url, begun, tmp_path)
        told = engine.all()
        assert [(code, said.get("state")) for code, said in told] == [(0, "done")] * 6, told
        assert "done" in {said["run_state"] for _, said in told if "run_state" in said}
        run = session.call("run.show", {"run": engine.run})
        assert (run["state"], run["result"]) == ("done", {"cached": 0, "computed": 7, "registered": ["model/late:1"]})
        assert session.call("model.verify", {"thing": "late:1"})["sound"]
        # The token went with the run; and what was committed is what a run of the server's own takes.
        code, said = engine.step("cities", attempt=2)
        assert (code, said["code"]) == (4, "unauthenticated")
        again = session.call("pipeline.run", {"pipeline": "p"})
        assert (again["computed"], again["cached"]) == (0, 7)
        # And the other way round: a run that was lent takes what is there.
        other = session.call("pipeline.begin", {"pipeline": "p"})["run"]
        what = {"run": other, "environment": capture.environment()}
        for step, item in (("cities", -1), ("penalties", -1), *((s, i) for s in ("train", "evaluate") for i in (0, 1))):
            told = session.call("step.claim", {**what, "step": step, "item": item})
            assert (told["state"], told["is_last"]) == ("cached", (step, item) == ("evaluate", 1))
        assert session.call("step.settle", {"run": other})["state"] == "done"
        assert session.call("ledger.verify")["ok"]


# refused, with codes

SMALL = (
    HEAD
    + """
import os, time

@fj.step
def numbers(flights: fj.Dataset, *, door: str) -> list[int]:
    return [1, flights.table().num_rows]

@fj.step(retries=1)
def twice(n: int) -> int:
    return 2 * n

@fj.step
def waits(a: list[int], *, door: str) -> int:
    while not os.listdir(door):
        time.sleep(0.01)
    return sum(a)

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main"), door: str = "/dev/shm"):
    waits(twice.map(n=numbers(flights, door=door)), door=door)
"""
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with the small pipeline; Sara is a contributor."""
    place = tmp_path_factory.mktemp("contract")
    made = House(place / "flights")
    try:
        add_flights(made.olga, place)
        made.person("sara", ("contributor", "project:flights"))
        keep(made.session("sara"), place, SMALL)
        yield made
    finally:
        made.close()


class Lent:
    """A run that was lent to nobody but the test, which speaks to the door with its token."""

    def __init__(self, house: House, **more: Any) -> None:
        self.house = house
        self.begun = house.session("sara").call("pipeline.begin", {"pipeline": "p", **more})
        self.run = self.begun["run"]
        self.session = house.session("sara", token=self.begun["token"])

    def __call__(self, operation: str, /, **args: Any) -> Any:
        mine = {"run": self.run} if operation.startswith(("run.", "step.")) else {}
        return self.session.call(operation, {**mine, **args})

    def code(self, operation: str, /, **args: Any) -> str:
        """By which code this is refused."""
        try:
            return f"not refused: {self(operation, **args)}"
        except FalajError as refused:
            return refused.code

    def read(self, path: str, **more: Any) -> str:
        """The bytes of an input, or the code that they are refused by."""
        args = {"run": self.run, "step": "numbers", "attempt": 1, "path": path, **more}
        try:
            return b"".join(self.session.stream("step.input", args)).decode()
        except FalajError as refused:
            return refused.code

    def commit(self, place: Path, made: Any, step: str = "numbers", attempt: int = 1, **more: Any) -> Any:
        (place / "value.json").write_text(json.dumps(made))
        staged = self.session.stage(place / "value.json")
        manifest = {"type": "list[int]", "files": ["value.json"], "value": made}
        files = [{key: staged[key] for key in ("staged", "name")}]
        args = {"step": step, "attempt": attempt, "manifest": {**manifest, **more}, "files": files}
        return self("step.commit", **args)


def test_an_attempt_reads_its_own_inputs_and_nothing_else(house: House, tmp_path: Path) -> None:
    lent = Lent(house, params={"door": "one"})
    claimed = lent("step.claim", step="numbers")
    assert claimed["state"] == "running"
    assert {file["path"] for file in claimed["files"]} == {"dataset/flights/1/rows.csv", "source.json"}
    assert lent.read("dataset/flights/1/rows.csv").startswith("id,city")
    assert "fj.pipeline" in lent.read("source.json")
    for path in ("dataset/flights/2/rows.csv", "model/late/1/model.skops", "../../key", "", "dataset/flights/1/"):
        assert lent.read(path) == "not_covered"
    # Nor does the token open anything else, whatever its principal may do with one of their own.
    for operation, args in (
        ("data.files", {"thing": "flights"}),
        ("pipeline.run", {"pipeline": "p"}),
        ("pipeline.begin", {"pipeline": "p"}),
        ("run.show", {"run": Lent(house, params={"door": "two"}).run}),
        ("token.issue", {"principal": "sara"}),
    ):
        assert lent.code(operation, **args) in ("not_found", "forbidden")
    assert lent("asset.list")["items"] == []
    assert lent("run.steps")["state"] == "running"


def test_a_token_of_another_run_an_expired_and_a_revoked_one(house: House) -> None:
    one, other = Lent(house, params={"door": "three"}), Lent(house, params={"door": "four"})
    one.session, session = other.session, one.session
    assert one.code("step.claim", step="numbers") == "not_found"
    one.session = session
    platform = house.platform
    with platform.ground.database.read() as tx:
        row = next(row for row in TOKEN.scan(tx) if row.scope == (f"run:flights/{one.run}",))
        principal = PRINCIPAL.get(tx, row.principal)
    assert principal is not None
    assert (row.roles, datetime.fromisoformat(row.expires_at or "") > datetime.now(UTC)) == (("contributor",), True)
    then = datetime.now(UTC) - timedelta(hours=2)
    late = tokens.mint(
        principal,
        key=platform.door.token_key,
        now=then,
        scope=row.scope,
        roles=row.roles,
        expires_at=then + timedelta(hours=1),
    )
    with platform.ground.units.begin(platform.caller.actor, "test") as unit:
        unit.add(TOKEN, late.row)
        unit.say(What.TOKEN_ISSUED, [late.row.id])
    one.session = house.session("sara", token=late.reveal())
    assert one.code("step.claim", step="numbers") == "unauthenticated"
    one.session = session
    assert one("step.claim", step="numbers")["state"] == "running"
    house.session("sara").call("run.cancel", {"run": one.run})
    assert one.code("step.claim", step="numbers", attempt=2) == "unauthenticated"
    assert other("step.claim", step="numbers")["state"] == "running"


def test_attempts_are_fenced(house: House, tmp_path: Path) -> None:
    lent = Lent(house, params={"door": "five"})
    assert lent("step.claim", step="numbers")["state"] == "running"
    for attempt in (1, 0):  # a claim is one claimer's
        assert lent.code("step.claim", step="numbers", attempt=attempt) == "stale_attempt"
    assert lent("step.claim", step="numbers", attempt=2)["state"] == "running"
    with pytest.raises(FalajError) as late:  # the one before was given up by that
        lent.commit(tmp_path, [7], attempt=1)
    assert late.value.code == "stale_attempt"
    assert lent.code("step.fail", step="numbers", attempt=1, sort="raised", message="late") == "stale_attempt"
    assert lent.read("source.json", attempt=1) == "stale_attempt"
    assert lent.commit(tmp_path, [3], attempt=2)["state"] == "done"
    with pytest.raises(FalajError) as twice:
        lent.commit(tmp_path, [4], attempt=2)
    assert twice.value.code == "stale_attempt"
    again = lent("step.claim", step="numbers", attempt=3)
    assert (again["state"], again["task"], again["is_last"]) == ("done", None, False)
    assert lent.read("source.json", attempt=3) == "stale_attempt"


def test_what_is_handed_back_is_judged_and_a_step_is_tried_as_often_as_it_says(house: House, tmp_path: Path) -> None:
    lent = Lent(house, params={"door": "six"})
    assert lent.code("step.claim", step="waits") == "step_not_ready"
    assert lent.code("step.claim", step="twice", item=0) in ("not_found", "step_not_ready")
    assert lent.code("step.claim", step="none") == "not_found"
    lent("step.claim", step="numbers")
    for attempt, more in enumerate(({"type": "int"}, {"value": [1, "2"]}, {"files": ["../value.json"]}), 1):
        told = lent.commit(tmp_path, [1, 2], attempt=attempt, **more)
        assert (told["state"], told["error"]["code"]) == ("failed", "pipeline_invalid")
        lent("step.claim", step="numbers", attempt=attempt + 1)
    lent.commit(tmp_path, [1, 2], attempt=4)
    assert lent("step.items", step="twice")["items"] == [0, 1]
    assert lent.code("step.claim", step="twice", item=2) == "not_found"
    assert lent.code("step.claim", step="twice") == "not_found"
    for attempt, again in ((1, True), (2, False)):
        assert lent("step.claim", step="twice", item=0, attempt=attempt)["state"] == "running"
        told = lent("step.fail", step="twice", item=0, attempt=attempt, sort="raised", message="no")
        assert (told["again"], told["is_last"]) == (again, not again)
    assert lent("step.settle")["state"] == "failed"
    assert lent.code("step.settle") == "unauthenticated"
    run = house.session("sara").call("run.show", {"run": lent.run})
    assert (run["state"], run["error"]["code"]) == ("failed", "step_failed")
    assert "twice[1]: no" in run["error"]["message"]


SPY = (
    HEAD
    + """
import glob, os

@fj.step
def looks() -> dict:
    found, refused = [name for name in os.environ if name.startswith("FALAJ")], 0
    for place in [*glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/cmdline")]:
        try:
            found += [place] if b"FALAJ_TOKEN=" in open(place, "rb").read() else []
        except OSError:
            refused += 1
    return {"found": found, "refused": refused}

@fj.pipeline
def spy(): looks()
"""
)


def test_the_code_of_a_step_does_not_see_the_token(house: House, tmp_path: Path) -> None:
    sara = house.session("sara")
    keep(sara, tmp_path, SPY, "spy")
    engine = Engine(house.url, sara.call("pipeline.begin", {"pipeline": "spy"}), tmp_path)
    code, said = engine.step("looks")
    assert (code, said["run_state"]) == (0, "done")
    told = sara.call("asset.show", {"thing": said["output"]})["shown"]["payload"]["value"]
    step = sara.call("asset.lineage", {"thing": said["output"]})["nodes"][0]["run"]
    if sara.call("run.show", {"run": step})["result"]["guards"] == ["landlock"]:
        assert told["found"] == []
        assert told["refused"] > 0


@pytest.fixture
def door() -> Iterator[Path]:
    """A folder that a step can look into: what it may read elsewhere is shared memory."""
    with tempfile.TemporaryDirectory(prefix="falaj-", dir="/dev/shm") as folder:
        yield Path(folder)


def test_a_cancel_and_a_kill_reach_the_process_of_the_step(house: House, tmp_path: Path, door: Path) -> None:
    begun = house.session("sara").call("pipeline.begin", {"pipeline": "p", "params": {"door": str(door)}})
    engine = Engine(house.url, begun, tmp_path)
    for step, item in (("numbers", None), ("twice", 0), ("twice", 1)):
        assert engine.step(step, item)[0] == 0
    first = engine.start("waits")
    begun_pids = _attempt_of(first.pid)
    first.send_signal(signal.SIGKILL)
    assert first.wait(20) == -signal.SIGKILL
    assert until(lambda: not any(map(is_running, begun_pids)))
    first.communicate()
    second = engine.start("waits", attempt=2)
    pids = _attempt_of(second.pid)
    house.session("sara").call("run.cancel", {"run": engine.run})
    code, said = ended(second)
    assert (code, said["code"]) == (5, "run_cancelled")
    assert until(lambda: not any(map(is_running, pids)))
    states = [
        (s["attempts"], s["state"])
        for s in house.session("sara").call("run.steps", {"run": engine.run, "step": "waits"})["steps"]
    ]
    assert states == [(1, "lost"), (2, "cancelled")]
    house.check_clean()


def _attempt_of(pid: int) -> list[int]:
    """The parent and the attempt that a process of the contract begins."""

    def below() -> list[int]:
        parents = children(pid)
        return [*parents, *grand] if (grand := [one for child in parents for one in children(child)]) else []

    return list(until(below))
