"""The Python face, the same embedded and behind a server: data, runs, models, refs, and what refuses them."""

from __future__ import annotations

import math
import pickle

import pytest

import falaj as fj
from falaj.api import AssetVersion, Project, embedded
from falaj.core import errors
from falaj.core.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from falaj.session import FileThere

LABEL = "minutes > 30"


@pytest.fixture
def may(project, files):
    """May as a version of the trips."""
    return project.add_data("trips", files / "may.csv", mode="replace")


def test_data_becomes_a_version_that_knows_itself(project, may):
    assert may.rows == 600
    assert may.address == f"dataset/trips:{may.version}"
    assert may.payload["contract"] == "contract/trips:1"
    assert may.digest.startswith("sha256:")
    assert project.data("trips@main").version == may.version
    assert project.data(may.address) == may
    assert repr(may) == f"<falaj dataset/trips:{may.version} live>"
    assert repr(project) == "<falaj project trips>"


def test_a_table_is_typed_as_its_contract_reads_it(may):
    table = may.table()
    assert [str(field.type) for field in table.schema] == ["int64", "int64", "string", "int64"]
    assert table.num_rows == 600
    assert set(table["city"].to_pylist()) == {"Al Ain", "Dubai"}


def test_without_a_contract_the_files_say_what_they_hold(project, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "a.csv").write_text("x,y\n1,a\n")
    (tmp_path / "b.csv").write_text("x,y\n2.5,b\n")
    plain = project.add_data("plain", [tmp_path / "a.csv", tmp_path / "b.csv"], mode="replace")
    assert plain.table().to_pydict() == {"x": [1.0, 2.5], "y": ["a", "b"]}
    assert plain.rows is None
    parquet.write_table(pa.table({"x": [1, 2]}), tmp_path / "c.parquet")
    assert project.add_data("packed", tmp_path / "c.parquet").table().to_pydict() == {"x": [1, 2]}
    (tmp_path / "notes.txt").write_text("hello")
    notes = project.add_data("notes", tmp_path / "notes.txt", mode="replace")
    with pytest.raises(Invalid, match="plain files are no table"):
        notes.table()


def test_files_come_out_as_they_went_in(project, files, tmp_path):
    both = project.add_data("pair", [files / "may.csv", files / "june.csv"], mode="replace")
    written = both.files(tmp_path / "out")
    assert sorted(p.name for p in written) == ["june.csv", "may.csv"]
    assert (tmp_path / "out" / "may.csv").read_bytes() == (files / "may.csv").read_bytes()
    with pytest.raises(FileThere):
        both.files(tmp_path / "out")
    assert [p.name for p in both.files(tmp_path / "one", only=["june.csv"])] == ["june.csv"]
    with pytest.raises(NotFound):
        both.files(tmp_path / "none", only=["../may.csv"])


def test_a_contract_refuses_with_every_failed_rule_and_moves_nothing(project, may, files):
    with pytest.raises(Refused) as caught:
        project.add_data("trips", files / "broken.csv", mode="replace")
    error = caught.value
    assert error.code == "contract_refused"
    assert {f["rule"] for f in error.facts["failed"]} >= {"hour.range", "minutes.type"}
    assert error.facts["kept_as"] == "trips@rejected"
    assert error.next_step
    assert project.data("trips@main") == may


def test_a_run_keeps_what_it_was_given_used_and_measured(project, may):
    with project.run("train", params={"leaves": 31}) as run:
        used = run.use("trips@main")
        run.log(params={"rate": 0.1}, auc=0.71)
        run.log(auc=0.74)
    told = project.call("run.show", run=run.id)
    assert used == may
    assert (told["state"], told["name"], told["sort"]) == ("done", "train", "script")
    assert told["params"] == {"leaves": 31, "rate": 0.1}
    assert told["metrics"] == {"auc": 0.74}
    assert [(link["direction"], link["thing"]) for link in told["links"]] == [("in", may.address)]
    assert told["environment"]["distributions"] > 10
    assert repr(run) == f"<falaj run train {run.id}>"


def test_a_run_that_raises_is_failed_with_the_words_of_what_was_raised(project):
    with pytest.raises(ZeroDivisionError), project.run("train") as run:
        _ = 1 / 0
    told = project.call("run.show", run=run.id)
    assert told["state"] == "failed"
    assert told["error"]["message"] == "ZeroDivisionError: division by zero"
    with pytest.raises((Conflict, Invalid)):
        run.finish()


def test_secrets_in_parameters_are_hidden(project):
    with project.run(
        "train", params={"api_key": "k", "url": "postgresql://u:p4ss@h/db", "n": {"password": "p"}}
    ) as run:
        pass
    told = str(project.call("run.show", run=run.id))
    assert "p4ss" not in told
    assert told.count("(hidden)") == 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_no_finite_number_is_refused(project, value):
    with pytest.raises(Invalid), project.run("train") as run:
        run.log(auc=value)
    with pytest.raises(Invalid, match="a number is expected"), project.run("train") as run:
        run.log(auc="good")


