"""The bare plans: point-in-time joins written by hand for one case each, by somebody who knows DuckDB. Nothing else.

Usage: python -m benchmarks.limits.features many FOLDER
       python -m benchmarks.limits.features flights FOLDER

`many` takes it that no two events have the same key and time, as is so in what was made. `flights` is the example's
`delay_v1`, with the same answers; spans are joined by buckets of their own length, since a plain join by key and range
takes minutes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb

from benchmarks.measure import peak_mib

FRESH = "CASE WHEN e.t >= r.at - INTERVAL 7 DAY THEN e.{0} END AS {0}"
MANY = f"""
CREATE TABLE joined AS
SELECT r.*, {", ".join(FRESH.format(column) for column in "abcd")}
FROM read_parquet('rows.parquet') AS r ASOF LEFT JOIN read_parquet('events.parquet') AS e ON r.k = e.k AND r.at >= e.t
ORDER BY r.i
"""
WEATHER = ("temp", "humid", "wind_speed", "precip", "visib", "pressure")
FLIGHTS = f"""
CREATE TEMP TABLE asked AS SELECT row_number() OVER () AS i, *, epoch_us(decided_at::TIMESTAMP) AS us
FROM read_parquet('schedule-*.parquet');
CREATE TEMP TABLE weather AS SELECT origin, epoch_us(time_hour::TIMESTAMP) AS t, {", ".join(WEATHER)}
FROM read_parquet('weather-*.parquet') WHERE (wind_speed IS NULL OR wind_speed < 200) AND time_hour IS NOT NULL;
CREATE TEMP TABLE departures AS SELECT origin, carrier, dest, dep_delay, (arr_delay > 30)::INT AS late,
    epoch_us(departed_at::TIMESTAMP) AS departed, epoch_us(landed_at::TIMESTAMP) AS landed,
    greatest(epoch_us(departed_at::TIMESTAMP), epoch_us(reported_at::TIMESTAMP)) AS seen
FROM read_parquet('departures-*.parquet');
CREATE TEMP TABLE delays AS SELECT q.origin, q.us, avg(e.dep_delay) AS mean, count(*) AS n
FROM (SELECT *, unnest([us // 10800000000 - 1, us // 10800000000]) AS b
      FROM (SELECT DISTINCT origin, us FROM asked)) AS q
JOIN (SELECT *, departed // 10800000000 AS b FROM departures) AS e ON q.origin = e.origin AND q.b = e.b
WHERE e.departed >= q.us - 10800000000 AND e.departed < q.us AND e.seen <= q.us GROUP BY q.origin, q.us;
CREATE TEMP TABLE lateness AS SELECT q.carrier, q.origin, q.dest, q.us, avg(e.late) AS mean
FROM (SELECT *, unnest([us // 2419200000000 - 1, us // 2419200000000]) AS b
      FROM (SELECT DISTINCT carrier, origin, dest, us FROM asked)) AS q
JOIN (SELECT *, landed // 2419200000000 AS b FROM departures WHERE late IS NOT NULL AND landed IS NOT NULL) AS e
ON q.carrier = e.carrier AND q.origin = e.origin AND q.dest = e.dest AND q.b = e.b
WHERE e.landed >= q.us - 2419200000000 AND e.landed < q.us GROUP BY ALL;
CREATE TABLE joined AS
SELECT a.* EXCLUDE (i, us), {", ".join(f"CASE WHEN w.t >= a.us - 10800000000 THEN w.{c} END AS {c}" for c in WEATHER)},
    d.mean AS airport_delay_3h, coalesce(d.n, 0) AS airport_departures_3h, l.mean AS route_late_28d, p.built, p.seats
FROM asked AS a ASOF LEFT JOIN weather AS w ON a.origin = w.origin AND a.us >= w.t
LEFT JOIN delays AS d ON d.origin = a.origin AND d.us = a.us
LEFT JOIN lateness AS l ON l.carrier = a.carrier AND l.origin = a.origin AND l.dest = a.dest AND l.us = a.us
LEFT JOIN (SELECT tailnum, any_value(year) AS built, any_value(seats) AS seats
           FROM read_parquet('planes.parquet') GROUP BY tailnum) AS p ON p.tailnum = a.tailnum
ORDER BY a.i
"""
PLANS = {"many": MANY, "flights": FLIGHTS}


def connected(folder: Path) -> duckdb.DuckDBPyConnection:
    """A connection with the settings that both sides have."""
    scratch = folder / "spill"
    config = {"threads": 2, "memory_limit": "2GB", "temp_directory": str(scratch), "file_search_path": str(folder)}
    con = duckdb.connect(config=config)  # type: ignore[arg-type]
    con.execute("SET TimeZone = 'UTC'")
    return con


def figures(con: duckdb.DuckDBPyConnection, cpu: float, wall: float) -> dict[str, object]:
    """What was used since then, and what the joined table holds: its rows, and a sum over all of its values."""
    used = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "peak_mib": peak_mib()}
    columns = [str(row[0]) for row in con.execute("DESCRIBE joined").fetchall()]
    parts = ", ".join(f'count("{c}"), round(sum(try_cast("{c}" AS DOUBLE)), 3)' for c in columns)
    return {"holds": [str(value) for value in con.execute(f"SELECT {parts} FROM joined").fetchall()[0]], **used}


def main() -> None:
    """Print the figures as JSON."""
    con = connected(Path(sys.argv[2]))
    cpu, wall = time.process_time(), time.perf_counter()
    con.execute(PLANS[sys.argv[1]])
    print(json.dumps(figures(con, cpu, wall)))


if __name__ == "__main__":
    main()
