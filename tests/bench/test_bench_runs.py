"""Every benchmark runs, small, and prints a result; what it measures is not judged here."""

from __future__ import annotations

import json

import pytest

from benchmarks.measure import spawned

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SMALL = {
    "start": ["--runs", "1"],
    "ref_move": ["--moves", "20"],
    "writers": ["--writers", "2", "--seconds", "0.3", "--rounds", "1"],
    "objects": ["--mib", "2", "--rounds", "1"],
    "ledger_verify": ["--entries", "3000", "--rounds", "1"],
    "checks": ["--copies", "1", "--rounds", "1"],
    "access": ["--bindings", "10", "100", "--requests", "200"],
    "http": ["--requests", "60", "--rounds", "1"],
    "drift": ["--rows", "2000", "--rounds", "1"],
    "features": ["--rows", "500", "--events", "20000", "--months", "1", "--rounds", "1"],
    "steps": ["--steps", "3", "--rounds", "1", "--runs", "1", "--preload", "colorsys"],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs(name: str) -> None:
    made = json.loads(spawned(["-m", f"benchmarks.{name}", *SMALL[name]]).out)
    assert made["name"] == name
    assert set(made) == {"name", "bars", "recorded", "load", "facts"}
    for figure in [*made["bars"], *made["recorded"]]:
        assert figure["what"]
        assert figure["unit"]
        assert figure["value"] >= 0
        assert figure["limit"] is None or figure["limit"] >= 0