def test_a_model_is_judged_promoted_used_and_rolled_back(project, may, models):
    with project.run("train") as run:
        run.use("trips@main")
        worse = project.register("late", models / "worse.skops", label=LABEL, columns=["hour"], run=run)
        good = project.register("late", models / "good.skops", label=LABEL, columns=["hour"], run=run)
        third = project.register("late", models / "good.skops", label=LABEL, columns=["hour"], run=run)
    late = project.model("late")
    with pytest.raises(Refused) as caught:
        late.promote("production", worse.version)
    assert caught.value.code == "gate_refused"
    assert [f["rule"] for f in caught.value.facts["findings"] if not f["passed"]] == ["auc ≥ 0.8"]
    with pytest.raises((NotFound, Refused)):
        project.predict("late@production", "trips@main", into="late_predictions")
    moved = late.promote("production", good.version, reason="spring")
    assert (moved["version"], moved["previous"], moved["sort"]) == (good.version, None, "promote")
    with pytest.raises(Conflict):
        late.promote("production", third.version, expect=worse.version)
    assert late["production"].version == good.version
    assert late[good.version].verify()["sound"] is True
    predictions = project.predict("late@production", may.address, into="late_predictions")
    assert predictions.rows == 600
    assert set(predictions.table().column_names) == {"id", "probability", "model_version"}
    names = [f"{n['kind']}/{n['name']}:{n['version']}" for n in predictions.lineage()]
    assert names[0] == predictions.address
    assert {good.address, may.address} <= set(names)
    late.promote("production", third.version)
    assert late.rollback("production")["version"] == good.version
    assert [m["sort"] for m in late.log("production")["moves"]] == ["rollback", "promote", "promote"]
    with pytest.raises(Refused):
        late.rollback("production", worse.version)
    assert str(good.payload["label"]) == LABEL
    assert repr(late) == "Model(name='late')"


def test_training_may_not_use_what_the_gate_measures_on(project):
    with pytest.raises(Refused) as caught, project.run("train") as run:
        run.use("trips@holdout")
    assert caught.value.code == "evidence_sealed"


def test_proposals_wait_for_another_person(project, place, may):
    folder, url, _ = place
    if not url:
        assert project.proposals() == []
        with pytest.raises(NotFound):
            project.approve("01JD8M3V9Y7X2K4T6R8P0N1B5C")
        return
    text = (folder.path / "contracts" / "trips.yaml").read_text().replace("1.0.0", "1.1.0")
    applied = project.call("config.apply", files=[{"path": "contracts/trips.yaml", "text": text}])
    [proposal] = project.proposals()
    assert proposal["id"] == applied["files"][0]["proposal"]
    with pytest.raises(Forbidden) as caught:
        project.approve(proposal["id"])
    assert caught.value.code == "same_person"
    project.call("principal.add", name="badr")
    project.call("access.grant", subject="badr", role="maintainer", scope="project:trips")
    token = project.call("token.issue", principal="badr")["text"]
    with fj.connect(url, token=token, project="trips") as other:
        assert other.approve(proposal["id"], reason="seen")["state"] == "moved"
    assert project.proposals("moved")[0]["approved_by"] == ["badr"]


EVIL = "x\u202ey\x1b[2J"
BAD = [
    (lambda p, f: p.data("nothing"), "not_found"),
    (lambda p, f: p.data("trips@nowhere"), "not_found"),
    (lambda p, f: p.data("trips:999"), "not_found"),
    (lambda p, f: p.data("../trips"), "invalid_name"),
    (lambda p, f: p.data(EVIL), "invalid_name"),
    (lambda p, f: p.data(7), "invalid_name"),
    (lambda p, f: p.data(None), "invalid_name"),
    (lambda p, f: p.model("late")["nowhere"], "not_found"),
    (lambda p, f: p.model("../late")["production"], "invalid_name"),
    (lambda p, f: p.add_data("trips", f / "missing.csv"), "invalid"),
    (lambda p, f: p.add_data("trips", f), "invalid"),
    (lambda p, f: p.add_data("trips", []), "invalid"),
    (lambda p, f: p.add_data(EVIL, f / "may.csv"), "invalid_name"),
    (lambda p, f: p.add_data("trips", f / "may.csv", ref="a/b"), "invalid_name"),
    (lambda p, f: p.add_data("trips", f / "may.csv", ref="rejected"), "invalid"),
    (lambda p, f: p.add_data("trips", f / "may.csv", mode="sideways"), "invalid"),
    (lambda p, f: p.call("data.add", dataset="trips", files=[{"name": "x.csv", "staged": "/etc/passwd"}]), "not_found"),
    (lambda p, f: p.call("data.add", dataset="trips", files="x"), "invalid"),
    (lambda p, f: p.call("data.add", dataset=["trips"], files=[]), "invalid"),
    (lambda p, f: p.call("asset.show", thing="trips", more=1), "invalid"),
    (lambda p, f: p.call("asset.show"), "invalid"),
    (lambda p, f: p.call("asset.list", limit="many"), "invalid"),
    (lambda p, f: p.call("asset.list", limit=10**30), "invalid"),
    (lambda p, f: p.call("asset.list", after="' OR 1=1 --") and p.call("asset.list", kind="' OR 1=1"), "invalid"),
    (lambda p, f: p.call("run.show", run="' OR 1=1 --"), "invalid_name"),
    (lambda p, f: p.promote("late@production", 0), "invalid"),
    (lambda p, f: p.promote("late@production", -1), "invalid"),
    (lambda p, f: p.promote("late@production", "7; DROP"), "invalid"),
    (lambda p, f: p.promote("nothing@production", 1), "not_found"),
    (lambda p, f: p.rollback("trips"), "invalid"),
    (lambda p, f: p.rollback("nothing@main"), "not_found"),
    (lambda p, f: p.lineage("trips", direction="sideways"), "invalid"),
    (lambda p, f: p.lineage("trips", depth="deep"), "invalid"),
    (lambda p, f: p.approve("' OR 1=1 --"), "invalid_name"),
    (lambda p, f: p.call("run.start", name="x", params={str(i): i for i in range(2000)}), "too_large"),
    (lambda p, f: p.call("run.start", name="x", params={"a": "x" * 300_000}), "too_large"),
    (lambda p, f: p.call("run.start", name="x", params={"a": math.nan}), "invalid"),
    (lambda p, f: p.call("run.start", name="x", params={"a": object()}), "invalid"),
    (lambda p, f: p.call("run.start", name="x", params={"a": "\ud800"}), "invalid"),
    (lambda p, f: p.call("run.start", name="x", params=nested(5000)), "invalid"),
    (lambda p, f: p.call("config.apply", files=[{"path": "../../x.yaml", "text": ""}]), "invalid"),
    (lambda p, f: p.call("config.apply", files=[]), "invalid"),
]


