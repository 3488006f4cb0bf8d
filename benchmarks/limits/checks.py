"""The bare check: the flights contract written by hand as DuckDB queries, with the same settings. Nothing else.

Usage: python -m benchmarks.limits.checks FILE.parquet SCRATCH
"""

from __future__ import annotations

import json
import sys
import time

import duckdb

from benchmarks.measure import peak_mib

RULES = """
SELECT count(*),
    count(*) FILTER (WHERE year IS NULL),
    count(*) FILTER (WHERE month IS NULL),
    count(*) FILTER (WHERE month < 1 OR month > 12),
    count(*) FILTER (WHERE day IS NULL),
    count(*) FILTER (WHERE day < 1 OR day > 31),
    count(*) FILTER (WHERE sched_dep_time IS NULL),
    count(*) FILTER (WHERE sched_dep_time < 0 OR sched_dep_time > 2359),
    count(*) FILTER (WHERE arr_delay IS NULL),
    count(*) FILTER (WHERE carrier IS NULL),
    count(*) FILTER (WHERE NOT regexp_matches(carrier, '^[A-Z0-9]{2}$')),
    count(*) FILTER (WHERE flight IS NULL),
    count(*) FILTER (WHERE tailnum IS NULL),
    count(*) FILTER (WHERE origin IS NULL),
    count(*) FILTER (WHERE origin NOT IN ('EWR', 'JFK', 'LGA')),
    count(*) FILTER (WHERE dest IS NULL),
    count(*) FILTER (WHERE distance IS NULL),
    count(*) FILTER (WHERE distance < 1 OR distance > 6000),
    count(*) FILTER (WHERE time_hour IS NULL),
    count(*) FILTER (WHERE hour * 100 + minute <> sched_dep_time)
FROM flights
"""
KEY = """
SELECT count(*) FROM (
    SELECT 1 FROM flights GROUP BY hash(year, month, day, carrier, flight, origin) HAVING count(*) > 1)
"""


def main() -> None:
    """Print the figures as JSON."""
    file, scratch = sys.argv[1:]
    cpu, wall = time.process_time(), time.perf_counter()
    con = duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": scratch})
    con.from_parquet(file).create_view("flights")
    counts = con.execute(RULES).fetchall()[0]
    duplicates = con.execute(KEY).fetchall()[0][0]
    figures = {
        "rows": counts[0],
        "failed": sum(counts[1:]) - counts[8] - counts[12] + duplicates,
        "nulls": [counts[8], counts[12]],
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
