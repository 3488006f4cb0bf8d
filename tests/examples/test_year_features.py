"""What the models of the year read: only what was known two hours before, on the real flights of January."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from examples.flights.year.files import HERE, feeds  # the project's files are found from here on
from falaj.data import checks, contract
from falaj.features import join

defined = importlib.import_module("features")
SOURCES = {
    "airport_weather": "weather",
    "airport_delays": "departures",
    "route_lateness": "departures",
    "plane_facts": "planes",
}
MINUTES = "epoch_us(CAST({0} AS TIMESTAMP))"


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("january")
    feeds.write_weather(out, (1, 2))
    feeds.write_planes(out)
    feeds.write_departures(out, (1,))
    feeds.write_schedule(out, (1,))
    return out


@pytest.fixture
def con(january: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute("SET TimeZone = 'UTC'")
        for name in ("weather", "departures", "schedule"):
            made.execute(f"CREATE TABLE {name} AS FROM '{january}/{name}-2013-01.parquet'")
        made.execute(f"CREATE TABLE planes AS FROM '{january}/planes.parquet'")
        made.execute("CREATE TABLE asked AS FROM schedule WHERE day BETWEEN 20 AND 26 AND flight % 7 = 0")
        yield made


def joined(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    views = {one.name: one.record for one in (defined.weather, defined.delays, defined.lateness, defined.facts)}
    join.point_in_time(con, "asked", defined.delay_v1.record, views, SOURCES, at="decided_at", into="told")
    rows: list[dict[str, Any]] = con.sql("FROM told").to_arrow_table().to_pylist()
    return rows


def test_every_feature_is_what_was_known_two_hours_before(con):
    rows = joined(con)
    assert len(rows) > 500
    for number, row in enumerate(rows[::60]):
        at, origin = row["decided_at"], row["origin"]
        near = con.execute(
            "SELECT temp FROM weather WHERE origin = ? AND time_hour <= ?"
            " AND time_hour >= ?::TIMESTAMPTZ - INTERVAL 3 HOUR"
            " AND (wind_speed IS NULL OR wind_speed < 200) ORDER BY time_hour DESC LIMIT 1",
            [origin, at, at],
        ).fetchall()
        assert row["temp"] == (near[0][0] if near else None), number
        ((delay, count),) = con.execute(
            "SELECT avg(dep_delay), count(*) FROM departures WHERE origin = ? AND reported_at <= ?"
            " AND departed_at >= ?::TIMESTAMPTZ - INTERVAL 3 HOUR AND departed_at < ?",
            [origin, at, at, at],
        ).fetchall()
        assert (row["airport_delay_3h"], row["airport_departures_3h"]) == (delay, count), number
        ((late,),) = con.execute(
            "SELECT avg((arr_delay > 30)::INT) FROM departures WHERE carrier = ? AND origin = ? AND dest = ?"
            " AND landed_at < ? AND arr_delay IS NOT NULL",
            [row["carrier"], origin, row["dest"], at],
        ).fetchall()
        assert row["route_late_28d"] == late, number


def test_an_arrival_counts_only_once_it_landed(con):
    before = [row["route_late_28d"] for row in joined(con)]
    con.execute("UPDATE departures SET landed_at = landed_at + INTERVAL 3 DAY")
    shifted = [row["route_late_28d"] for row in joined(con)]
    assert sum(a != b for a, b in zip(before, shifted, strict=True)) > len(before) / 2
    con.execute("UPDATE departures SET landed_at = landed_at + INTERVAL 60 DAY")
    assert {row["route_late_28d"] for row in joined(con)} == {None}


def test_a_departure_counts_only_once_it_was_reported(con):
    before = [row["airport_delay_3h"] for row in joined(con)]
    con.execute("UPDATE departures SET reported_at = reported_at + INTERVAL 1 HOUR")
    later = [row["airport_delay_3h"] for row in joined(con)]
    assert sum(a != b for a, b in zip(before, later, strict=True)) > len(before) / 2
    con.execute("UPDATE departures SET reported_at = reported_at + INTERVAL 4 HOUR")
    assert {row["airport_delay_3h"] for row in joined(con)} == {None}


def test_nothing_of_what_came_of_a_flight_is_a_feature(con):
    before = joined(con)
    con.execute("UPDATE asked SET arr_delay = NULL, dep_delay = NULL")
    names = [name for name in before[0] if name not in {"arr_delay", "dep_delay"}]
    assert [[row[n] for n in names] for row in joined(con)] == [[row[n] for n in names] for row in before]


# the faults of the source


def weather() -> str:
    return (HERE / "contracts" / "weather.yaml").read_text(encoding="utf-8")


def judged(text: str, files: list[Path], scratch: Path) -> dict[str, int | None]:
    rules = contract.parse(text.encode(), name="weather.yaml")[0]
    report = checks.judge_files(rules, files, "parquet", scratch=scratch)
    return {finding.rule: finding.failed_rows for finding in report.findings if not finding.passed}


def test_an_impossible_wind_is_told_and_left_out(january, con, tmp_path):
    files = [january / "weather-2013-02.parquet"]
    found = judged(weather(), files, tmp_path)
    assert len(found) == 1
    con.execute(f"INSERT INTO weather FROM '{files[0]}'")
    left = con.sql(defined.weather.record.sql.replace("source", "weather")).to_arrow_table()["wind_speed"]
    assert max(one for one in left.to_pylist() if one is not None) < 50


def test_the_hour_that_comes_twice_is_two_hours(tmp_path):
    files = feeds.write_weather(tmp_path / "data", (11,))
    assert judged(weather(), files, tmp_path) == {}
    local = weather().replace("properties: [origin, time_hour]", "properties: [origin, year, month, day, hour]")
    assert judged(local, files, tmp_path) == {"weather.duplicateValues": 3}


def test_the_other_feeds_keep_their_contracts(january, tmp_path):
    for name in ("departures", "schedule"):
        rules = contract.parse((HERE / "contracts" / f"{name}.yaml").read_bytes(), name=name)[0]
        report = checks.judge_files(rules, [january / f"{name}-2013-01.parquet"], "parquet", scratch=tmp_path)
        assert [str(one) for one in report.findings if not one.passed] == []
    assert str(HERE) in sys.path