def nested(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(("reach", "code"), BAD, ids=[f"{i}-{code}" for i, (_, code) in enumerate(BAD)])
def test_bad_input_is_one_clear_error_that_changes_nothing(project, files, reach, code):
    before = project.call("asset.list")
    with pytest.raises(errors.FalajError) as caught:
        reach(project, files)
    assert caught.value.code == code, caught.value
    assert caught.value.message
    assert project.call("asset.list") == before


def test_an_operation_that_is_none_is_not_found(project):
    for name in ("nothing", "asset.nothing", "__init__", "../asset.list", EVIL):
        with pytest.raises((NotFound, Invalid)):
            project.call(name)


def test_a_pickle_is_refused_with_the_way_out_and_never_opened(project, tmp_path):
    class Touches:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'pwned')!r}, 'w')",)

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Touches()))
    with pytest.raises(Refused) as caught:
        project.register("evil", tmp_path / "model.pkl", label=LABEL)
    assert caught.value.code == "model_refused"
    assert "skops" in caught.value.next_step
    assert not (tmp_path / "pwned").exists()
    with pytest.raises(NotFound):
        project.model("evil")[1]


@pytest.mark.parametrize(
    "change", [lambda f: f.unlink(), lambda f: f.write_text("a\n2\n"), lambda f: f.rename(f"{f}x")]
)
def test_a_file_that_vanishes_or_changes_after_it_was_named_is_not_read(project, place, tmp_path, change):
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    staged = project.session.stage(file)
    change(file)
    args = {"dataset": "moving", "files": [{"staged": staged["staged"], "name": "a.csv"}], "mode": "replace"}
    if place[1]:  # sent before it changed: the server has its own
        assert project.call("data.add", **args)["files"] == 1
        return
    with pytest.raises(Conflict) as caught:
        project.call("data.add", **args)
    assert caught.value.code == "file_changed"
    with pytest.raises(NotFound):
        project.data("moving")


def test_another_project_is_not_there(place):
    folder, url, token = place
    with (
        fj.connect(url, token=token, project="other") if url else Project(embedded(folder.path, "other")) as other,
        pytest.raises(NotFound),
    ):
        other.data("trips")


def test_after_all_of_it_the_store_is_sound(project):
    assert project.call("store.verify")["ok"] is True


# without a store


def test_a_folder_without_a_project_is_told(tmp_path):
    with pytest.raises(NotFound) as caught:
        fj.open(tmp_path)
    assert caught.value.code == "no_project"


def test_connecting_needs_a_token_and_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.Unauthenticated, match="no token for"):
        fj.connect("https://falaj.example.ae", project="trips")
    with pytest.raises(NotFound):
        fj.connect("https://falaj.example.ae", token="falaj_x")
    with pytest.raises(Invalid):
        fj.connect("http://169.254.169.254", token="falaj_x", project="trips")


def test_a_notebook_shows_facts_and_runs_nothing_of_them():
    facts = {
        "kind": "dataset", "name": "<script>", "version": 1, "state": "live", "by": "<img src=x onerror=alert(1)>",
        "digest": "d", "payload": {"source": "</table><script>alert(1)</script>", "columns": [1]},
    }  # fmt: skip
    html = AssetVersion(None, facts)._repr_html_()
    assert "<script>" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
