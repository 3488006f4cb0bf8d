"""Full and failing disks at every stage of a command: one clear error, nothing half-written, the work can go on."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.store.errors import StoreAway, StoreFull
from falaj.store.objects.errors import LocationAway
from tests.faults.workers import Call, Nursery
from tests.faults.world import World, copied

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]
STORE = "/.falaj"
SYNCS = {"fsync", "fdatasync"}
TOLD = {StoreFull.code, StoreAway.code, LocationAway.code}
OTHERS = 8
DISK_MIB = 8
FREE_KIB = (0, 4, 16, 48, 100, 140, 180, 260, 400, 800)


def stages(calls: list[Call], rng: random.Random) -> list[Call]:
    """Every call that makes, syncs or links files of the store; the first, the last and some of the page writes."""
    pages = [call for call in calls if call.name == "pwrite64"]
    other = [call for call in calls if call.name in {"write", "fsync", "fdatasync", "link", "linkat"}]
    return [c for c in other if STORE in c.args] + [pages[0], *rng.sample(pages[1:-1], 4), pages[-1]]


@pytest.mark.parametrize("what", ["add", "promote", "gc"])
def test_a_disk_that_fails_at_any_stage_is_told_and_leaves_nothing(
    world: World, workers: Nursery, rng: random.Random, what: str
) -> None:
    command = world.next(what)
    world.told([command], workers.run(world.place, command, trace=True))
    calls = stages(workers.calls(), rng)
    for call in calls if what == "add" else rng.sample(calls, OTHERS):
        command = world.next(what)
        fault = "error=EIO" if call.name in SYNCS else "error=ENOSPC"
        outcome = workers.run(world.place, command, inject=call.inject(fault))
        assert outcome.status == 0, f"{command} at {call}"
        if outcome.failed is not None:
            assert outcome.failed["code"] in TOLD, f"{command} at {call}: {outcome.failed}"
            assert outcome.failed["next_step"]
        # A commit whose sync failed may be there after all: the pages were written. Any other failure undid it.
        if outcome.done or call.name in SYNCS:
            world.told([command], outcome)
        world.check()
        if not outcome.done:
            world.finish(command)
    world.check(whole=True)
    world.check_clean()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, free_kib: int) -> Path:
    """A file that leaves so much space."""
    ballast = disk / "ballast"
    found = os.statvfs(disk)
    size = found.f_bavail * found.f_frsize - free_kib * 1024
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk; the other tests here need no right")
def test_a_disk_that_is_really_full(base: Path, workers: Nursery, small_disk: Path) -> None:
    world = copied(base, small_disk / "kites")
    told = []
    for free in FREE_KIB:
        command = world.next("add")
        ballast = fill(small_disk, free)
        outcome = workers.run(world.place, command)
        assert outcome.status == 0
        if outcome.failed is not None:
            assert outcome.failed["code"] == StoreFull.code, f"{free} KiB free: {outcome.failed}"
            told.append(free)
        ballast.unlink()
        if outcome.done:
            world.told([command], outcome)
        world.check()
        if not outcome.done:
            world.finish(command)
    assert told[0] == 0
    assert FREE_KIB[-1] not in told
    world.check(whole=True)
    world.check_clean()


def test_a_file_that_may_not_grow(base: Path, workers: Nursery, tmp_path: Path) -> None:
    """What a quota or a limit of the process does; needs no right."""
    for limit_kib in (1, 40, 100, 120, 150):
        world = copied(base, tmp_path / f"limit-{limit_kib}")
        command = world.next("add")
        outcome = workers.run(world.place, command, limit_kib=limit_kib)
        assert outcome.failed is not None
        assert outcome.failed["code"] in TOLD, f"{limit_kib} KiB: {outcome.failed}"
        world.check()
        world.finish(command)
        world.check(whole=True)
        shutil.rmtree(world.place)
