"""Steps in environments of their own: made of a lock, built for the run, part of the key, and there again later."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj import capture, folder
from falaj.core.errors import Conflict, Damaged, Invalid, NotFound
from falaj.engines import fence
from falaj.environments.errors import LockInvalid
from falaj.environments.place import Environment
from falaj.pipelines import locks, sending
from falaj.pipelines.define import defined_in
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import Locked as LockedEnvironment
from falaj.store import steps
from tests.parts.environments import WORKER_LOCK
from tests.pipelines.house import HEAD, Project, states

LOCK = WORKER_LOCK.read_text(encoding="utf-8")
TEXT = """
@fj.step
def where() -> dict:
    import importlib.util, os, sys
    seen = {name: importlib.util.find_spec(name) is not None for name in ("msgspec", "yaml", "starlette", "pytest")}
    return {"prefix": sys.prefix, "path": os.environ["PATH"].split(":")[0], **seen}

@fj.step(environment="{other}", isolation="exec")
def doubled(about: dict) -> int:
    import sys
    return 2 * len(sys.prefix)

@fj.step(cache=False)
def late(n: int) -> int:
    return n + 1

@fj.pipeline(environment="train")
def p():
    late(doubled(where()))

@fj.step
def looks() -> dict:
    import sys, time
    time.sleep(0.3)
    return {"python": sys.executable}

@fj.step(environment="train")
def looks_apart() -> dict:
    return looks.function()

@fj.step
def both(one: dict, two: dict) -> bool:
    return one["python"] != two["python"]

@fj.pipeline
def q():
    both(looks(), looks_apart())
"""
SETTINGS = """
[environments.train]
lock = "requirements/train.txt"

[environments.other]
lock = "other.lock"
python = ""
"""


class Locked(Project):
    """A project with environments, whose pipelines are kept as every face keeps them."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, data=False)
        toml = self.folder / "falaj.toml"
        toml.write_text(toml.read_text(encoding="utf-8") + SETTINGS, encoding="utf-8")
        (self.folder / "requirements").mkdir()
        self.lock(LOCK)
        (self.folder / "other.lock").write_text("# the same set\n" + LOCK, encoding="utf-8")
        self.session = self.platform.session("flights")

    def lock(self, text: str) -> None:
        (self.folder / "requirements" / "train.txt").write_text(text, encoding="utf-8")

    def keep(self, text: str = "", pipeline: str = "p") -> None:
        if text:
            (self.folder / "pipeline.py").write_text(HEAD + text, encoding="utf-8")
        said = partial(folder.settings, self.folder)
        sending.keep(self.session, self.folder, pipeline, code=dict, environment=capture.environment(), settings=said)

    def environments(self) -> list[str]:
        return [one.name for one in (self.folder / ".falaj" / "environments").iterdir() if one.name != "locks"]

    def environment_of(self, run: str, step: str) -> dict[str, Any]:
        with self.platform.ground.database.read() as tx:
            (job,) = [one.job for one in steps.of_run(tx, run) if one.step == step]
        return dict(self.session.call("run.show", {"run": job})["environment"])


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """One store for the file: its environment is built by the first run."""
    made = Locked(tmp_path_factory.mktemp("locked") / "flights")
    made.keep(TEXT.replace("{other}", "other"))
    yield made
    made.platform.close()


def test_steps_run_in_what_their_lock_holds_and_in_nothing_of_ours(locked: Locked) -> None:
    told = locked.run()
    assert states(told) == {"where": "done", "doubled": "done", "late": "done"}
    seen = locked.value(told, "where")
    (built,) = locked.environments()  # two names, one set of distributions: one environment
    assert seen["prefix"] == str(locked.folder / ".falaj" / "environments" / built / "python")
    assert seen["path"] == f"{seen['prefix']}/bin"
    assert (seen["msgspec"], seen["yaml"], seen["starlette"], seen["pytest"]) == (True, True, False, False)
    kept = locked.session.call("run.show", {"run": told.run})["result"]["environments"]
    assert kept == {"other": f"sha256:{built}", "train": f"sha256:{built}"}
    about = locked.environment_of(told.run, "where")
    assert (about["name"], about["lock"], about["distributions"]) == ("train", f"sha256:{built}", 2)
    assert locked.environment_of(told.run, "doubled")["name"] == "other"
    entries = locked.session.call("ledger.log", {"scope": "project:flights", "what": "environment.built"})
    assert [one["what"] for one in entries["items"]] == ["environment.built"]


def test_the_set_is_part_of_the_key_and_its_layout_is_not(locked: Locked) -> None:
    first = locked.run()
    assert states(first) == {"where": "cached", "doubled": "cached", "late": "done"}
    locked.lock("# written by another tool\n" + LOCK)
    locked.keep()
    same = locked.run()
    assert same.version == first.version + 1
    assert states(same)["where"] == "cached"
    with pytest.raises(Conflict, match="environments from locks"):
        locked.call("pipeline.begin", pipeline="p")


