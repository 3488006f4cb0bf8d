"""A wrong, damaged, missing or unguarded key opens nothing and changes nothing; the right one opens it again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from falaj.core.errors import FalajError
from falaj.platform import Platform
from falaj.platform.opening import NoStore
from falaj.store.keys import KeyFile
from tests.faults.world import World

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def of_another_store(key: Path) -> None:
    key.unlink()
    KeyFile.create(key)


def with_a_passphrase(key: Path) -> None:
    key.unlink()
    KeyFile.create(key, passphrase="nobody told it to this process")


def one_bit(key: Path) -> None:
    body = bytearray(key.read_bytes())
    body[len(body) // 2] ^= 1
    key.write_bytes(body)


def a_piece(key: Path) -> None:
    os.truncate(key, key.stat().st_size // 2)


WRONG: dict[str, Callable[[Path], None]] = {
    "of another store": of_another_store,
    "with a passphrase": with_a_passphrase,
    "one bit flipped": one_bit,
    "cut in half": a_piece,
    "empty": lambda key: key.write_bytes(b""),
    "not a key": lambda key: key.write_bytes(b"# my keys\n"),
    "open to everybody": lambda key: key.chmod(0o644),
    "gone": Path.unlink,
}


def snapshot(place: Path) -> dict[str, bytes]:
    files = [p for p in place.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))]
    return {str(p.relative_to(place)): p.read_bytes() for p in files}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_key_opens_nothing_and_changes_nothing(world: World, wrong: str) -> None:
    key = world.place / ".falaj" / "key"
    right = key.read_bytes()
    WRONG[wrong](key)
    before = snapshot(world.place)
    with pytest.raises(FalajError) as told:
        Platform.open(world.place)
    assert told.value.next_step
    assert str(right) not in told.value.message
    assert isinstance(told.value, NoStore) is (wrong == "gone")
    assert snapshot(world.place) == before
    key.unlink(missing_ok=True)
    key.touch(0o600)
    key.write_bytes(right)
    world.check(whole=True)
