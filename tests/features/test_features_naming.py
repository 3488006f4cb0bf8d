"""Features by name, from definitions and contracts alone: which there are, and which may be late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from falaj.data.contract import parse
from falaj.data.records import Contract
from falaj.features.definitions import Dataset, Entity, FeatureService, FeatureView, count, mean
from falaj.features.naming import naming
from tests.features.test_features_project import CONTRACT

AIRPORT = Entity("airport", keys={"origin": str})
LATE = "customProperties: [{property: knownAfter, value: departure}]"
DECISION = "customProperties: [{property: decision, value: two hours before}]"


def contract(*late: str) -> Contract:
    columns = {"origin": "string", "seen": "timestamp", "told": "timestamp", "temp": "number", "dep_delay": "integer"}
    lines = [
        f"      - {{name: {name}, logicalType: {kind}{f', {LATE}' if name in late else ''}}}"
        for name, kind in columns.items()
    ]
    text = CONTRACT.format(name="departures", columns="\n".join(lines))
    return parse(text.replace("schema:", f"{DECISION}\nschema:"))[0]


def view(**more: Any) -> FeatureView:
    return FeatureView("delays", entity=AIRPORT, source=Dataset("departures"), time="seen", **more)


WARM = "SELECT origin, seen, told, temp * 2 AS warm FROM source"
WINDOWS = [mean("dep_delay", over="3h"), count(over="3h")]
CASES: list[tuple[str, dict[str, Any], set[str], set[str]]] = [
    ("all columns but keys and times", {"created": "told"}, {"temp", "dep_delay"}, set()),
    ("late columns without created", {}, {"told", "temp"}, {"dep_delay"}),
    ("features that are named", {"features": ["temp"]}, {"temp"}, set()),
    ("a window over a late column", {"windows": WINDOWS}, {"count_3h"}, {"dep_delay_mean_3h"}),
    ("the same, known when told", {"windows": WINDOWS, "created": "told"}, {"count_3h", "dep_delay_mean_3h"}, set()),
    ("SQL says its columns", {"sql": WARM, "created": "told"}, {"warm"}, set()),
    ("SQL may reach any column", {"sql": WARM}, set(), {"warm", "told"}),
]


@pytest.mark.parametrize(("case", "more", "names", "doubtful"), CASES, ids=[case[0] for case in CASES])
def test_features_are_named_and_those_that_may_be_late_told(
    tmp_path: Path, case: str, more: dict[str, Any], names: set[str], doubtful: set[str]
) -> None:
    one = view(**more)
    found = naming(
        FeatureService("s", [one]).record, {"delays": one.record}, {"delays": contract("dep_delay")}, scratch=tmp_path
    )
    assert (set(found.names), set(found.doubtful), found.troubles) == (names, doubtful, ())
    assert all("dep_delay after departure is known, and names no `created`" in why for why in found.doubtful.values())


def test_a_feature_has_the_name_that_the_service_gives_it(tmp_path: Path) -> None:
    one = view(created="told")
    service = FeatureService("s", [one["temp"].named("heat"), one["nothing"]]).record
    found = naming(service, {"delays": one.record}, {"delays": contract()}, scratch=tmp_path)
    assert (found.names, found.doubtful) == ({"heat": "delays"}, {})


@pytest.mark.parametrize(
    ("more", "contracts", "says"),
    [
        ({}, {}, "takes from departures, which has no contract"),
        ({"features": ["gust"]}, {"delays": contract()}, "no column gust"),
        ({"sql": "SELECT origin, seen, gust FROM source"}, {"delays": contract()}, "gust"),
        ({"sql": "DROP TABLE source"}, {"delays": contract()}, "one SELECT is expected"),
    ],
    ids=["no contract", "a column that is not there", "the same in SQL", "no SELECT"],
)
def test_what_cannot_be_named_is_told(tmp_path: Path, more: dict[str, Any], contracts: Any, says: str) -> None:
    one = view(**more)
    found = naming(FeatureService("s", [one]).record, {"delays": one.record}, contracts, scratch=tmp_path)
    assert found.names == {}
    assert says in found.troubles[0]


def test_a_view_that_is_gone_is_told(tmp_path: Path) -> None:
    found = naming(FeatureService("s", [view()["temp"]]).record, {}, {}, scratch=tmp_path)
    assert found.troubles == ("feature view delays is not there",)