def test_steps_of_several_environments_run_side_by_side(locked: Locked) -> None:
    locked.keep(pipeline="q")
    told = locked.run(pipeline="q")
    assert locked.value(told, "both") is True
    started = {one.step: one for one in told.steps}
    assert {one.state for one in started.values()} == {"done"}


def test_what_an_environment_brings_sees_nothing_of_the_store_from_its_first_moment(
    worker_environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "key").write_text("secret", encoding="utf-8")
    look = "import sys; open('mine', 'w').write(sys.prefix); print(open('../key').read())"
    words = fence.behind([str(worker_environment.python), "-c", look], [str(tmp_path / "run")])
    done = subprocess.run(words, cwd=tmp_path / "run", capture_output=True, text=True, check=False)
    assert (tmp_path / "run" / "mine").read_text(encoding="utf-8") == str(worker_environment.python.parent.parent)
    if fence.is_there():
        assert "PermissionError" in done.stderr
        assert done.stdout == ""


def test_no_other_file_comes_with_a_pipeline_than_its_code_and_its_locks(locked: Locked) -> None:
    graph = next(one for one in defined_in(locked.folder / "pipeline.py") if one.pipeline == "q")
    graph = msgspec.structs.replace(graph, environments=(LockedEnvironment(name="train", path="train.txt"),))
    good = {"pipeline.py": b"", "train.txt": LOCK.encode()}
    locks.check(graph, good)
    for more in ({"notes.txt": b""}, {"train.txt": b"msgspec==0.22.0\n"}):
        with pytest.raises(Invalid, match=r"notes\.txt|train\.txt, line 1"):
            locks.check(graph, good | more)
    with pytest.raises(PipelineInvalid, match="not those that its steps name"):
        locks.check(msgspec.structs.replace(graph, environments=()), good)


def test_a_run_is_computed_again_by_the_lock_that_it_had(locked: Locked) -> None:
    first = locked.run()
    (built,) = locked.environments()
    (seen,) = locked.call("environment.list")
    assert (seen.digest, seen.distributions, seen.size_bytes > 0) == (f"sha256:{built}", 2, True)
    with pytest.raises(NotFound):
        locked.call("environment.remove", digests=[built[:5]])
    assert locked.call("environment.remove", unused="1h").digests == ()
    gone = locked.call("environment.remove", digests=[built[:8]])
    assert (gone.digests, gone.in_use, locked.environments()) == ((seen.digest,), (), [])
    locked.lock("# gone\n")
    again = locked.call("run.reproduce", run=first.run)
    assert (again.ok, again.environment, len(again.steps)) == (True, "same", 3)
    assert locked.environments() == [built]
    locked.lock(LOCK)
    ahead = locked.call("environment.build", pipeline="p")
    assert [(one.name, one.outcome) for one in ahead.environments] == [("other", "there"), ("train", "there")]


def test_a_damaged_environment_runs_nothing(locked: Locked) -> None:
    (built,) = locked.environments()
    place = locked.folder / ".falaj" / "environments"
    shutil.copytree(place / built, locked.folder / "kept", symlinks=True)
    module = next((place / built).glob("python/lib/python3*/site-packages/yaml/__init__.py"))
    module.write_text(module.read_text(encoding="utf-8") + "\nraise SystemExit\n", encoding="utf-8")
    with pytest.raises(Damaged, match=r"yaml/__init__\.py changed") as damaged:
        locked.run()
    assert "falaj environment remove" in damaged.value.next_step
    checked = locked.call("environment.verify")
    assert (checked.ok, checked.environments, len(checked.problems)) == (False, 1, 1)
    shutil.rmtree(place / built)
    (locked.folder / "kept").rename(place / built)
    assert states(locked.run())["late"] == "done"


@pytest.mark.parametrize(
    ("lock", "text", "error", "words"),
    [
        ("numpy>=2\n", TEXT, LockInvalid, "requirements/train.txt, line 1"),
        (LOCK.partition("pyyaml")[0], TEXT, PipelineInvalid, "pyyaml not in requirements/train.txt"),
        (None, TEXT, Invalid, "No such file"),
        (LOCK, TEXT.replace("{other}", "third"), Invalid, "no environment 'third'"),
    ],
)
def test_a_lock_that_is_none_is_told_before_anything_is_kept(
    locked: Locked, lock: str | None, text: str, error: type[Invalid], words: str
) -> None:
    before = locked.call("pipeline.show", pipeline="p").version
    locked.lock(lock or "")
    if lock is None:
        (locked.folder / "requirements" / "train.txt").unlink()
    with pytest.raises(error, match=words):
        locked.keep(text.replace("{other}", "other") + "\n# changed\n")
    assert locked.call("pipeline.show", pipeline="p").version == before
    locked.lock(LOCK)
