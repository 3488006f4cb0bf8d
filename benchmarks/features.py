"""Point-in-time joins beside plans written by hand: the flights of the example's year, and a large one.

Usage: python -m benchmarks.features [--rows N] [--events N] [--months N] [--rounds R]

Every round runs both in turn, each in a process of its own, from the same Parquet files with the same settings of
DuckDB; the ratio is that of the medians of processor time. Both sides must come to the same values. Falaj's join holds
for ties, late events and repeated rows; the plan by hand takes it that there are none where there are none.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.limits.features import connected, figures
from benchmarks.measure import ROOT, Loads, bar, median, recorded, result, show, spawned, turns
from falaj.features.define import defined_in
from falaj.features.join import point_in_time
from falaj.features.records import ALL, Feature, Service, View

EXAMPLE = ROOT / "examples" / "flights"
KEYS, DAYS, BEGIN_US = 50_000, 90, 1_700_000_000_000_000
VIEW = View(view="events", entity="thing", keys={"k": "integer"}, source="events", time="t", ttl_s=7 * 86400)
SERVICE = Service(service="many", features=(Feature(view="events", feature=ALL, name=ALL),))


def make_many(folder: Path, rows: int, events: int) -> None:
    """Rows and events of 50,000 keys over 90 days; each event of a key at a microsecond of its own."""
    span = DAYS * 86_400_000_000 // (events // KEYS + 1)
    moment = f"make_timestamp({BEGIN_US} + (i // {KEYS}) * {span} + (hash(i) % {span})::BIGINT)"
    with connected(folder) as con:
        con.execute(
            f"COPY (SELECT hash(i * 31) AS h, i % {KEYS} AS k, {moment} AS t, random() AS a, random() AS b, "
            f"(hash(i + 1) % 100)::INT AS c, random() AS d FROM range({events}) AS r(i)) "
            f"TO '{folder / 'drawn.parquet'}' (FORMAT parquet)"
        )
        con.execute(
            f"COPY (SELECT * EXCLUDE h FROM read_parquet('drawn.parquet') ORDER BY h) "
            f"TO '{folder / 'events.parquet'}' (FORMAT parquet)"
        )
        con.execute(
            f"COPY (SELECT i, (hash(i * 3) % {KEYS})::BIGINT AS k, "
            f"make_timestamp({BEGIN_US} + (hash(i * 7) % {DAYS * 86_400_000_000})::BIGINT) AS at "
            f"FROM range({rows}) AS r(i)) TO '{folder / 'rows.parquet'}' (FORMAT parquet)"
        )
    (folder / "drawn.parquet").unlink()


def make_flights(folder: Path, months: int) -> None:
    """The example's feeds."""
    feeds = _module(EXAMPLE / "feeds.py")
    wanted = range(1, months + 1)
    feeds.write_planes(folder)
    for write in (feeds.write_weather, feeds.write_departures, feeds.write_schedule):
        write(folder, wanted)


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def join_many(folder: Path) -> dict[str, Any]:
    """What the large join takes."""
    con = connected(folder)
    cpu, wall = time.process_time(), time.perf_counter()
    for name in ("rows", "events"):
        con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{name}.parquet')")
    point_in_time(con, "rows", SERVICE, {"events": VIEW}, {"events": "events"}, at="at", into="joined")
    return figures(con, cpu, wall)


def join_flights(folder: Path) -> dict[str, Any]:
    """What `delay_v1` takes for every flight of the months."""
    definitions = defined_in(EXAMPLE / "features.py")
    service, views = definitions.services[0], {view.view: view for view in definitions.views}
    con = connected(folder)
    cpu, wall = time.process_time(), time.perf_counter()
    for name in ("schedule", "weather", "planes", "departures"):
        con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{name}*.parquet')")
    sources = {name: view.source.partition("@")[0] for name, view in views.items()}
    point_in_time(con, "schedule", service, views, sources, at="decided_at", into="joined")
    return figures(con, cpu, wall)


JOINS: dict[str, Callable[[Path], dict[str, Any]]] = {"many": join_many, "flights": join_flights}


def _turn(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spawned(["-m", *words]).out)
    return found


def compared(case: str, what: str, folder: Path, rounds: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The bar of a case, and what is recorded beside. Raises: SystemExit where the two sides differ."""
    runs = turns(
        {
            "bare": partial(_turn, "benchmarks.limits.features", case, str(folder)),
            "falaj": partial(_turn, "benchmarks.features", "--join", case, str(folder)),
        },
        rounds,
    )
    if runs["bare"][0]["holds"] != runs["falaj"][0]["holds"]:
        raise SystemExit(
            f"{what}: the two do not hold the same: {runs['bare'][0]['holds']}, {runs['falaj'][0]['holds']}"
        )
    cpu, wall = (
        {who: median([run[unit] for run in them]) for who, them in runs.items()} for unit in ("cpu_s", "wall_s")
    )
    peak = {who: max(run["peak_mib"] for run in them) for who, them in runs.items()}
    return bar(what, "s of the processor", cpu["falaj"], cpu["bare"], at_most=1.5), [
        recorded(f"{what}, waited", "s", wall["falaj"], wall["bare"]),
        recorded(f"{what}, memory", "MiB", peak["falaj"], peak["bare"]),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--months", type=int, default=12, choices=range(1, 13), metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--join", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.join:
        print(json.dumps(JOINS[given.join[0]](Path(given.join[1]))))
        return
    loads, bars, others = Loads(), [], []
    large = f"point-in-time join of {given.rows:,} rows and {given.events:,} events"
    months = f"point-in-time join of the flights of {given.months} months"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_many(place, given.rows, given.events)
        make_flights(place, given.months)
        for case, what in (("flights", months), ("many", large)):
            one, more = compared(case, what, place, given.rounds)
            bars.append(one)
            others += more
    show(result("features", loads, bars, others, keys=KEYS, rounds=given.rounds))


if __name__ == "__main__":
    main()
