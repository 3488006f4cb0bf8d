"""What attempts are forked from is kept between runs: by whom it is taken, what it remembers, and when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from falaj.engines.keeper import Keeper, Key, Parent
from tests.pipelines.house import Project, children, is_running

MINE = Key(project="flights", principal="amal")


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made = Keeper()
    yield made
    made.close()


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def kept(keeper: Keeper, key: Key = MINE) -> Parent:
    """A process that served a run, and waits."""
    one = keeper.take(key)
    keeper.give_back(one)
    return one


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (MINE, True),
        (MINE._replace(modules=("decimal",)), False),
        (MINE._replace(project="trains"), False),
        (MINE._replace(principal="badr"), False),
        (MINE._replace(interpreter=str(Path(sys.executable).resolve())), False),
    ],
    ids=["same", "modules", "project", "principal", "interpreter"],
)
def test_it_is_taken_by_a_run_of_the_same_key(keeper: Keeper, other: Key, same: bool) -> None:
    first = kept(keeper)
    second = keeper.take(other)
    assert (second is first) is same
    second.end()


def test_two_runs_at_once_have_one_each_and_one_is_kept(keeper: Keeper) -> None:
    one, two = keeper.take(MINE), keeper.take(MINE)
    assert one is not two
    keeper.give_back(one)
    keeper.give_back(two)
    assert (one.is_alive(), two.is_alive()) == (False, True)


def test_one_that_died_or_whose_libraries_changed_is_not_taken(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = tmp_path / "site-packages"
    libraries.mkdir()
    monkeypatch.syspath_prepend(str(libraries))
    first = kept(keeper)
    first.process.kill()
    assert until(lambda: not first.is_alive())
    second = kept(keeper)
    assert second is not first
    (libraries / "installed.py").touch()
    third = keeper.take(MINE)
    assert third is not second
    assert not second.is_alive()
    third.end()


def test_too_many_and_idle_ones_are_ended() -> None:
    keeper = Keeper(idle_s=0.5, most=1)
    first, second = kept(keeper), kept(keeper, MINE._replace(principal="badr"))
    assert not first.is_alive()
    assert until(lambda: not second.is_alive())
    keeper.close()


def test_the_thread_that_asked_for_it_may_end(keeper: Keeper) -> None:
    found: list[Parent] = []
    thread = threading.Thread(target=lambda: found.append(kept(keeper)))
    thread.start()
    thread.join()
    assert keeper.take(MINE) is found[0]
    assert b"ready" in found[0].control.recv(1000)  # the kernel would have ended it by now
    assert found[0].is_alive()
    keeper.give_back(found[0])
    keeper.close()
    assert not found[0].is_alive()
    with pytest.raises(OSError, match="about to end"):
        keeper.take(MINE)


LEAVING = """
import os, sys, json, threading, time

@fj.step(cache=False)
def look(*, n: int) -> dict:
    found = {
        "parent": os.getppid(),
        "environment": os.environ.get("LEFT", ""),
        "library": getattr(json, "left", ""),
        "project": [name for name in sys.modules if name in ("pipeline", "helper")],
        "places": sum("source" in place for place in sys.path),
        "files": os.listdir(),
        "threads": threading.active_count(),
        "handles": len(os.listdir("/proc/self/fd")),
    }
    os.environ["LEFT"], json.left = "here", "here"
    sys.path.append("/left/source")
    open("left.txt", "w").close()
    import helper
    return found

@fj.pipeline
def p(n: int = 0):
    look(n=n)

@fj.step(cache=False)
def waits() -> int:
    time.sleep(600)
    return 1

@fj.pipeline
def q():
    waits()
"""


def test_the_next_run_comes_from_the_same_process_and_finds_nothing_of_the_one_before(project: Project) -> None:
    project.write(LEAVING, helper="")
    project.apply()
    first, second = (project.value(project.run(n=n), "look") for n in (1, 2))
    assert first == second
    assert first["parent"] in children(os.getpid())
    assert (first["environment"], first["library"], first["files"]) == ("", "", [])
    project.platform.close()
    assert not is_running(first["parent"])


def test_what_a_cancelled_run_came_from_is_ended(project: Project) -> None:
    project.write(LEAVING, helper="")
    project.apply()
    kept_for = project.value(project.run(n=1), "look")["parent"]
    ended: list[BaseException] = []

    def run() -> None:
        try:
            project.run(pipeline="q")
        except BaseException as error:  # noqa: BLE001  looked at below
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert until(lambda: bool(children(kept_for)))
        (attempt,) = children(kept_for)
    finally:
        (underway,) = project.call("run.list", sort="pipeline.run", limit=1).items
        project.call("run.cancel", run=underway.id)
        thread.join(20)
    assert ended
    assert not is_running(attempt)
    assert not is_running(kept_for)


SERVER = """
import sys, time
from pathlib import Path
from falaj.platform import Platform

platform = Platform.open(Path(sys.argv[1]))
platform.session("flights").call("pipeline.run", {"pipeline": "p", "params": {"n": 1}})
print("kept", flush=True)
time.sleep(600)
"""


def test_it_dies_with_its_server(project: Project) -> None:
    project.write(LEAVING, helper="")
    project.apply()
    words = [sys.executable, "-c", SERVER, str(project.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"kept\n"
        (waiting,) = children(server.pid)
        server.send_signal(signal.SIGKILL)
    assert until(lambda: not is_running(waiting))
