"""Features from a project's `features.py` to a joined version, and what is refused on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.cli.commands.config import from_features
from falaj.core.errors import FalajError, Forbidden, NotFound
from falaj.features.define import defined_in
from falaj.features.errors import FeatureInvalid
from falaj.store.errors import EvidenceSealed
from tests.platform.places import Served, make_place, serve

FEATURES = """
import falaj as fj

print("a print does no harm")
airport = fj.Entity("airport", keys={"origin": str})
weather = fj.FeatureView(
    "airport_weather", entity=airport, source=fj.Dataset("weather"), time="observed_at", ttl="3h",
    sql="SELECT origin, observed_at, temp FROM source WHERE temp < 60", features=["temp"],
)
delays = fj.FeatureView(
    "airport_delays", entity=airport, source=fj.Dataset("departures"), time="departed_at", created="reported_at",
    windows=[fj.mean("dep_delay", over="3h"), fj.count(over="3h")],
)
delay_v1 = fj.FeatureService("delay_v1", [weather, delays["dep_delay_mean_3h"], delays["count_3h"].named("busy")])
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {name}
name: {name}
version: 1.0.0
status: active
schema:
  - name: {name}
    properties:
{columns}
"""
TABLES = {
    "weather": (
        {"origin": "string", "observed_at": "timestamp", "temp": "number"},
        ["JFK,2013-01-01T08:00:00Z,3.5", "JFK,2013-01-01T10:00:00Z,4.5", "JFK,2013-01-01T11:30:00Z,99"],
    ),
    "departures": (
        {"origin": "string", "departed_at": "timestamp", "reported_at": "timestamp", "dep_delay": "integer"},
        [
            "JFK,2013-01-01T09:30:00Z,2013-01-01T09:40:00Z,10",
            "JFK,2013-01-01T11:00:00Z,2013-01-01T11:10:00Z,30",
            "JFK,2013-01-01T11:30:00Z,2013-01-01T13:00:00Z,500",
        ],
    ),
    "flights": (
        {"flight": "integer", "origin": "string", "decided_at": "timestamp"},
        ["1,JFK,2013-01-01T12:00:00Z", "2,JFK,2013-01-01T07:00:00Z", "3,LGA,2013-01-01T12:00:00Z", "3,JFK,"],
    ),
}


def contract(name: str) -> dict[str, str]:
    columns = "\n".join(f"      - {{name: {c}, logicalType: {t}}}" for c, t in TABLES[name][0].items())
    return {"path": f"contracts/{name}.yaml", "text": CONTRACT.format(name=name, columns=columns)}


@pytest.fixture
def features_py(tmp_path: Path) -> Path:
    file = tmp_path / "features.py"
    file.write_text(FEATURES, encoding="utf-8")
    return file


@pytest.fixture
def served(tmp_path: Path, database_address: str, features_py: Path) -> Iterator[Served]:
    made = serve(make_place(tmp_path / "flights"), database_address)
    made.owner.call("config.apply", files=[contract(name) for name in TABLES])
    for name, (columns, lines) in TABLES.items():
        file = tmp_path / f"{name}.csv"
        file.write_text("\n".join([",".join(columns), *lines]) + "\n", encoding="utf-8")
        made.owner.call("data.add", dataset=name, files=[made.owner.stage(file)])
    texts = from_features(features_py)
    made.owner.call("config.apply", files=[{"path": path, "text": text} for path, text in texts.items()])
    yield made
    made.platform.close()


def joined(served: Served, tmp_path: Path) -> list[dict[str, object]]:
    import pyarrow.parquet as pq

    file = tmp_path / "joined.parquet"
    file.write_bytes(b"".join(served.owner.call("data.get", thing="training@main")))
    rows: list[dict[str, object]] = pq.read_table(file).to_pylist()
    return rows


def test_rows_learn_what_was_known_at_their_time(served: Served, tmp_path: Path) -> None:
    told = served.owner.call("features.join", service="delay_v1", rows="flights@main", at="decided_at", into="training")
    assert (told.rows, told.features) == (4, ("temp", "dep_delay_mean_3h", "busy"))
    got = [(r["flight"], r["temp"], r["dep_delay_mean_3h"], r["busy"]) for r in joined(served, tmp_path)]
    # The third departure was reported after twelve; the weather of 11:30 is a fault that the view leaves out.
    assert got == [(1, 4.5, 20.0, 2), (2, None, None, 0), (3, None, None, 0), (3, None, None, None)]


def test_a_view_of_a_dataset_that_is_not_there_is_named_with_it(served: Served, features_py: Path) -> None:
    text = FEATURES.replace('fj.Dataset("weather")', '"gone"').replace("airport_weather", "gone_weather")
    features_py.write_text(text.replace('"delay_v1"', '"delay_v2"'), encoding="utf-8")
    texts = from_features(features_py)
    served.owner.call("config.apply", files=[{"path": path, "text": text} for path, text in texts.items()])
    with pytest.raises(NotFound, match="feature view gone_weather: dataset/gone"):
        served.owner.call("features.join", service="delay_v2", rows="flights@main", at="decided_at", into="training")


def test_the_lineage_names_rows_sources_and_definitions(served: Served) -> None:
    served.owner.call("features.join", service="delay_v1", rows="flights@main", at="decided_at", into="training")
    nodes = served.owner.call("asset.lineage", thing="dataset/training").nodes
    above = {(n.kind, n.name) for n in nodes if n.depth == 1}
    assert above == {
        ("dataset", "flights"),
        ("dataset", "weather"),
        ("dataset", "departures"),
        ("feature_service", "delay_v1"),
        ("feature_view", "airport_weather"),
        ("feature_view", "airport_delays"),
    }


def test_a_change_of_a_view_waits_for_another_person(served: Served, features_py: Path) -> None:
    features_py.write_text(FEATURES.replace('ttl="3h"', 'ttl="1h"'), encoding="utf-8")
    texts = from_features(features_py)
    sara = served.person("sara", ("maintainer", "project:flights"))
    applied = sara.call("config.apply", files=[{"path": p, "text": t} for p, t in texts.items()])
    outcomes = {f.name: f.outcome for f in applied.files}
    assert outcomes == {"airport_weather": "proposed", "airport_delays": "unchanged", "delay_v1": "unchanged"}


def test_who_may_not_read_a_source_joins_nothing(served: Served) -> None:
    eve = served.person(
        "eve",
        ("contributor", "asset:flights/dataset/flights"),
        ("contributor", "asset:flights/dataset/training"),
        ("contributor", "asset:flights/feature_service/delay_v1"),
    )
    with pytest.raises((Forbidden, NotFound, FeatureInvalid)) as refused:
        eve.call("features.join", service="delay_v1", rows="flights@main", at="decided_at", into="training")
    assert "weather" in refused.value.message
    with pytest.raises(NotFound):
        served.owner.call("asset.show", thing="dataset/training@main")


def test_evidence_of_a_gate_is_joined_by_no_contributor(served: Served) -> None:
    gate = "gate: release\nguards: [delay@production]\nevidence: {data: flights@holdout, label: hour > 12}\n"
    gate += "rules:\n  - {metric: auc, at_least: 0.6}\n"
    served.owner.call("config.apply", files=[{"path": "gates/release.yaml", "text": gate}])
    served.owner.call("ref.promote", thing="dataset/flights@holdout", version=1)
    lina = served.person("lina", ("contributor", "project:flights"))
    with pytest.raises(EvidenceSealed):
        lina.call("features.join", service="delay_v1", rows="flights@main", at="decided_at", into="training")
    with pytest.raises(NotFound):
        served.owner.call("asset.show", thing="dataset/training@main")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"at": "nothing"}, "no column nothing"),
        ({"rows": "flights@other"}, "no such thing"),
        ({"service": "delay_v2"}, "no such thing"),
        ({"rows": "contract/flights"}, "a dataset is expected"),
        ({"into": "a/../x"}, "U\\+002F"),
    ],
)
def test_what_cannot_be_joined_is_told_and_leaves_nothing(served: Served, args: dict[str, str], word: str) -> None:
    given = {"service": "delay_v1", "rows": "flights@main", "at": "decided_at", "into": "training", **args}
    with pytest.raises(FalajError, match=word):
        served.owner.call("features.join", **given)
    with pytest.raises(NotFound):
        served.owner.call("asset.show", thing="dataset/training@main")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("import falaj as fj\n1/0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "ended without a word"),
        ("import falaj as fj\nfj.Entity('a', keys={})\n", "no keys"),
        ("import falaj as fj\nfj.Entity('a', keys={'x': float})\n", "neither str nor int"),
        (FEATURES + "\nother = fj.FeatureService('delay_v1', [weather])\n", "defined twice"),
        (FEATURES.replace('ttl="3h"', 'ttl="soon"'), r"features.py:\d+: span 'soon'"),
        (FEATURES.replace('over="3h"', 'over="0h"'), "span"),
    ],
)
def test_a_file_that_defines_nothing_sensible_is_refused(features_py: Path, text: str, word: str) -> None:
    features_py.write_text(text, encoding="utf-8")
    with pytest.raises(FeatureInvalid, match=word):
        defined_in(features_py)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM source; SELECT 1",
        "DROP TABLE source",
        "COPY source TO 'x.csv'",
        "SELECT * FROM source) AS a; SELECT (1",
        "SELECT origin, observed_at, temp FROM read_csv('/etc/passwd')",
        "not sql",
    ],
)
def test_the_sql_of_a_view_selects_and_nothing_else(served: Served, features_py: Path, sql: str) -> None:
    text = FEATURES.replace('"SELECT origin, observed_at, temp FROM source WHERE temp < 60"', repr(sql))
    features_py.write_text(
        text.replace("airport_weather", "hostile").replace("delay_v1", "hostile_v1"), encoding="utf-8"
    )
    files = [{"path": p, "text": t} for p, t in from_features(features_py).items()]
    served.owner.call("config.apply", files=files)
    with pytest.raises(FeatureInvalid):
        served.owner.call("features.join", service="hostile_v1", rows="flights@main", at="decided_at", into="training")
