"""Measuring: turns, bars, and processes seen from outside."""

from __future__ import annotations

import sys
from itertools import count

import pytest

from benchmarks.measure import bar, median, peak_mib, recorded, rounded, spawned, spread, turns


def test_kinds_take_turns() -> None:
    clock = count()
    values = turns({"a": lambda: next(clock), "b": lambda: next(clock)}, 3)
    assert values == {"a": [0, 2, 4], "b": [1, 3, 5]}


@pytest.mark.parametrize(
    ("value", "limit", "asked", "ratio", "holds"),
    [
        (6.0, 2.0, {"at_most": 3.0}, 3.0, True),
        (6.1, 2.0, {"at_most": 3.0}, 3.05, False),
        (7.0, 10.0, {"at_least": 0.7}, 0.7, True),
        (6.9, 10.0, {"at_least": 0.7}, 0.69, False),
        (300.0, None, {"at_most": 300.0}, None, True),
        (301.0, None, {"at_most": 300.0}, None, False),
    ],
)
def test_a_bar_is_on_the_ratio_or_on_the_value_where_there_is_no_limit(value, limit, asked, ratio, holds) -> None:
    made = bar("what", "ms", value, limit, **asked)
    assert (made["ratio"], made["ok"]) == (ratio, holds)


def test_a_bar_is_decided_before_it_is_rounded() -> None:
    made = bar("what", "ms", 3.0004, 1.0, at_most=3.0)
    assert (made["ratio"], made["ok"]) == (3.0, False)


@pytest.mark.parametrize("asked", [{}, {"at_most": 1.0, "at_least": 1.0}], ids=["neither", "both"])
def test_a_bar_asks_for_one_thing(asked: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="what"):
        bar("what", "ms", 1.0, **asked)


def test_what_is_recorded_has_a_ratio_where_it_has_a_limit() -> None:
    assert recorded("what", "ms", 3.0, 2.0)["ratio"] == 1.5
    assert recorded("what", "ms", 3.0)["ratio"] is None


def test_figures_have_four_digits() -> None:
    assert [rounded(v) for v in (12345.0, 0.00123456, 3.0)] == [12340.0, 0.001235, 3.0]


def test_the_spread_of_one_value_is_that_value() -> None:
    assert spread([2.0]) == {"p10": 2.0, "median": 2.0, "p90": 2.0}
    assert median([3.0, 1.0, 2.0]) == 2.0


def test_a_process_is_measured_with_its_children_and_its_output() -> None:
    burn = "import time; begin = time.process_time()\nwhile time.process_time() - begin < 0.2: pass"
    used = spawned(["-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('out')"])
    assert used.out == "out\n"
    assert used.cpu_s >= 0.2
    assert used.wall_s > 0


def test_the_peak_of_a_process_is_its_own_and_not_that_of_who_started_it() -> None:
    held = bytearray(300 << 20)
    assert peak_mib() > 300
    assert spawned(["-c", "pass"]).peak_mib < 100
    assert spawned(["-c", "x = bytearray(200 << 20)"]).peak_mib > 200
    assert len(held) == 300 << 20


def test_a_process_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="status 3"):
        spawned(["-c", "import sys; sys.exit(3)"])
    assert sys.executable
