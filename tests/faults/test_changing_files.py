"""Files that vanish, change or cannot be read while they are added: refused by one error, nothing half-written."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from falaj.core.errors import FalajError
from falaj.platform.staging import FileChanged
from falaj.session import Session
from tests.faults import plan
from tests.faults.workers import Nursery
from tests.faults.world import World

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: kites
name: kites
version: 1.0.0
status: active
schema:
  - name: kites
    properties:
      - {name: day, logicalType: integer, required: true}
"""


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"31\n")


def rewrite(path: Path) -> None:
    """As many bytes as before, in place."""
    path.write_bytes(b"9" * path.stat().st_size)


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "vanishes": Path.unlink,
    "grows": grow,
    "is cut": lambda path: os.truncate(path, 1),
    "is rewritten": rewrite,
    "is replaced by its like": replace,
}


def adding(session: Session, file: Path, at: str, change: Callable[[Path], None]) -> Any:
    """Add a file that changes when the job says that it begins something."""
    done: list[str] = []

    def progress(what: str, _done: int, _total: int) -> None:
        if what == at and not done:
            done.append(what)
            change(file)

    found = session.stage(file)
    staged = [{"name": found["name"], "staged": found["staged"]}]
    if at == "staged":
        change(file)
    return session.call("data.add", {"dataset": plan.DATASET, "files": staged, "mode": "replace"}, progress=progress)


@pytest.mark.parametrize("at", ["staged", "judging", "storing"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_naming_judging_and_storing_is_refused(world: World, change: str, at: str) -> None:
    file = world.place / "day.csv"
    with world.opened() as session:
        session.call("config.apply", {"files": [{"path": "contracts/kites.yaml", "text": CONTRACT}]})
        file.write_bytes(b"day\n1\n2\n3\n")
        with pytest.raises(FalajError) as told:
            adding(session, file, at, CHANGES[change])
        assert told.value.code == FileChanged.code, told.value.message
        assert "day.csv" in told.value.message
        versions = [v["version"] for v in session.call("asset.log", {"thing": "dataset/kites"})["versions"]]
        assert versions == [2, 1]
        file.unlink(missing_ok=True)
        file.write_bytes(b"day\n1\n2\n3\n")
        assert adding(session, file, "", lambda _: None)["version"] == 3
    world.states[3] = {"live"}
    world.check()
    world.check_clean()


MISSING: dict[str, Callable[[Path], None]] = {
    "never there": lambda _: None,
    "a folder": Path.mkdir,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo,
    "behind a file": lambda path: path.parent.joinpath("x").touch(),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_no_file_is_told_before_anything_begins(world: World, what: str) -> None:
    path = world.place / "day.csv"
    MISSING[what](path)
    named = path.parent / "x" / "day.csv" if what == "behind a file" else path
    with world.opened() as session:
        before = session.call("store.status")["entries"]
        with pytest.raises(FalajError) as told:
            session.stage(named)
        assert told.value.next_step
        assert session.call("store.status")["entries"] == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user; root itself may read everything")
def test_an_unreadable_file_is_told(base: Path, open_folder: Path, workers: Nursery) -> None:
    place = Path(shutil.copytree(base, open_folder / "kites"))
    nobody = pwd.getpwnam("nobody")
    plan.prepare(place, 3)
    for path in (place, *place.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    closed = place / "files-3" / "3-b.csv"
    closed.chmod(0)
    failed = workers.run(place, ("add", "3"), user="nobody").failed
    assert failed is not None
    assert (failed["code"], "3-b.csv" in failed["message"]) == ("invalid", True)
    closed.chmod(0o400)
    assert workers.run(place, ("add", "3"), user="nobody").done[0]["version"] == 3
