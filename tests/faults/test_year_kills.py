"""A month of the short year with some kills; `make faults` plays all of it with a hundred and more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.year.series import Series

KILLS, SHARE = 8, 0.25


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_month_ends_as_it_would_have_whoever_is_killed_in_it(tmp_path: Path, seed: int) -> None:
    series = Series(tmp_path, months=1)
    found = series.play(f"{seed}:month", KILLS, SHARE)
    print(series.table())
    assert (found["moves"], found["versions"]["model/delay"]) == ([1, 2, 1], 2)
    assert [(route["role"], route["version"]) for route in found["routes"]] == [("stable", 1)]
    refs = {
        "model/delay@production": 1,
        "dataset/flights@main": 2,
        "deployment/delay@main": 1,
        "pipeline/delay@main": 1,
    }
    assert refs.items() <= found["refs"].items()
    assert len(series.kills) >= 3
