"""Pipelines from Python, embedded and on a server, and their runs as others follow them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import falaj as fj
from falaj.core.errors import FalajError, NotFound
from falaj.pipelines.errors import StepFailed
from tests.cli.playing import falaj
from tests.pipelines.house import HEAD, Project
from tests.server.house import House
from tests.server.running import until

TWICE = """
@fj.step
def one(a: int) -> int:
    if a < 0:
        raise ValueError("too small")
    return a

@fj.step
def twice(b: int) -> int: return 2 * b

@fj.pipeline
def p(a: int = 1): twice(one(a))
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "served")
    yield made
    made.close()


def test_a_pipeline_is_run_from_python_as_its_folder_says(project: Project) -> None:
    project.write(TWICE)
    project.platform.close()
    with fj.open(project.folder) as opened:
        first = opened.run_pipeline("p")
        assert (first["version"], first["computed"], first["cached"]) == (1, 2, 0)
        project.write(TWICE.replace("2 * b", "3 * b"))
        told = opened.run_pipeline("p", {"a": 2}, progress=lambda *_: None)
        assert (told["version"], told["computed"]) == (2, 2)
        again = opened.run_pipeline("p:1")
        assert (again["version"], again["computed"], again["cached"]) == (1, 0, 2)
        with pytest.raises(StepFailed, match="too small"):
            opened.run_pipeline("p", {"a": -1})
        with pytest.raises(FalajError, match="no pipeline q"):
            opened.run_pipeline("q")


def test_on_a_server_the_same(house: House, tmp_path: Path) -> None:
    sara = fj.Project(house.person("sara", ("contributor", "project:flights")))
    (tmp_path / "pipeline.py").write_text(HEAD + TWICE, encoding="utf-8")
    with pytest.raises(NotFound):  # nothing was kept there, and no source is named
        sara.run_pipeline("p")
    first = sara.run_pipeline("p", source=tmp_path)
    assert first["computed"] == 2
    assert sara.run_pipeline("p", {"a": 1})["cached"] == 2
    with pytest.raises(FalajError) as failed:
        sara.run_pipeline("p", {"a": -1})
    assert failed.value.code == "step_failed"


@pytest.fixture
def door() -> Iterator[Path]:
    """A folder that a step can look into: what it may read elsewhere is shared memory."""
    with tempfile.TemporaryDirectory(prefix="falaj-", dir="/dev/shm") as folder:
        yield Path(folder)


WAITS = """    import os, time
    while not os.listdir("DOOR"):
        time.sleep(0.01)
    return a
"""


def test_a_run_is_followed_by_whoever_may_see_it(house: House, tmp_path: Path, door: Path) -> None:
    text = HEAD + TWICE.replace("    return a\n", WAITS.replace("DOOR", str(door)))
    (tmp_path / "pipeline.py").write_text(text, encoding="utf-8")
    sara = house.person("sara", ("contributor", "project:flights"))
    thread = threading.Thread(target=lambda: fj.Project(sara).run_pipeline("p", source=tmp_path))
    thread.start()
    run = until(lambda: sara.call("run.list", {"sort": "pipeline.run"})["items"])[0]["id"]
    house.person("vera", ("viewer", "project:flights"))
    env = {"FALAJ_URL": house.url, "FALAJ_TOKEN": house.tokens["vera"], "FALAJ_PROJECT": "flights"}
    words = [sys.executable, "-m", "falaj.cli.main", "run", "watch", run, "--json"]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        begun = json.loads(process.stdout.readline())
        (door / "open").touch()
        lines = [json.loads(line) for line in process.stdout]
    thread.join(30)
    assert process.returncode == 0
    assert (begun["step"], begun["state"]) == ("one", "running")
    assert (lines[0]["step"], lines[0]["state"]) == ("one", "done")
    assert (lines[-1]["run"], lines[-1]["state"], lines[-1]["steps"]) == (run, "done", 2)


HEARS_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process that a shell put in the background ignores it
from falaj.cli.main import main
sys.exit(main())
"""


def test_a_ctrl_c_tells_that_the_server_goes_on(house: House, tmp_path: Path, door: Path) -> None:
    text = HEAD + TWICE.replace("    return a\n", WAITS.replace("DOOR", str(door)))
    (tmp_path / "pipeline.py").write_text(text, encoding="utf-8")
    (tmp_path / "falaj.toml").write_text('project = "flights"\n', encoding="utf-8")
    sara = house.person("sara", ("contributor", "project:flights"))
    env = {"FALAJ_URL": house.url, "FALAJ_TOKEN": house.tokens["sara"], "FALAJ_PROJECT": "flights"}
    words = [sys.executable, "-c", HEARS_CTRL_C, "pipeline", "run", "p"]
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        assert "one" in process.stderr.readline()  # it waits, and tells what for
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    run = sara.call("run.list", {"sort": "pipeline.run"})["items"][0]
    assert said == f"stopped; the server goes on: falaj run watch {run['id']}, or falaj run cancel {run['id']}\n"
    assert run["state"] == "running"
    (door / "open").touch()
    assert until(lambda: sara.call("run.show", {"run": run["id"]})["state"] == "done")


def test_how_a_followed_run_ended_is_the_answer(project: Project) -> None:
    with pytest.raises(StepFailed) as failed:
        project.run(TWICE, a=-1)
    done = project.run(a=1)
    words = ("-C", project.folder, "run", "watch")
    told = falaj(*words, failed.value.facts["run"])
    assert (told.code, "too small" in told.err, "✗ one" in told.out) == (StepFailed.exit_code, True, True)
    told = falaj("-C", project.folder, "pipeline", "run", "p:1", "--param", "a=-1")
    for words_told in ("✗ one  failed", "1 step not begun", "it printed", 'raise ValueError("too small")'):
        assert words_told in told.err
    listed = falaj("-C", project.folder, "run", "list", "--limit", 1).lines[1].split()
    assert (listed[1:4], listed[-1]) == (["pipeline.run", "p:1", "failed"], "step_failed")
    told = falaj(*words, done.run)
    assert (told.code, told.lines[-1].split()[2:]) == (0, ["p", "done", "2", "steps"])
    assert falaj(*words, "01JD8M3V9Y7X2K4T6R8P0N1B5C").code == NotFound.exit_code
