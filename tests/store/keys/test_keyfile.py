"""The key file: made once, closed to others, replaced whole, honest about a wrong passphrase."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from falaj.core.errors import Invalid, Unavailable
from falaj.store.keys import Argon, KeyFile, Secret
from falaj.store.keys.errors import (
    KeyExists,
    KeyFileDamaged,
    KeyFileExposed,
    KeyInUse,
    KeyMissing,
    WrongKey,
    WrongPassphrase,
)

CHEAP = Argon(salt=b"0123456789abcdef", iterations=1, lanes=1, memory_kib=64)
KEY, CONTEXT = Secret(bytes(32)), b"context"


def test_it_is_made_with_mode_0600_and_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = KeyFile.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    wrapped = made.wrap(KEY, CONTEXT)
    assert KeyFile.open(path).unwrap(made.current, wrapped, CONTEXT, what="key") == KEY
    assert [p.name for p in tmp_path.iterdir()] == ["root.key"]


def test_it_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    KeyFile.create(path)
    before = path.read_bytes()
    with pytest.raises(KeyExists):
        KeyFile.create(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["root.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_plain_file_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    KeyFile.create(path)
    path.chmod(mode)
    with pytest.raises(KeyFileExposed, match=f"{mode:04o}") as refused:
        KeyFile.open(path)
    assert refused.value.next_step == f"chmod 600 {path}"


def test_a_passphrase_opens_it_and_another_does_not(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = KeyFile.create(path, passphrase="seven date palms", cost=CHEAP)
    wrapped = made.wrap(KEY, CONTEXT)
    opened = KeyFile.open(path, passphrase="seven date palms")
    assert opened.unwrap(made.current, wrapped, CONTEXT, what="key") == KEY
    for wrong in ("seven date palm", None):
        with pytest.raises(WrongPassphrase) as refused:
            KeyFile.open(path, passphrase=wrong)
        assert "date" not in str(refused.value)


def test_a_passphrase_protected_file_may_be_readable_but_not_writable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    KeyFile.create(path, passphrase="x", cost=CHEAP)
    path.chmod(0o644)
    assert KeyFile.open(path, passphrase="x").roots
    path.chmod(0o664)
    with pytest.raises(KeyFileExposed):
        KeyFile.open(path, passphrase="x")


def test_the_roots_survive_a_change_of_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = KeyFile.create(path)
    wrapped = made.wrap(KEY, CONTEXT)
    made.change_passphrase("new", cost=CHEAP)
    assert made.rotate() in KeyFile.open(path, passphrase="new").roots
    opened = KeyFile.open(path, passphrase="new")
    assert opened.unwrap(opened.roots[0], wrapped, CONTEXT, what="key") == KEY
    opened.change_passphrase(None)
    assert KeyFile.open(path).roots == opened.roots


def test_the_default_cost_of_a_passphrase_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    KeyFile.create(path, passphrase="seven date palms")
    cost = msgspec.json.decode(path.read_bytes())["argon2id"]
    assert (cost["iterations"], cost["lanes"], cost["memory_kib"]) == (3, 4, 65536)
    assert KeyFile.open(path, passphrase="seven date palms").roots


def test_a_forgotten_root_unwraps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    custodian = KeyFile.create(path)
    old, wrapped = custodian.current, custodian.wrap(KEY, CONTEXT)
    with pytest.raises(KeyInUse):
        custodian.forget(old)
    custodian.rotate()
    assert custodian.unwrap(old, wrapped, CONTEXT, what="key") == KEY
    custodian.forget(old)
    for held in (custodian, KeyFile.open(path)):
        with pytest.raises(WrongKey):
            held.unwrap(old, wrapped, CONTEXT, what="key")
    with pytest.raises(WrongKey):
        custodian.forget(old)


def test_two_openers_do_not_overwrite_each_others_rotation(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    first = KeyFile.create(path)
    second = KeyFile.open(path)
    root = first.rotate()
    with pytest.raises(KeyInUse, match="changed since"):
        second.rotate()
    assert KeyFile.open(path).current == root


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b[:0],
        lambda b: b[: len(b) // 2],
        lambda b: b"\xff" + b,
        lambda b: b.replace(b'"v": 1', b'"v": 9'),
        lambda b: b.replace(b'"key": "', b'"key": "AAAA'),
        lambda b: b[:0] + b'{"falaj":"key file","v":1,"argon2id":null,"roots":[]}',
    ],
)
def test_a_spoiled_file_is_named_as_such(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "root.key"
    KeyFile.create(path)
    whole = path.read_bytes()
    assert spoil(whole) != whole
    path.write_bytes(spoil(whole))
    with pytest.raises(KeyFileDamaged, match="key file"):
        KeyFile.open(path)


def test_a_cost_that_would_exhaust_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    KeyFile.create(path, passphrase="x", cost=CHEAP)
    path.write_bytes(path.read_bytes().replace(b'"memory_kib": 64', b'"memory_kib": 999999999'))
    with pytest.raises(KeyFileDamaged, match="memory"):
        KeyFile.open(path, passphrase="x")


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing):
        KeyFile.open(tmp_path / "none.key")
    with pytest.raises(Unavailable):
        KeyFile.open(tmp_path)
    with pytest.raises(Unavailable):
        KeyFile.create(tmp_path / "none" / "root.key")
    with pytest.raises(Invalid, match="empty"):
        KeyFile.create(tmp_path / "root.key", passphrase="")
    assert [p.name for p in tmp_path.iterdir()] == []
