"""Steps that go wrong: each is told as what it was, keeps nothing, and leaves no process behind."""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.core.errors import Conflict, NotFound
from falaj.pipelines.errors import PipelineInvalid, RunCancelled, StepFailed
from tests.pipelines.house import Project, is_running, states

STEPS = """
import os, signal, subprocess, sys, time

class Own:
    def predict(self, rows): return rows

@fj.step
def raises(a: int) -> int:
    print("here it goes")
    raise KeyError("nothing")

@fj.step
def wrong(a: int) -> int: return "text"

@fj.step
def no_table(a: int) -> fj.Table: return [1, 2]

@fj.step
def nan(a: int) -> fj.Metrics: return {"auc": float("nan")}

@fj.step(memory="64MiB")
def leaks(a: int) -> int:
    held = []
    while True:
        held.append(bytearray(1 << 20))

@fj.step
def strays(a: int) -> int: return len(open("data/flights.csv").read())

@fj.step
def lacks(a: int) -> int:
    import no_such_library
    return a

@fj.step(memory="64MiB")
def trickles(a: int) -> int:
    held = []
    while True:
        held.append(str(len(held)))

@fj.step
def opens(a: int) -> int:
    held = []
    while True:
        held.append(open("/dev/null"))

@fj.step(timeout="1s")
def hangs(a: int) -> int:
    while True:
        time.sleep(9)

@fj.step
def crashes(a: int) -> int: os.kill(os.getpid(), signal.SIGSEGV)

@fj.step
def leaves(a: int) -> int: os._exit(0)

@fj.step
def exits(a: int) -> int: sys.exit("enough")

@fj.step
def coded(a: int) -> fj.Model: return Own()

@fj.step
def begins_others(a: int) -> list[int]:
    own = [subprocess.Popen(["sleep", "1000"], start_new_session=new).pid for new in (False, True)]
    away = subprocess.check_output(["sh", "-c", "setsid sleep 1000 > /dev/null 2>&1 & echo $!"])
    return [*own, int(away)]

@fj.step(isolation="exec")
def anew(a: int) -> str:
    return "|".join(sys.argv)

@fj.step(retries=2)
def unsteady(a: int, *, mark: str) -> int:
    with open(mark, "a") as file:
        file.write(".")
    if os.path.getsize(mark) < 3:
        raise OSError("not yet")
    return a

@fj.step
def pries(a: int, *, other: str) -> list[str]:
    found = []
    for what in (other, "/tmp", os.path.expanduser("~root")):
        try:
            found += [os.listdir(what)[0]]
        except OSError as error:
            found.append(type(error).__name__)
    for file in (other + "/.falaj/key", other + "/planted"):
        try:
            open(file, "a" if file.endswith("planted") else "rb").close()
            found.append("opened")
        except OSError as error:
            found.append(type(error).__name__)
    try:
        os.kill(os.getppid(), 0)
        found.append("signalled")
    except OSError as error:
        found.append(type(error).__name__)
    return found

@fj.step
def secret(a: int) -> int:
    print("password is AKIAABCDEFGHIJKLMNOP", os.environ.get("FALAJ_PASSPHRASE"), os.environ.get("SOME_TOKEN"))
    raise ValueError("see the log")

@fj.step
def waits(a: int) -> int:
    time.sleep(60)
    return a

@fj.step
def taken(a: int) -> int: return a

@fj.step
def picky(a: int, *, mark: str) -> int:
    if not mark.endswith("none"):
        raise ValueError(mark)
    return a
"""
NAMES = (
    "raises",
    "wrong",
    "no_table",
    "nan",
    "strays",
    "lacks",
    "leaks",
    "trickles",
    "opens",
    "hangs",
    "crashes",
    "leaves",
    "exits",
    "coded",
)
ONE = "\n@fj.pipeline\ndef p_{name}():\n    {name}(1)\n"
REST = "".join(ONE.format(name=name) for name in (*NAMES, "secret", "begins_others", "anew", "waits"))
REST += "\n@fj.pipeline\ndef p_unsteady(mark: str):\n    unsteady(1, mark=mark)\n"
REST += "\n@fj.pipeline\ndef p_half(mark: str):\n    picky(taken(1), mark=mark)\n"
REST += "\n@fj.pipeline\ndef p_pries(other: str):\n    pries(1, other=other)\n"
REST += "\n@fj.pipeline\ndef p_lists(a: list[int], b: list[int]):\n    both.map(a=a, b=b)\n"
BOTH = "\n@fj.step\ndef both(a: int, b: int) -> int: return a + b\n"


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("failures") / "flights")
    made.write(STEPS + BOTH + REST)
    made.apply()
    yield made
    made.platform.close()


