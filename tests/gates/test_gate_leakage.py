"""A model may read only what is known when it is asked; what nothing declares is refused, not passed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from falaj.cli.commands.config import from_features
from falaj.core.names import Thing
from falaj.gates.knowledge import known_of
from falaj.gates.leakage import Known, judged
from tests.features.test_features_project import FEATURES as PROJECT_FEATURES
from tests.features.test_features_project import TABLES
from tests.features.test_features_project import contract as tables
from tests.gates.conftest import Begin, maintainer
from tests.gates.kites import CODE, CONTRACT, ENVIRONMENT, World, failed
from tests.gates.test_gate_evidence import refused
from tests.models.files import dumped, town_model
from tests.pipelines.house import Project
from tests.pipelines.test_pipeline_features import PIPELINE, add

RULE = "  - check: no_leakage\n"
TITLE = "check no_leakage"
DECISION = "customProperties: [{property: decision, value: an hour before the start}]\n"
KNOWN = Known(
    late={
        "dep_delay": "known only after departure (contract flights v3)",
        "wind": "known only after its reading (contract winds v1)",
    },
    declared={"hour": "declared by contract flights v3", "dep_delay": "declared by contract flights v3"},
    features=dict.fromkeys(("temp", "wind"), "features of delay_v1 v2"),
    doubtful={"gust": "feature view weather takes from weather, where gust after landing is known"},
    troubles=("feature view plane is not there",),
)

CASES: list[tuple[str, list[str], bool, str]] = [
    ("known by contract and by service", ["hour", "temp"], True, "1 declared by contract flights v3, 1 features of"),
    ("in other letters", ["Hour", "TEMP"], True, "1 declared"),
    ("late", ["hour", "dep_delay"], False, "dep_delay: known only after departure (contract flights v3)"),
    ("late in other letters", ["DEP_DELAY"], False, "DEP_DELAY: known only after departure"),
    ("what is predicted", ["arr_delay"], False, "arr_delay: it is what is predicted"),
    ("a feature that may be late", ["gust"], False, "gust: feature view weather takes from"),
    ("late, and a feature's name", ["wind"], False, "one of the features of delay_v1 v2 has this name too"),
    (
        "declared nowhere",
        ["hour", "seats"],
        False,
        "when seats is known is declared nowhere; feature view plane is not",
    ),
    ("nothing is read", [], False, "its inputs are not known"),
    ("both", ["dep_delay", "seats"], False, "departure (contract flights v3); when seats is known"),
    ("many leaks", [f"x{i}" for i in range(12)], False, "x9 and 2 more are known is declared nowhere"),
]


@pytest.mark.parametrize(("case", "inputs", "ok", "says"), CASES, ids=[case[0] for case in CASES])
def test_inputs_are_judged_by_what_is_known_of_them(case: str, inputs: list[str], ok: bool, says: str) -> None:
    found = judged(inputs, ["arr_delay > 30"], KNOWN)
    assert (found.ok, says in found.note) == (ok, True), found.note


def test_a_lineage_that_was_not_looked_at_whole_is_refused() -> None:
    assert not judged(["hour"], [], Known(declared=KNOWN.declared, incomplete="its lineage is deeper")).ok


def contract(*late: str, decision: str = DECISION) -> dict[str, str]:
    """The contract of the kites, with the columns that are known only once a kite has landed."""
    text = CONTRACT
    for column in late:
        text = text.replace(
            f"{{name: {column}, ", f"{{name: {column}, customProperties: [{{property: knownAfter, value: landing}}], "
        )
    return {"path": "contracts/kites.yaml", "text": text.replace("schema:\n", decision + "schema:\n")}


Change = Callable[[World, dict[str, str]], None]


@pytest.fixture
def change(request: pytest.FixtureRequest) -> Change:
    """Puts a file that governs into force: one person proposes it, another approves."""

    def changed(w: World, file: dict[str, str]) -> None:
        applied = w.apply(file).files[0]
        served = next(
            request.getfixturevalue(name) for name in ("served", "served_one") if name in request.fixturenames
        )
        maintainer(served, f"approver-{applied.version}").call("ref.approve", proposal=applied.proposal)

    return changed


def test_a_model_that_reads_a_late_column_is_refused_by_its_name(world: Begin, change: Change) -> None:
    w = world(RULE)
    change(w, contract("wind", "minutes"))
    finding = failed(refused(w, w.register(town_model())))[TITLE]
    assert finding["note"] == "wind: known only after landing (contract kites v2)"


def test_columns_of_a_contract_that_names_its_decision_are_known(world_one: Begin, change: Change) -> None:
    w = world_one(RULE)
    version = w.register(town_model())
    silent = failed(refused(w, version))[TITLE]
    assert silent["note"] == "when town, wind are known is declared nowhere"
    change(w, contract("minutes"))
    promoted = w.owner.call("ref.promote", thing="kite@production", version=version)
    assert promoted.findings[0].note == "2 declared by contract kites v2"


def test_a_column_is_late_where_any_contract_in_the_lineage_says_so(world_one: Begin, change: Change) -> None:
    w = world_one(RULE)
    change(w, contract("wind"))
    w.add(w.folder / "2013-01.csv")  # judged by the contract that says that the wind is late
    change(w, contract())
    finding = failed(refused(w, w.register(town_model())))[TITLE]
    assert finding["note"] == "wind: known only after landing (contract kites v2)"


def test_a_column_that_tells_the_label_alone_is_named(world_one: Begin) -> None:
    w = world_one("  - {metric: auc, at_least: 0.1}\n" + RULE)
    run = w.owner.call("run.start", name="train", code=CODE, environment=ENVIRONMENT)
    w.owner.call("run.use", run=run.id, thing="kites@main")
    model = w.owner.stage(dumped(town_model(), w.folder / "model.skops"))
    made = w.owner.call(
        "model.register", model="kite", files=[model], label="minutes > 10", run=run.id, columns=["town", "minutes"]
    )
    note = failed(refused(w, made.version))[TITLE]["note"]
    assert note.startswith("minutes: it is what is predicted; when town is known is declared nowhere")
    assert note.endswith("alarm: told by one column alone: minutes (AUC 1.00)")


FEATURES = """
import falaj as fj

