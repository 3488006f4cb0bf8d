"""One flipped bit, anywhere: it is found, or it lies where nothing is kept. Nothing wrong is ever given out.

Bits are drawn by the seed over whole files. In a pack every bit is covered: by the tags of its chunks, its header and
its index. In the database a bit may lie in a page's free space or in an index; then everything must still be as it was.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from falaj.core.errors import Damaged, FalajError
from falaj.core.names import Thing
from falaj.platform import Platform
from falaj.session import Session
from tests.faults import plan
from tests.faults.world import World

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
IN_PACKS, IN_DATABASE = 24, 60


@contextmanager
def flipped(file: Path, bit: int) -> Iterator[None]:
    """One bit of a file is another one for a while."""
    body = file.read_bytes()
    wrong = bytearray(body)
    wrong[bit // 8] ^= 1 << bit % 8
    file.write_bytes(wrong)
    try:
        yield
    finally:
        file.write_bytes(body)


def contents(platform: Platform) -> dict[int, dict[str, bytes] | None]:
    """The files of both versions; None for one that is refused as damaged."""
    ground, found = platform.ground, {}
    for number in (1, 2):
        with ground.database.read() as tx:
            project = ground.catalog.project(tx, plan.PROJECT)
            asset = ground.catalog.asset(tx, project.id, Thing(plan.DATASET, "dataset"))
            version = ground.catalog.version(tx, asset, number)
        try:
            files = ground.contents.files(version)
            found[number] = {f.path: ground.contents.read(version, f.path, limit=1 << 20) for f in files}
        except Damaged:
            found[number] = None
    return found


WHOLE = {1: plan.files_of(1), 2: plan.files_of(2)}


def test_every_bit_of_a_pack_counts(world: World, rng: random.Random) -> None:
    packs = sorted((world.place / ".falaj" / "objects" / "packs").iterdir())
    for _ in range(IN_PACKS):
        pack = rng.choice(packs)
        bit = rng.randrange(pack.stat().st_size * 8)
        with flipped(pack, bit), Platform.open(world.place) as platform:
            found = platform.session(plan.PROJECT).call("store.verify")
            assert not found["ok"], f"bit {bit} of {pack.name}"
            assert all(problem["sort"].startswith("bytes_") for problem in found["problems"])
            assert any(pack.name in problem["where"] for problem in found["problems"])
            for number, files in contents(platform).items():
                assert files is None or files == WHOLE[number]
    world.check(whole=True)


def test_a_bit_of_a_manifest_is_found_by_who_reads_the_version(world: World, rng: random.Random) -> None:
    with world.opened(), world._platform.ground.database.read() as tx:
        rows = tx.rows(
            "SELECT c.pack, c.start, c.length FROM chunk c JOIN version v ON v.content LIKE '%' || lower(hex(c.name))"
            " ORDER BY v.number"
        )
    assert len(rows) == 2
    for number, (pack, start, length) in enumerate(rows, 1):
        bit = rng.randrange(start * 8, (start + length) * 8)
        file = world.place / ".falaj" / "objects" / "packs" / pack
        with flipped(file, bit), Platform.open(world.place) as platform:
            found = contents(platform)
            assert (found[number], found[3 - number]) == (None, WHOLE[3 - number])
            problems = platform.session(plan.PROJECT).call("store.verify")["problems"]
            assert any(f"/{number}, pack {pack}" in problem["where"] for problem in problems), problems
    world.check(whole=True)


def told(place: Path) -> tuple[str, Any]:
    """What a store says of itself: "refused" and why, "found" and the problems, or "sound" and all that it holds."""
    try:
        with Platform.open(place, read_only=True) as platform:
            session: Session = platform.session(plan.PROJECT)
            found = session.call("ledger.verify")
            if not found["ok"]:
                return "found", [problem["sort"] for problem in found["problems"]]
            read, files = plan.read(session), contents(platform)
            if None in files.values():
                return "found", "by who reads the bytes"
            return "sound", (found["entries"], found["states"], read, files)
    except FalajError as error:
        return "refused", error.as_dict()


def test_a_bit_of_the_database_is_found_or_changes_nothing(world: World, rng: random.Random) -> None:
    database = world.place / ".falaj" / "falaj.db"
    whole = told(world.place)
    assert whole[0] == "sound"
    seen = {"refused": 0, "found": 0, "sound": 0}
    for _ in range(IN_DATABASE):
        bit = rng.randrange(database.stat().st_size * 8)
        with flipped(database, bit):
            said = told(world.place)
        assert said[0] != "sound" or said == whole, f"bit {bit}"
        assert said[0] != "refused" or said[1].get("next_step"), f"bit {bit}: {said}"
        seen[said[0]] += 1
    assert seen["found"] + seen["refused"] > 0
    world.check(whole=True)