CORRECT = "correct it and run again"
TOLD = {
    "raises": ("raised", r"KeyError: 'nothing' \(pipeline.py:11 in raises\)", CORRECT),
    "wrong": ("wrong_type", "returned str, and says int", "return what the step's annotation says"),
    "no_table": ("wrong_type", "returned list, and says table", "return what the step's annotation says"),
    "nan": ("invalid", "metric 'auc' is 'nan': a finite number", CORRECT),
    "strays": ("raised", "FileNotFoundError: .*flights.csv", "falaj data add, then take it as an fj.Dataset"),
    "lacks": ("raised", "ModuleNotFoundError: No module named 'no_such_library'", "install it"),
    "leaks": ("memory", "more than its 64 MiB", "@fj.step(memory="),
    "trickles": ("memory", "more than its 64 MiB", "@fj.step(memory="),
    "opens": ("raised", r"OSError: \[Errno 24\] Too many open files: '/dev/null' \(pipeline.py", CORRECT),
    "hangs": ("timeout", "over its 1 s", "@fj.step(timeout="),
    "crashes": ("signal", "ended by SIGSEGV", "falaj run explain {run}"),
    "leaves": ("signal", "ended with exit code 0 before its end", "falaj run explain {run}"),
    "exits": ("raised", "SystemExit: enough", CORRECT),
    "coded": ("model_refused", "allow-list", "or an ONNX file"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_went_wrong_is_told_and_what_to_do(steps: Project, name: str) -> None:
    code, words, what_to_do = TOLD[name]
    with pytest.raises(StepFailed, match=words) as failed:
        steps.run(pipeline=f"p_{name}")
    (step,) = failed.value.facts["steps"]
    assert (step["state"], step["error"]["code"], step["output"]) == ("failed", code, "")
    assert what_to_do.format(run=failed.value.facts["run"]) in failed.value.next_step
    run = steps.call("run.show", run=failed.value.facts["run"])
    assert (run.state, run.error["code"]) == ("failed", "step_failed")
    with pytest.raises(NotFound):
        steps.call("asset.show", thing=f"artifact/p_{name}.{name}")


def test_what_it_printed_is_kept_with_the_lines_of_ones_own_code(steps: Project) -> None:
    with pytest.raises(StepFailed) as failed:
        steps.run(pipeline="p_raises")
    assert failed.value.facts["log"].splitlines()[:4] == [
        "here it goes",
        "Traceback (most recent call last):",
        '  File "pipeline.py", line 11, in raises',
        '    raise KeyError("nothing")',
    ]


def test_a_run_that_fails_or_is_stopped_says_what_it_read_and_took(steps: Project) -> None:
    mark = Path(f"/dev/shm/falaj-{os.getpid()}-half")
    steps.run(pipeline="p_half", mark=str(mark / "none"))
    with pytest.raises(StepFailed) as failed:
        steps.run(pipeline="p_half", mark=str(mark))
    run = failed.value.facts["run"]
    assert {(one.thing, one.role) for one in steps.call("run.show", run=run).links} == {
        ("pipeline/p_half:1", "pipeline"),
        ("artifact/p_half.taken:1", "taken"),
    }
    told = {one.step.step: (one.step.state, one.because) for one in steps.call("run.explain", run=run).steps}
    assert told == {"taken": ("cached", ("committed before",)), "picky": ("failed", ("mark changed",))}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    platform = steps.platform
    with pytest.raises(KeyboardInterrupt):
        platform.door.call(
            "pipeline.run", {"pipeline": "p_waits"}, caller=platform.caller, project="flights", progress=stop
        )
    stopped = steps.call("run.list", sort="pipeline.run", limit=1).items[0]
    assert (stopped.state, stopped.error["code"]) == ("cancelled", "interrupted")
    assert [one.state for one in steps.call("run.steps", run=stopped.id).steps] == ["lost"]


def test_secrets_are_neither_given_nor_kept(steps: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "planted")
    with pytest.raises(StepFailed) as failed:
        steps.run(pipeline="p_secret")
    assert "(hidden) None None" in failed.value.facts["log"]


def test_what_a_step_began_ends_with_it(steps: Project) -> None:
    told = steps.run(pipeline="p_begins_others")
    begun = steps.value(told, "begins_others")
    assert (len(begun), [pid for pid in begun if is_running(pid)]) == (3, [])


def test_a_step_may_have_an_interpreter_of_its_own(steps: Project) -> None:
    told = steps.run(pipeline="p_anew")
    assert "task.json" not in steps.value(told, "anew")
    assert steps.value(told, "anew").startswith("-c|")


def test_a_step_is_tried_again_as_often_as_it_says(steps: Project) -> None:
    mark = Path(f"/dev/shm/falaj-{os.getpid()}")  # what an attempt may write elsewhere is shared memory alone
    try:
        told = steps.run(pipeline="p_unsteady", mark=str(mark))
    finally:
        mark.unlink(missing_ok=True)
    assert (states(told), told.steps[0].attempts) == ({"unsteady": "done"}, 3)


def test_a_step_reaches_neither_store_nor_others_nor_their_processes(steps: Project) -> None:
    told = steps.run(pipeline="p_pries", other=str(steps.folder))
    run = steps.call("run.show", run=steps.call("asset.lineage", thing=told.steps[0].output).nodes[0].run)
    if run.result["guards"] != ["landlock"]:
        pytest.skip("this kernel holds no fence, and the run says so")
    assert set(steps.value(told, "pries")[:-1]) == {"PermissionError"}
    assert steps.value(told, "pries")[-1] in ("PermissionError", "signalled")  # since Linux 6.12
    assert not (steps.folder / "planted").exists()


FOREIGN = """
import os

@fj.step
def honest(n: int) -> fj.Table:
    import pyarrow as pa
    return pa.table({"n": [n]})

@fj.step
def meddles(data: fj.Table) -> list[str]:
    run = os.path.abspath("../../..")
    told = []
    for path in (run + "/made/planted", run + "/attempts/1/out/table.parquet", run + "/inputs/planted"):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "ab").close()
            told.append("written")
        except OSError as error:
            told.append(type(error).__name__)
    return told

@fj.step
def reads(data: fj.Table, told: list[str]) -> int: return data["n"][0].as_py()

@fj.pipeline
def p_foreign():
    data = honest(7)
    reads(data, meddles(data))
"""


def test_a_step_writes_to_no_output_but_its_own(tmp_path: Path) -> None:
    project = Project(tmp_path / "flights")
    try:
        told = project.run(FOREIGN, pipeline="p_foreign")
        run = project.call("run.show", run=project.call("asset.lineage", thing=told.steps[1].output).nodes[0].run)
        if run.result["guards"] == ["landlock"]:
            assert set(project.value(told, "meddles")) == {"PermissionError"}
        assert project.value(told, "reads") == 7
        assert project.call("store.verify").ok
    finally:
        project.platform.close()


CHANGED = """
import helper, os, time

@fj.step
def first(door: str) -> int:
    open(door + "/begun", "w").close()
    while not os.path.exists(door + "/changed"):
        time.sleep(0.01)
    return helper.VALUE

@fj.step
def second(a: int) -> int: return a + helper.VALUE

@fj.pipeline
def p(door: str): second(first(door))
"""


def test_files_that_change_while_a_run_goes_on_change_nothing_in_it(tmp_path: Path) -> None:
    project = Project(tmp_path / "flights")
    project.write(CHANGED, helper="VALUE = 1\n")
    project.apply()
    with tempfile.TemporaryDirectory(prefix="falaj-", dir="/dev/shm") as door:

        def change() -> None:
            while not Path(door, "begun").exists():
                time.sleep(0.01)
            project.write(CHANGED.replace("a + ", "100 * a + "), helper="VALUE = 2\n")
            Path(door, "changed").touch()

        thread = threading.Thread(target=change)
        thread.start()
        told = project.run(door=door)
        thread.join()
        assert (told.version, project.value(told, "second")) == (1, 2)
        project.apply()
        again = project.run(door=door)
        assert (again.version, again.computed, project.value(again, "second")) == (2, 2, 202)
    project.platform.close()


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"a": [1, 2], "b": [1]}, "as many items of each are expected, not a 2, b 1"),
        ({"a": [], "b": []}, "0 items, .* give at least one"),
        ({"a": [1], "b": 7}, r"is an int, not a list\[int\]. give a list\[int\]: \[7\]"),
        ({"a": [1]}, "parameter b is not given"),
        ({"a": [1], "b": ["x"]}, r"p_lists\(b\): .* is a list\[str\], not a list\[int\]"),
        ({"a": [1], "b": [1], "c": 1}, "no parameter 'c'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(steps: Project, params: dict[str, object], word: str) -> None:
    with pytest.raises(PipelineInvalid) as refused:
        steps.run(pipeline="p_lists", **params)
    assert re.search(word, f"{refused.value.message}. {refused.value.next_step}")


def test_a_cancelled_run_ends_within_a_second_and_commits_nothing(steps: Project) -> None:
    ended: list[BaseException] = []

    def work() -> None:
        try:
            steps.run(pipeline="p_waits")
        except RunCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    run = None
    while run is None:
        found = steps.call("run.list", sort="pipeline.run", limit=1).items[0]
        with steps.platform.ground.database.read() as tx:
            row = tx.row("SELECT 1 FROM step WHERE run = :run AND state = 'running'", {"run": found.id})
        run = found.id if row and found.state == "running" else None
        time.sleep(0.02)
    assert steps.call("run.cancel", run=run).state == "cancelled"
    thread.join(20)
    assert len(ended) == 1
    assert steps.call("run.show", run=run).state == "cancelled"
    with steps.platform.ground.database.read() as tx:
        assert [row[0] for row in tx.rows("SELECT state FROM step WHERE run = :run", {"run": run})] == ["cancelled"]
    with pytest.raises(Conflict):
        steps.call("run.cancel", run=run)
    assert steps.call("ledger.verify").ok
