"""docs/formats.md is enough to read a store: a stranger's script, written from it alone, gets every byte."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.store.keys import Argon, KeyFile

from .small_store import SmallStore, open_small

ROOT = Path(__file__).parents[3]
STRANGER = ROOT / "docs/stranger_read.py"
FILES = {
    "empty": b"",
    "2013-01.csv": b"year,month\n2013,1\n" * 9000,
    "deep/er/noise.bin": random.Random(1).randbytes(2_500_000),
    "ünïcode/Ж.txt": b"x",
    **{f"many/{i:04}": b"%d" % i for i in range(900)},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SmallStore]:
    small = open_small(tmp_path, pack_size=1 << 20)
    yield small
    small.close()


def read_by_stranger(store: Path, number: int, out: Path, passphrase: str = "") -> subprocess.CompletedProcess[str]:
    words = [str(store), "kitchen", "bundle", "flights", str(number), str(out)]
    environment = {**os.environ, "FALAJ_PASSPHRASE": passphrase}
    return subprocess.run(
        [sys.executable, "-I", STRANGER, *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )


def found(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_the_stranger_has_no_code_of_falaj() -> None:
    assert not re.search(r"^\s*(from|import) falaj", STRANGER.read_text(), re.MULTILINE)


def test_a_stranger_with_the_key_reads_every_version(store: SmallStore, tmp_path: Path) -> None:
    base = store.add("flights", FILES)
    with store.unit("keys.rotate") as unit:
        keys = store.contents.keys.begin(unit)
        keys.new_epoch(str(base.domain))
        keys.rotate_project(store.project)
        unit.say("key.rotated", [])
    store.add("weather", {"other": b"of another domain"})
    grown = store.add("flights", {"2013-02.csv": b"new", "empty": b"not any more"}, base)
    for version, files in ((base, FILES), (grown, {**FILES, "2013-02.csv": b"new", "empty": b"not any more"})):
        out = tmp_path / f"out-{version.number}"
        told = read_by_stranger(tmp_path, version.number, out)
        assert (told.returncode, told.stderr) == (0, "")
        assert found(out) == files


def test_a_stranger_reads_a_store_under_a_passphrase(store: SmallStore, tmp_path: Path) -> None:
    store.add("flights", FILES)
    KeyFile.open(tmp_path / "key").change_passphrase(
        "sésame", cost=Argon(salt=bytes(16), iterations=1, lanes=1, memory_kib=8)
    )
    assert read_by_stranger(tmp_path, 1, tmp_path / "out", "se\u0301same").returncode == 0
    assert found(tmp_path / "out") == FILES
    assert read_by_stranger(tmp_path, 1, tmp_path / "wrong", "sesame").returncode != 0
    assert not (tmp_path / "wrong").exists()


def test_a_stranger_finds_a_flipped_bit(store: SmallStore, tmp_path: Path) -> None:
    store.add("flights", FILES)
    pack = next(iter((tmp_path / "objects/packs").iterdir()))
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    assert read_by_stranger(tmp_path, 1, tmp_path / "out").returncode != 0
