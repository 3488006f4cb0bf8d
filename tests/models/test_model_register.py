"""Registering: what a version says, what is refused, and that a refusal leaves nothing."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import msgspec
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

from falaj.core.digests import sha256
from falaj.core.errors import Conflict, FalajError, Forbidden, Invalid, NotFound
from falaj.models.errors import ModelRefused
from falaj.models.kinds import MODEL
from falaj.models.records import Input
from falaj.models.verification import check_signed
from falaj.store.errors import EvidenceSealed
from tests.models import files
from tests.models.kites import CODE, House, kites, make


def test_a_version_says_what_it_is_and_where_it_came_from(tmp_path, database_address):
    house = make(tmp_path / "kites", database_address)
    run = house.run("kites@main")
    path = house.model()
    told = house.register(path, run=run)
    assert (told["model"], told["version"], told["format"], told["run"]) == ("delay", 1, "skops", run)
    assert told["inputs"] == ["town text", "wind number"]
    assert told["data"] == ["dataset/kites:1"]
    asset, version = house.version(1)
    model = MODEL.decode(version.payload)
    assert model.files[0].sha256 == told["sha256"] == sha256(path.read_bytes())
    assert (model.code, model.code_clean, model.environment) == (CODE["commit"], True, "sha256:" + "b" * 64)
    assert version.run == run
    with house.platform.ground.database.read() as tx:
        keys = house.platform.ground.keys.reading(tx).verify_keys("sign", asset.project)
    _, statement = check_signed(asset, version, keys)
    assert (statement.claim.asset, statement.claim.version, statement.claim.run) == (asset.id, 1, run)
    assert statement.files == {path.name: told["sha256"]}
    shown = house.call("run.show", run=run)
    assert [(one["direction"], one["thing"]) for one in shown["links"]] == [
        ("in", "dataset/kites:1"),
        ("out", "model/delay:1"),
    ]
    assert house.call("ledger.verify")["ok"]
    house.platform.close()


def test_versions_registered_at_once_get_numbers_and_signatures_of_their_own(tmp_path, database_address):
    house = make(tmp_path / "kites", database_address)
    paths = [house.model(seed) for seed in range(4)]
    failed: list[FalajError] = []

    def one(path: Path) -> None:
        try:
            house.register(path, run="", inputs=["kites@main"])
        except FalajError as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert house.versions("model", "delay") == 4
    assert all(house.call("model.verify", thing=f"delay:{number}")["sound"] for number in (1, 2, 3, 4))
    house.platform.close()


def test_without_a_run_of_ones_own_the_registration_is_the_run(registered):
    told = registered.register(registered.model(5), run="", inputs=["kites@main"])
    assert registered.call("run.show", run=told["run"])["sort"] == "model.register"
    assert told["data"] == ["dataset/kites:1"]
    assert told["code"] == ""


def test_what_the_run_used_counts_wherever_the_ref_has_moved_since(registered):
    run = registered.run("kites@main")
    registered.add("kites", kites(seed=20))
    told = registered.register(registered.model(5), run=run, inputs=["kites@main"])
    assert told["data"] == ["dataset/kites:1"]
    told = registered.register(registered.model(6), run=run, inputs=["kites@july"])
    assert told["data"] == ["dataset/kites:1"]  # a ref of a dataset that the run used
    told = registered.register(registered.model(7), run=run, inputs=["kites:3"])
    assert sorted(told["data"]) == ["dataset/kites:1", "dataset/kites:3"]


def test_files_beside_the_model_are_signed_with_it(registered):
    card = registered.folder / "card.md"
    card.write_text("# Late kites\n")
    run = registered.run("kites@main")
    told = registered.call(
        "model.register",
        model="delay",
        files=registered.staged(registered.model(5), card),
        label="late",
        columns=["town", "wind"],
        run=run,
    )
    model = MODEL.decode(registered.version(told["version"])[1].payload)
    assert [file.path for file in model.files] == ["model-5-False.skops", "card.md"]
    assert registered.call("model.verify", thing="delay:3")["checks"][0]["note"].startswith("2 files")


def test_onnx_names_its_own_columns(registered):
    types = [("town", StringTensorType([None, 1])), ("wind", FloatTensorType([None, 1]))]
    path = registered.folder / "model.onnx"
    path.write_bytes(to_onnx(files.town_model(), initial_types=types, options={"zipmap": False}).SerializeToString())
    told = registered.register(path, columns=[])
    assert (told["format"], told["inputs"]) == ("onnx", ["town text", "wind number"])


SECOND = """\
gate: second
guards: [delay@staging]
evidence: {data: kites@july, label: late}
rules: [{metric: auc, at_least: 0.6}]
"""
COLUMNS = {
    "none named": ([], "does not say which"),
    "too few": (["town"], "1 are named, the model reads 2"),
    "unknown to the data": (["town", "height"], "'height': its type is not known"),
    "a date": (["town", "flown"], "'flown': a date"),
    "twice": (["town", "town"], "stands here twice"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_that_cannot_be_right_are_refused(registered, case):
    columns, words = COLUMNS[case]
    with pytest.raises(Invalid, match=words):
        registered.register(registered.model(5), columns=columns)
    assert registered.versions("model", "delay") == 2


def test_a_type_that_the_data_does_not_tell_can_be_given(registered):
    given = [
        msgspec.to_builtins(Input(name="town", type="text")),
        msgspec.to_builtins(Input(name="wind", type="number")),
    ]
    told = registered.register(registered.model(5), run="", inputs=[], columns=given)
    assert (told["inputs"], told["data"]) == (["town text", "wind number"], [])


def pickled(folder: Path) -> Path:
    path = folder / "model.skops"
    path.write_bytes(pickle.dumps(files.town_model()))
    return path


def test_a_pickle_is_refused_with_the_way_out_whatever_it_is_called(registered):
    with pytest.raises(ModelRefused, match="a pickle") as refused:
        registered.register(pickled(registered.folder))
    assert "skops.io.dump" in refused.value.next_step
    entry = registered.call("ledger.show", entry=str(refused.value.facts["entry"]), scope="project:kites")
    assert entry["what"] == "request.refused"
    assert registered.versions("model", "delay") == 2


def test_a_pickle_beside_a_model_is_refused_too(registered):
    with pytest.raises(ModelRefused, match="a pickle"):
        registered.call(
            "model.register",
            model="delay",
            files=registered.staged(registered.model(5), pickled(registered.folder)),
            label="late",
            columns=["town", "wind"],
        )


def test_a_refused_first_model_leaves_no_asset(tmp_path):
    house = make(tmp_path / "kites")
    with pytest.raises(ModelRefused):
        house.register(pickled(house.folder))
    assert house.versions("model", "delay") == 0
    assert house.call("asset.list", kind="model")["items"] == []
    house.platform.close()


def test_evidence_of_a_gate_is_no_training_data(registered):
    for thing in ("kites@holdout", "kites:2"):
        with pytest.raises(EvidenceSealed, match="evidence of gate/production"):
            registered.register(registered.model(5), run="", inputs=[thing])
    assert registered.versions("model", "delay") == 2


def test_data_sealed_while_a_model_was_trained_is_no_training_data(registered):
    run = registered.run("kites@july")
    registered.call(
        "data.add",
        dataset="kites",
        files=registered.staged(registered.folder / "kites-july.parquet"),
        ref="holdout",
        mode="replace",
    )
    registered.register(registered.model(5), run=run)  # other bytes under the seal: what the run used is free
    registered.apply("gates/second.yaml", SECOND)
    with pytest.raises(EvidenceSealed, match="evidence of gate/second"):
        registered.register(registered.model(6), run=run)


def test_a_run_that_failed_or_is_not_there_makes_no_model(registered):
    run = registered.run("kites@main")
    registered.call("run.finish", run=run, state="failed")
    with pytest.raises(Conflict, match="failed"):
        registered.register(registered.model(5), run=run)
    with pytest.raises(NotFound):
        registered.register(registered.model(5), run="01JD8M3V9Y7X2K4T6R8P0N1B5C")


WRONG = {
    "a ref": ({"model": "delay@production"}, Invalid),
    "a version": ({"model": "delay:7"}, Invalid),
    "another kind": ({"model": "dataset/kites"}, Invalid),
    "traversal": ({"model": "../delay"}, Invalid),
    "direction marks": ({"model": "de\u202elay"}, Invalid),
    "no files": ({"files": []}, Invalid),
    "unstaged": ({"files": [{"name": "m.skops", "staged": "nothing"}]}, NotFound),
    "no label": ({"label": ""}, Invalid),
    "input that is no dataset": ({"inputs": ["model/delay:1"]}, Invalid),
    "input that is not there": ({"inputs": ["kites@never"]}, NotFound),
    "unknown field": ({"colums": []}, Invalid),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_get_one_clear_error_and_leave_nothing(registered, case):
    args, error = WRONG[case]
    given = {
        "model": "delay",
        "files": registered.staged(registered.model(5)),
        "label": "late",
        "columns": ["town", "wind"],
    }
    with pytest.raises(error) as refused:
        registered.call("model.register", **{**given, **args})
    assert refused.value.code
    assert registered.versions("model", "delay") == 2


@pytest.mark.parametrize("moment", ["looking into the model", "storing"])
def test_a_file_that_changes_on_the_way_is_refused(registered, moment):
    """The embedded store reads the person's own file: what is stored must be what was looked into."""
    path = registered.model(5)
    args = {"model": "delay", "files": registered.staged(path), "label": "late", "columns": ["town", "wind"]}

    def swap(what: str, _done: int, _total: int) -> None:
        if what == moment:
            files.dumped(files.town_model(seed=6), path)

    session = registered.platform.session("kites")
    with pytest.raises(FalajError, match="chang"):
        session.call("model.register", {**args, "inputs": ["kites@main"]}, progress=swap)
    assert registered.versions("model", "delay") == 2


def test_another_persons_run_makes_nobody_elses_model(registered: House):
    run = registered.run("kites@main")
    registered.behind_the_door("UPDATE run SET person = 'somebody' WHERE id = :id", id=run)
    with pytest.raises(Forbidden, match="another person's"):
        registered.register(registered.model(5), run=run)


def test_each_version_is_signed_for_itself_by_one_key_of_the_project(registered):
    asset, first = registered.version(1)
    _, second = registered.version(2)
    with registered.platform.ground.database.read() as tx:
        keys = registered.platform.ground.keys.reading(tx).verify_keys("sign", asset.project)
    assert len(keys) == 1
    assert check_signed(asset, first, keys)[1].claim.version == 1
    assert check_signed(asset, second, keys)[1].claim.version == 2
