"""The project of the short year: the example's own contracts, features and training, with little data and few trees.

January is there before the story begins; February, March and April come in one after the other. Of each month there
are a few days, and the contract of `flights` asks for no more.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import duckdb

EXAMPLE = Path(__file__).parents[3] / "examples" / "flights"
if str(EXAMPLE) not in sys.path:
    sys.path.insert(0, str(EXAMPLE))  # the example's files import each other by their plain names

import feeds  # noqa: E402
import months  # noqa: E402

FIRST, MONTHS = 1, (2, 3, 4)
TRAINED, HELD_OUT = 4, 6
"""Days of a month that come in, and the last day of January that the gate measures on."""
QUESTIONS = 600
EDITS = {
    "contracts/flights.yaml": {"mustBeGreaterOrEqualTo: 20000": "mustBeGreaterOrEqualTo: 1000"},
    "training.py": {"max_iter=80": "max_iter=8", "min_samples_leaf=100": "min_samples_leaf=20"},
}
"""What is made small."""
SETTINGS = 'project = "flights"\n\n[locations.main]\nurl = "file:objects"\nregion = "AE-DU"\n'
PIPELINE = """
from sklearn.preprocessing import OrdinalEncoder

import falaj as fj
from training import COLUMNS, LABEL, ROWS_OF_SCHEDULE, boosted, days, matrix
from features import delay_v1


@fj.step(retries=9)
def training_set(flights: fj.Dataset, *, rows: int) -> fj.Table:
    return fj.point_in_time(flights.sql(f"{ROWS_OF_SCHEDULE} LIMIT {rows}"), delay_v1, at="decided_at")


@fj.step(retries=9)
def train(data: fj.Table, *, leaves: int) -> fj.Model:
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=20)
    seen = days(data, held_out=False)
    return boosted(encode, COLUMNS, leaves).fit(matrix(seen, COLUMNS), seen["late"].to_numpy())


@fj.step(retries=9)
def evaluate(model: fj.Model, data: fj.Table) -> fj.Metrics:
    return fj.score(model, data, label="late", columns=COLUMNS)


@fj.pipeline
def delay(flights: fj.Dataset = fj.dataset("flights@main"), rows: int = 2_500, leaves: tuple[int, ...] = (4, 8)):
    data = training_set(flights, rows=rows)
    models = train.map(data=data, leaves=leaves)
    best = fj.best(models, evaluate.map(model=models, data=data), by="brier", least=True)
    return fj.register("delay", best, label=LABEL, columns=COLUMNS)
"""
GATE = """\
gate: production
guards: [delay@production]
evidence: {data: delay_evidence@holdout, label: arr_delay > 30}
rules:                             # bounds so wide that every honest model of a few days passes
  - {metric: auc, at_least: 0.4}
  - {metric: brier, at_most: 0.4}
  - {metric: brier, against: holder, no_worse_than: 0.3}
  - check: no_leakage
  - check: lineage_complete
  - check: signature
  - check: format
  - approval: {from: maintainer, not: proposer}
"""
DEPLOYMENT = """\
deployment: delay
model: delay@production
rollout: {canary: [5%, 25%, 100%], bake: 50 requests, judge: [errors]}
rollback: {when: ["errors > 1%"]}
labels: {data: flights@main, key: [year, month, day, carrier, flight, origin]}
watch:
  reference: training
  drift: {level: 0.01, effect: 5, columns: 18}
  score: {metric: brier, no_worse_than: 0.5}
"""
TRIGGER = """\
trigger: retrain-delay
when: {any: [new_version: flights@main]}
start: delay
propose: delay@production
as: retrainer
"""
FILES = {"gates/production.yaml": GATE, "deploy/production.yaml": DEPLOYMENT}


def write(folder: Path) -> None:
    """The project's files and its data, in a new folder."""
    for name in ("contracts", "gates", "deploy"):
        (folder / name).mkdir(parents=True)
    for path in (*EXAMPLE.glob("contracts/*.yaml"), EXAMPLE / "features.py", EXAMPLE / "training.py"):
        name = path.relative_to(EXAMPLE).as_posix()
        text = path.read_text("utf-8")
        for old, new in EDITS.get(name, {}).items():
            assert old in text, f"{name}: {old}"
            text = text.replace(old, new)
        (folder / name).write_text(text, "utf-8")
    written = {"falaj.toml": SETTINGS, "pipeline.py": PIPELINE, **FILES}
    for name, text in written.items():
        (folder / name).write_text(text, "utf-8")
    _data(folder / "data")


def applied(folder: Path) -> list[dict[str, str]]:
    """What `falaj apply` sends, but for features and trigger."""
    paths = [*folder.glob("contracts/*.yaml"), *(folder / name for name in FILES)]
    return [{"path": path.relative_to(folder).as_posix(), "text": path.read_text("utf-8")} for path in sorted(paths)]


def file(folder: Path, name: str, month: int) -> Path:
    """A month of a feed; of `flights`, what came of them."""
    return folder / "data" / (f"2013-{month:02d}.csv" if name == "flights" else f"{name}-2013-{month:02d}.parquet")


def _data(out: Path) -> None:
    whole, wanted = out / "whole", (FIRST, *MONTHS)
    months.write_months(months.source(), whole, wanted)
    feeds.write_weather(whole, wanted)
    feeds.write_departures(whole, wanted)
    feeds.write_schedule(whole, wanted)
    feeds.write_planes(out)
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for month in wanted:
            _cut(con, whole, out, month)
    shutil.rmtree(whole)


def _cut(con: duckdb.DuckDBPyConnection, whole: Path, out: Path, month: int) -> None:
    """The first days of a month. The schedule of January is the gate's: the days after those."""
    csv, day = f"2013-{month:02d}.csv", "make_date(2013, {month}, {last} + 1)"
    (out / csv).write_bytes(
        b"".join(
            line
            for line in (whole / csv).read_bytes().splitlines(keepends=True)
            if not (word := line.split(b",", 3)[2]).isdigit() or int(word) <= TRAINED
        )
    )
    end = day.format(month=month, last=HELD_OUT)
    days = f"day > {TRAINED} AND day <= {HELD_OUT}" if month == FIRST else f"day <= {TRAINED}"
    asked = "* REPLACE (NULL::BIGINT AS dep_delay, NULL::BIGINT AS arr_delay)" if month != FIRST else "*"
    drawn = f"ORDER BY md5(concat_ws('/', month, day, carrier, flight, origin)) LIMIT {QUESTIONS}"
    for name, chosen, where in (
        ("weather", "*", f"time_hour < {end}"),
        ("departures", "*", f"departed_at < {end}"),
        ("schedule", asked, f"{days} {'' if month == FIRST else drawn}"),
    ):
        source, target = file(out.parent, name, month), f"{name}-2013-{month:02d}.parquet"
        con.execute(
            f"COPY (SELECT {chosen} FROM '{whole / source.name}' WHERE {where}) TO '{out / target}' (FORMAT parquet)"
        )


def key_of(row: dict[str, Any]) -> str:
    """The key of a flight."""
    return "/".join(str(row[name]) for name in feeds.KEY)
