"""Features inside of a step: joined as of each row's time, their sources inputs of the step; models scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.cli.commands.config import from_features
from falaj.core.errors import NotFound
from falaj.store.errors import EvidenceSealed
from tests.features.test_features_project import FEATURES, TABLES, contract
from tests.pipelines.house import Project, states

PIPELINE = """
from features import delay_v1

@fj.step
def training(flights: fj.Dataset) -> fj.Table:
    return fj.point_in_time(flights.sql("SELECT flight, origin, decided_at FROM flights"), delay_v1, at="decided_at")

@fj.step
def temperatures(data: fj.Table) -> list[float]:
    return [t for t in data["temp"].to_pylist() if t is not None]

@fj.step
def alone(flights: fj.Dataset) -> int:
    return flights.table().num_rows

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main")):
    temperatures(training(flights))
    alone(flights)
"""


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "flights", data=False)
    made.call("config.apply", files=[contract(name) for name in TABLES])
    for name in TABLES:
        add(made, name)
    made.write(PIPELINE, features=FEATURES)
    made.apply()
    yield made
    made.platform.close()


def add(project: Project, name: str, *more: str, ref: str = "main") -> None:
    columns, lines = TABLES[name]
    file = project.folder / f"{name}.csv"
    file.write_text("\n".join([",".join(columns), *lines, *more]) + "\n", encoding="utf-8")
    project.call("data.add", dataset=name, files=[project.stage(file)], mode="replace", ref=ref)


def test_sources_of_features_are_inputs_of_the_step_that_names_them(joined: Project) -> None:
    first = joined.run()
    assert states(first) == {"training": "done", "temperatures": "done", "alone": "done"}
    assert joined.value(first, "temperatures") == [4.5]
    (training,) = [s for s in first.steps if s.step == "training"]
    above = {n.name for n in joined.call("asset.lineage", thing=training.output).nodes if n.depth == 1}
    assert above == {"p", "flights", "weather", "departures"}
    # A later report changes what was known: the join is computed anew, and what does not use it is not.
    add(joined, "weather", "JFK,2013-01-01T11:00:00Z,7.5")
    second = joined.run()
    assert states(second) == {"training": "done", "temperatures": "done", "alone": "cached"}
    assert joined.value(second, "temperatures") == [7.5]


def test_a_run_names_the_features_that_it_used_as_they_were_applied(joined: Project) -> None:
    def names(run: str, role: str = "features") -> set[str]:
        return {link.thing for link in joined.call("run.show", run=run).links if link.role == role}

    never_applied = joined.run()
    assert names(never_applied.run) == set()
    apply(joined)
    told = joined.run(PIPELINE.replace("SELECT flight,", "SELECT flight AS flight,"))
    applied = {"feature_service/delay_v1:1", "feature_view/airport_weather:1", "feature_view/airport_delays:1"}
    assert names(told.run) == applied
    (training,) = [step for step in told.steps if step.step == "training"]
    nodes = joined.call("asset.lineage", thing=training.output).nodes
    assert names(str(nodes[0].run)) == applied
    assert {f"{n.kind}/{n.name}:{n.version}" for n in nodes if n.depth == 1} >= applied
    # Files that say something else than what is in force name what they say, or nothing.
    newer = FEATURES.replace("temp < 60", "temp < 50")
    (joined.folder / "features.py").write_text(newer, encoding="utf-8")
    joined.apply()
    assert names(joined.run().run) == {"feature_service/delay_v1:1", "feature_view/airport_delays:1"}
    apply(joined)
    assert "feature_view/airport_weather:2" in names(joined.run().run)
    assert joined.call("ledger.verify").ok


def apply(project: Project) -> None:
    texts = from_features(project.folder / "features.py")
    project.call("config.apply", files=[{"path": path, "text": text} for path, text in texts.items()])


def test_a_dataset_that_is_not_there_or_is_evidence_is_not_read(joined: Project) -> None:
    with pytest.raises(NotFound):
        joined.run(flights="flights@other")
    add(joined, "flights", ref="holdout")
    gate = "gate: production\nguards: [m@production]\nevidence: {data: flights@holdout, label: flight > 1}\n"
    gate += "rules:\n  - {metric: auc, at_least: 0.5}\n"
    joined.call("config.apply", files=[{"path": "gates/production.yaml", "text": gate}])
    with pytest.raises(EvidenceSealed):
        joined.run(flights="flights@holdout")


def test_a_model_is_scored_with_its_slices() -> None:
    import numpy as np
    import pyarrow as pa

    import falaj as fj

    class Half:
        def predict_proba(self, rows: np.ndarray) -> np.ndarray:
            chance = np.clip(rows[:, 0].astype(float), 0, 1)
            return np.column_stack([1 - chance, chance])

    data = pa.table({"x": [0.0, 1.0, 1.0, 0.0], "at": ["a", "a", "b", None], "label": [False, True, False, None]})
    told = fj.score(Half(), data, slices=["at"], columns=["x"])
    assert (told["rows"], told["unlabelled"]) == (3, 1)
    assert told["brier"] == pytest.approx(1 / 3)
    assert told["auc"] == pytest.approx(0.75)
    assert told["slices"]["at"]["a"]["auc"] == 1.0
    assert "auc" not in told["slices"]["at"]["b"]  # one class only: undefined is left out, never guessed
