"""Reports: what was answered since the last one is judged once, by the version that holds the ref."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from falaj.cli.render import RENDERERS
from falaj.core.entries import What
from falaj.core.errors import NotFound
from falaj.core.names import Thing
from falaj.deploy.records import Drift, ScoreWatch
from falaj.gates import metrics
from falaj.monitor import measuring, reporting, rules
from falaj.monitor.errors import NothingServed
from falaj.monitor.records import ColumnDrift, Interval, LiveScore
from tests.models.kites import GATE
from tests.monitor.watched import DEPLOYMENT, Deployed, asked, kites, windy, written


def answer(deployed: Deployed, table: pa.Table, **more: Any) -> None:
    written(deployed.log, asked(table, **more))
    deployed.collect()


# end to end


def test_from_the_lines_of_a_server_to_an_alarm_in_the_ledger(tmp_path: Path, database_address: str) -> None:
    deployed = Deployed(tmp_path / "kites", database_address)
    june, strong = kites(400, seed=5, start=500), windy(kites(400, seed=6, start=2_000), 6.0)
    answer(deployed, june)
    deployed.outcomes(june)
    deployed.labels()
    quiet = deployed.report()
    assert (quiet["verdict"], quiet["drift"], quiet["alarms"]) == ("ok", "ok", {})

    answer(deployed, strong)
    deployed.outcomes(pa.concat_tables([june, strong]))
    deployed.labels()
    loud = deployed.report()
    assert (loud["number"], loud["verdict"], loud["rows"]) == (2, "drift_and_score_fell", 400)
    assert [c["column"] for c in loud["columns"] if c["significant"] and c["large"]] == ["wind", "prediction"]
    wind = loud["columns"][0]
    assert wind["means"][1] - wind["means"][0] == pytest.approx(6, abs=0.8)
    assert loud["scored"]["worse_by"]["low"] > 0.02
    told = "\n".join(RENDERERS["report"](loud, {}))
    assert "drift  ALARM  2 of 3 columns drifted: wind" in told
    assert "score  ALARM  brier" in told

    (drift,), (fell,) = deployed.entries("drift.found"), deployed.entries("score.fell")
    for entry, word in ((drift, "drift.found"), (fell, "score.fell")):
        told = deployed.call("ledger.show", entry=str(entry["leaf"]), scope="project:kites")
        things = [deployed.call("asset.show", thing=t) for t in ("deployment/delay", "report/delay")]
        assert [one["name"] for one in things] == ["delay", "delay"]
        assert (told["what"], len(told["on"]), loud["alarms"][word]) == (word, 2, told["id"])
    assert len(deployed.entries("report.made")) == 2
    assert deployed.call("monitor.status", deployment="delay")["reports"][0]["verdict"] == "drift_and_score_fell"
    used = deployed.call("asset.lineage", thing="report/delay@main")["nodes"][0]["inputs"]
    assert {"dataset/delay_predictions:2", "dataset/delay_labelled:2", "model/delay:1", "deployment/delay:1"} <= set(
        used
    )
    assert deployed.call("ledger.verify")["ok"]
    deployed.house.platform.close()


# windows


def test_an_answer_is_judged_once(deployed: Deployed) -> None:
    answer(deployed, windy(kites(300, seed=5), 6.0))
    assert deployed.report()["drift"] == "alarm"
    answer(deployed, kites(300, seed=6))
    again = deployed.report()
    assert again["rows"] == 300
    assert [c["column"] for c in again["columns"] if c["significant"] and c["large"]] == ["prediction"]  # as at first


def test_what_was_not_enough_is_judged_with_what_comes(deployed: Deployed) -> None:
    strong = windy(kites(250, seed=5), 6.0)
    answer(deployed, strong.slice(0, 150))
    early = deployed.report()
    assert (early["verdict"], early["rows"], early["alarms"]) == ("not_enough_data", 150, {})
    assert early["why"][0] == "150 answers; 200 are needed"
    answer(deployed, strong.slice(150))
    later = deployed.report()
    assert (later["drift"], later["rows"]) == ("alarm", 250)
    assert deployed.report()["rows"] == 0


def test_shadows_failures_and_other_versions_are_not_what_the_holder_answered(deployed: Deployed) -> None:
    strong = windy(kites(300, seed=5), 6.0)
    written(deployed.log, asked(strong, role="shadow"))
    written(deployed.log, asked(strong, version=2, role="canary"))
    written(deployed.log, asked(strong, output=None, error="it failed"))
    written(deployed.log, asked(kites(300, seed=6)))
    deployed.collect()
    found = deployed.report()
    assert (found["drift"], found["rows"]) == ("ok", 300)
    assert [(v["version"], v["answered"], v["failed"]) for v in found["versions"]] == [(1, 300, 300), (2, 300, 0)]


def test_outcomes_that_come_late_are_scored_in_the_report_after_they_came(deployed: Deployed) -> None:
    june = kites(300, seed=5, start=500)
    answer(deployed, june)
    assert deployed.report()["score"] == "not_enough_data"
    deployed.outcomes(june)
    deployed.labels()
    late = deployed.report()
    assert (late["rows"], late["scored"]["rows"]) == (0, 300)
    expected = metrics.brier(june["late"].to_pylist(), [line.output for line in asked(june)])
    assert late["scored"]["live"]["value"] == pytest.approx(expected)


# references


def test_the_score_is_compared_with_what_the_gate_measured(deployed: Deployed) -> None:
    house = deployed.house
    house.apply("gates/production.yaml", GATE.replace("  - check: format\n", "  - {metric: brier, at_most: 0.2}\n"))
    house.register(house.model(5))
    house.call("config.apply", files=[{"path": "deploy/production.yaml", "text": DEPLOYMENT}])
    promoted = house.promote(2)
    found = {finding["title"]: finding["observed"] for finding in promoted["findings"]}
    if promoted["sort"] == "rollout":
        house.call("deploy.advance", deployment="delay")
    june = kites(300, seed=5, start=500)
    answer(deployed, june, version=2)
    deployed.outcomes(june)
    deployed.labels()
    told = deployed.report()
    assert (told["version"], told["score"]) == (2, "ok")
    assert told["scored"]["reference"] == pytest.approx(found["brier"], abs=1e-6)
    assert told["scored"]["reference_of"] == "its gate, 400 rows"


def test_the_first_report_stays_the_reference_however_many_came_without_outcomes(deployed: Deployed) -> None:
    june, july = kites(300, seed=5, start=500), kites(300, seed=6, start=900)
    answer(deployed, june)
    deployed.outcomes(june)
    deployed.labels()
    first = deployed.report()
    platform = deployed.house.platform
    with platform.ground.units.begin(platform.own_caller.actor, "test") as unit:
        catalog = platform.ground.catalog
        project = catalog.project(unit.tx, "kites")
        asset = catalog.asset(unit.tx, project.id, Thing("delay", "report"))
        empty = msgspec.structs.replace(catalog.payload(asset, catalog.version(unit.tx, asset, 1)), scored=None)
        for _ in range(25):
            catalog.move(unit, asset, "main", catalog.add_version(unit, asset, empty))
        unit.say(What.REPORT_MADE, [asset.id])
    answer(deployed, july)
    deployed.outcomes(pa.concat_tables([june, july]))
    deployed.labels()
    told = deployed.report()
    assert told["scored"]["reference"] == first["scored"]["live"]["value"]
    assert told["scored"]["reference_of"] == "report 1, 300 outcomes"


def test_first_answers_are_the_reference_where_the_deployment_says_so(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DEPLOYMENT.replace("training", "first"))
    strong = windy(kites(300, seed=5), 6.0)
    answer(deployed, strong)
    first = deployed.report()
    assert (first["drift"], first["reference"]) == ("not_enough_data", "the first 5,000 answers of delay v1")
    answer(deployed, windy(kites(300, seed=6), 6.0))
    assert deployed.report()["drift"] == "ok"
    answer(deployed, kites(300, seed=7))
    assert deployed.report()["drift"] == "alarm"


def test_columns_that_the_log_leaves_out_say_so(deployed: Deployed) -> None:
    lines = asked(kites(300, seed=5))
    written(deployed.log, [msgspec.structs.replace(line, inputs={"wind": line.inputs["wind"]}) for line in lines])
    deployed.collect()
    columns = {c["column"]: c for c in deployed.report()["columns"]}
    assert (columns["town"]["psi"], columns["town"]["note"]) == (None, "not in the log")
    assert columns["wind"]["psi"] is not None


def test_a_window_of_very_many_files_is_read_as_a_few(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(5)]
    for number, path in enumerate(paths):  # an input that was added, and one whose type changed on the way
        more = {"input_new": [1.5]} if number > 2 else {}
        pq.write_table(pa.table({"row": [number], "input_a": [number if number < 4 else "x"], **more}), path)
    found = reporting.few(paths, tmp_path, most=2)
    assert [path.name for path in found] == ["some-000000.parquet", "some-000001.parquet", "some-000002.parquet"]
    rows = [row for path in found for row in pq.read_table(path).to_pylist()]
    assert [row["row"] for row in rows] == list(range(5))
    assert [str(row["input_a"]) for row in rows] == ["0", "1", "2", "3", "x"]
    assert [row.get("input_new") for row in rows] == [None, None, None, 1.5, 1.5]
    assert reporting.few(paths, tmp_path, most=5) == paths


def test_nothing_is_reported_on_what_is_not_there(deployed: Deployed) -> None:
    with pytest.raises(NotFound):
        deployed.call("monitor.report", deployment="other")
    found = deployed.report()
    assert (found["verdict"], found["first_at"]) == ("not_enough_data", None)
    text = DEPLOYMENT.replace("delay@production", "delay@staging").replace("deployment: delay", "deployment: next")
    deployed.house.apply("deploy/next.yaml", text)
    with pytest.raises(NothingServed, match="delay@staging"):
        deployed.call("monitor.report", deployment="next")


# the rules


def column(name: str, psi: float, p: float) -> ColumnDrift:
    return ColumnDrift(column=name, sort="number", psi=psi, p=p)


@pytest.mark.parametrize(
    ("columns", "asked_for", "rows", "answer_", "words"),
    [
        ([column("a", 0.3, 1e-9)], Drift(), 1_000, "alarm", "1 of 1 columns drifted: a 0.3"),
        ([column("a", 0.2, 0.01)], Drift(), 1_000, "alarm", "1 of 1"),
        ([column("a", 0.19, 1e-9)], Drift(), 1_000, "ok", "0 of 1"),
        ([column("a", 0.3, 0.02)], Drift(), 1_000, "ok", "0 of 1"),
        ([column("a", 0.3, 0.01), *[column(f"b{i}", 0.0, 0.9) for i in range(9)]], Drift(), 1_000, "ok", "0 of 10"),
        ([column("a", 0.3, 1e-9)], Drift(columns=2), 1_000, "ok", "1 of 1"),
        ([column("a", 0.3, 1e-9), column("b", 0.4, 1e-9)], Drift(columns=2), 1_000, "alarm", "2 of 2"),
        ([column("a", 0.3, 1e-9)], Drift(), 199, "not_enough_data", "199 answers; 200 are needed"),
        ([column("a", 0.3, 1e-9)], None, 1_000, "not_asked", "not watched"),
        ([ColumnDrift(column="a", sort="number", note="no log")], Drift(), 1_000, "not_enough_data", "no log"),
    ],
)  # fmt: skip
def test_drift_is_what_is_significant_and_large_in_enough_columns(
    columns: list[ColumnDrift], asked_for: Drift | None, rows: int, answer_: str, words: str
) -> None:
    judged = measuring.judged(columns, asked_for) if asked_for else tuple(columns)
    found, why = rules.drift_answer(judged, rows, asked_for)
    assert found == answer_
    assert words in why


@pytest.mark.parametrize(
    ("metric", "live", "reference", "answer_"),
    [
        ("brier", (0.15, 0.14, 0.16), 0.13, "ok"),  # worse, and the interval reaches what is tolerated
        ("brier", (0.17, 0.16, 0.18), 0.13, "alarm"),
        ("brier", (0.10, 0.09, 0.11), 0.13, "ok"),
        ("auc", (0.70, 0.68, 0.72), 0.75, "alarm"),
        ("auc", (0.73, 0.71, 0.75), 0.75, "ok"),
        ("auc", (0.80, 0.78, 0.82), 0.75, "ok"),
    ],
)
def test_the_score_fell_where_its_whole_interval_is_beyond_what_is_tolerated(
    metric: Any, live: tuple[float, float, float], reference: float, answer_: str
) -> None:
    value = Interval(value=live[0], low=live[1], high=live[2])
    worse = rules.against_reference(value, metric, reference)
    assert worse.low <= worse.value <= worse.high
    scored = LiveScore(metric=metric, rows=1_000, live=value, reference=reference, reference_of="x", worse_by=worse)
    assert rules.score_answer(scored, ScoreWatch(metric=metric, no_worse_than=0.02))[0] == answer_


@pytest.mark.parametrize("metric", ["brier", "log_loss", "accuracy", "auc"])
def test_the_interval_of_a_live_score_holds_the_truth_as_often_as_it_says(metric: str) -> None:
    """Answers of a calibrated model: its truth is known from a million of them."""
    rng = np.random.default_rng(12)

    def drawn(rows: int) -> tuple[Any, Any]:
        p = rng.beta(2, 5, rows)
        return rng.random(rows) < p, p

    truth = metrics.METRICS[metric](*drawn(1_000_000))
    found = [measuring.interval(metric, *drawn(400)) for _ in range(200)]
    held = sum(one is not None and one.low <= truth <= one.high for one in found)
    assert 180 <= held <= 199


@pytest.mark.parametrize(
    ("label", "output", "metric"),
    [([], [], "brier"), ([True], [0.4], "brier"), ([True] * 300, [0.4] * 300, "auc")],
    ids=["no rows", "one row", "one class"],
)
def test_an_undefined_score_has_no_interval(label: list[bool], output: list[float], metric: str) -> None:
    assert measuring.interval(metric, np.array(label, dtype=bool), np.array(output, dtype=float)) is None