town = fj.Entity("town", keys={"town": str})
weather = fj.FeatureView("town_weather", entity=town, source=fj.Dataset("winds"), time="at"CREATED)
kite_v1 = fj.FeatureService("kite_v1", [weather["wind"].named("breeze")])
"""
COLUMNS = {
    "winds": "town string, at timestamp, told timestamp, wind number late",
    "launches": "id integer, town string, asked timestamp, minutes integer late",
    "flown": "id integer, town string, asked timestamp, minutes integer late, breeze number",
}


def table(name: str) -> dict[str, str]:
    """The contract of a dataset of `COLUMNS`."""
    late = ", customProperties: [{property: knownAfter, value: landing}]"
    lines = []
    for column in COLUMNS[name].split(", "):
        called, kind, *more = column.split()
        lines.append(f"      - {{name: {called}, logicalType: {kind}{late if more else ''}}}\n")
    head = CONTRACT.replace("kites", name).partition("      - ")[0].replace("schema:\n", DECISION + "schema:\n")
    return {"path": f"contracts/{name}.yaml", "text": head + "".join(lines)}


def joined(w: World, created: str) -> int:
    """A model that was trained on a joined table, and the evidence joined in the same way; returns its version."""
    (w.folder / "features.py").write_text(FEATURES.replace("CREATED", created), encoding="utf-8")
    texts = from_features(w.folder / "features.py")
    w.apply(*(table(name) for name in COLUMNS), *({"path": path, "text": text} for path, text in texts.items()))
    towns = ("Nizwa", "Sur")
    files = {
        "winds": "town,at,told,wind\n" + "".join(f"{t},2013-01-01T08:00:00Z,2013-01-01T08:10:00Z,4.5\n" for t in towns),
        "launches": "id,town,asked,minutes\n"
        + "".join(f"{i},{towns[i % 2]},2013-01-01T09:00:00Z,{i}\n" for i in range(40)),
    }
    for name, text in files.items():
        (w.folder / f"{name}.csv").write_text(text, encoding="utf-8")
        w.owner.call("data.add", dataset=name, files=[w.owner.stage(w.folder / f"{name}.csv")])
    for into in ("learnt", "flown"):
        w.owner.call("features.join", service="kite_v1", rows="launches@main", at="asked", into=into)
    run = w.owner.call("run.start", name="train", code=CODE, environment=ENVIRONMENT)
    w.owner.call("run.use", run=run.id, thing="learnt@main")
    model = w.owner.stage(dumped(town_model(), w.folder / "model.skops"))
    columns = [{"name": "town", "type": "text"}, {"name": "breeze", "type": "number"}]
    made = w.owner.call(
        "model.register", model="kite", files=[model], label="minutes > 10", run=run.id, columns=columns
    )
    return int(made.version)


@pytest.mark.parametrize(
    ("created", "says"),
    [
        ("", "breeze: feature view town_weather takes from winds, where wind after landing is known"),
        (', created="told"', ""),
    ],
    ids=["no moment from which it is known", "known when it was told"],
)
def test_features_are_known_where_their_view_says_from_when(world_one: Begin, created: str, says: str) -> None:
    w = world_one(RULE, data="flown@main")
    told = w.owner.call("gate.judge", thing="kite@production", version=joined(w, created))
    finding = told.verdicts[0].findings[0]
    if says:
        assert (finding.passed, finding.note.partition(", and names")[0]) == (False, says)
    else:
        assert (finding.passed, finding.note) == (True, "1 declared by contract flown v1, 1 features of kite_v1 v1")


def test_features_that_a_step_of_a_pipeline_joined_stand_in_the_lineage(tmp_path: Path) -> None:
    project = Project(tmp_path / "flights", data=False)
    try:
        project.call("config.apply", files=[tables(name) for name in TABLES])
        for name in TABLES:
            add(project, name)
        project.write(PIPELINE, features=PROJECT_FEATURES)
        texts = from_features(project.folder / "features.py")
        project.call("config.apply", files=[{"path": path, "text": text} for path, text in texts.items()])
        project.apply()
        (made,) = [s.output for s in project.run().steps if s.step == "temperatures"]
        ground = project.platform.ground
        with ground.database.read() as tx:
            held = ground.catalog.resolve(tx, ground.catalog.project(tx, "flights").id, Thing.parse(made))
        known = known_of(ground, held.asset.project, held.version, None, scratch=tmp_path)
    finally:
        project.platform.close()
    assert set(known.features) == {"temp", "dep_delay_mean_3h", "busy"}
    assert (known.troubles, known.incomplete) == ((), "")
