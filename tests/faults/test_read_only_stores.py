"""A store that cannot be written to is still read: by a user without the right, and on a read-only disk."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.core.names import Thing
from falaj.platform import Platform
from falaj.session import Session
from falaj.store.errors import StoreAway, StoreReadOnly
from tests.faults import plan
from tests.faults.workers import Nursery

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts disks and becomes another user")


READ = {
    "refs": ["main", "production"],
    "moves": [1],
    "upstream": 1,
    "files": ["2-a.csv", "2-b.csv", "2-c.csv"],
    "sound": True,
}
WRITING = (("add", "2"), ("promote", "2"), ("rollback", "1", "key"), ("rm", "2", "key"), ("gc",))


def snapshot(place: Path) -> dict[str, bytes]:
    files = [p for p in place.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))]  # SQLite's own
    return {str(p.relative_to(place)): p.read_bytes() for p in files}


def read_all(platform: Platform, session: Session) -> None:
    """Everything that only reads, by operations and by bytes."""
    assert plan.read(session) == READ
    with platform.ground.database.read() as tx:
        project = platform.ground.catalog.project(tx, plan.PROJECT)
        version = platform.ground.catalog.resolve(tx, project.id, Thing("kites", "dataset", "main")).version
    contents = platform.ground.contents
    assert {f.path: contents.read(version, f.path, limit=1 << 20) for f in contents.files(version)} == plan.files_of(2)


def write_nothing(session: Session, place: Path) -> None:
    """Everything that would write is refused, by one error."""
    for command in WRITING:
        with pytest.raises(StoreReadOnly) as told:
            plan.do(session, place, *command)
        assert told.value.next_step, command


def test_a_store_opened_read_only_is_read_and_not_written(base: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(base, tmp_path / "kites"))
    before = snapshot(place)
    platform = Platform.open(place, read_only=True)
    session = platform.session(plan.PROJECT)
    read_all(platform, session)
    write_nothing(session, place)
    platform.close()
    assert snapshot(place) == before


@pytest.fixture
def read_only_disk(base: Path, tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    shutil.copytree(base, disk / "kites")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    yield disk / "kites"
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@ROOT_ONLY
@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "found"])
def test_a_store_on_a_read_only_disk_is_opened_for_reading(read_only_disk: Path, asked: bool) -> None:
    platform = Platform.open(read_only_disk, read_only=asked)
    session = platform.session(plan.PROJECT)
    read_all(platform, session)
    write_nothing(session, read_only_disk)
    platform.close()


@pytest.fixture
def reachable(base: Path, open_folder: Path) -> Path:
    """A copy of the store at a place that every user may reach."""
    place = Path(shutil.copytree(base, open_folder / "kites"))
    place.chmod(0o755)
    return place


@ROOT_ONLY
def test_a_store_whose_owner_may_not_write_is_opened_for_reading(reachable: Path, workers: Nursery) -> None:
    nobody = pwd.getpwnam("nobody")
    for path in (reachable, *reachable.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
        path.chmod(0o500 if path.is_dir() else 0o400)
    outcome = workers.run(reachable, ("read",), user="nobody")
    assert (outcome.done, outcome.failed) == ({0: READ}, None)
    for command in WRITING:
        failed = workers.run(reachable, command, user="nobody").failed
        assert failed is not None
        assert failed["code"] == StoreReadOnly.code, command


@ROOT_ONLY
def test_another_user_is_told_that_the_store_is_not_theirs(reachable: Path, workers: Nursery) -> None:
    assert (reachable / ".falaj").stat().st_mode & 0o777 == 0o700
    failed = workers.run(reachable, ("read",), user="nobody").failed
    assert failed is not None
    assert failed["code"] == StoreAway.code
    assert "server" in failed["next_step"]


def test_a_read_only_opening_needs_what_was_committed_last(base: Path, tmp_path: Path) -> None:
    """A log that was not read into the database yet is never skipped: what it holds was acknowledged."""
    place = Path(shutil.copytree(base, tmp_path / "kites"))
    writer = Platform.open(place)
    session = writer.session(plan.PROJECT)
    plan.do(session, place, "promote", "2")
    reader = Platform.open(place, read_only=True)
    shown = reader.session(plan.PROJECT).call("asset.show", {"thing": plan.PRODUCTION})
    assert shown["shown"]["version"] == 2
    reader.close()
    writer.close()
