"""Cut points: golden for known bytes, since a changed cut silently costs all deduplication; and their laws."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.store.objects.chunking import Chunking, Cutter

from .memory_parts import FINE


def hashed(size: int) -> bytes:
    """Bytes that look random and are the same wherever SHA-256 is."""
    count = -(-size // 32)
    return b"".join(hashlib.sha256(b"falaj golden %d" % i).digest() for i in range(count))[:size]


def rows(count: int) -> bytes:
    return b"".join(b"%d,%d,JFK,LAX,%d\n" % (2013, i, i * 7919 % 2400) for i in range(count))


GOLDEN = {
    "hashed": (
        hashed(1_000_000),
        [17707, 90092, 165971, 269452, 361023, 451803, 529473, 607328, 768405, 828950, 882812, 959644, 1000000],
    ),
    "rows": (
        rows(30_000),
        [67399, 102375, 223718, 350612, 439428, 516008, 554838, 626699, 676276, 695012],
    ),
    "zeros": (bytes(600_000), [262144, 524288, 600000]),
    "short": (b"x" * 10, [10]),
    "none": (b"", []),
}


def cuts(chunking: Chunking, data: bytes) -> list[int]:
    return [offset + length for offset, length in Cutter(chunking).cut(data, last=True)]


@pytest.mark.parametrize("name", GOLDEN)
def test_known_bytes_are_cut_where_they_always_were(name: str) -> None:
    data, expected = GOLDEN[name]
    assert cuts(Chunking(), data) == expected


def test_how_files_are_cut_is_written_down_in_one_way() -> None:
    assert str(Chunking()) == "fastcdc-2020 avg=65536 min=16384 max=262144 nc=1 seed=0"


@given(st.integers(0, 2**32), st.integers(0, 60_000))
def test_chunks_are_the_bytes_within_their_bounds(seed: int, size: int) -> None:
    data = random.Random(seed).randbytes(size)
    found = list(Cutter(FINE).cut(data, last=True))
    assert b"".join(data[o : o + n] for o, n in found) == data
    assert all(FINE.smallest <= n <= FINE.largest for _, n in found[:-1])


@given(st.integers(0, 2**32), st.integers(1, 60_000), st.integers(4097, 20_000))
def test_cuts_do_not_depend_on_how_the_bytes_arrive(seed: int, size: int, window: int) -> None:
    data = random.Random(seed).randbytes(size)
    cutter, start, end, found = Cutter(FINE), 0, 0, []
    while end < size:
        end = min(start + window, size)
        cut = [(start + o, n) for o, n in cutter.cut(data[start:end], last=end == size)]
        found += cut
        start = cut[-1][0] + cut[-1][1] if cut else start
    assert [o + n for o, n in found] == cuts(FINE, data)
