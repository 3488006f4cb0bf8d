"""Who may register, predict and verify, behind a server: each thing that an operation touches must be allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from falaj.core.errors import FalajError, NotFound
from tests.models.files import dumped, town_model
from tests.models.kites import CONTRACT, kites
from tests.platform.places import TOML, Person, Served, make_place, serve

GATE = """\
gate: production
guards: [delay@production]
evidence: {data: kites@holdout, label: late}
rules: [{metric: auc, at_least: 0.65}, {check: signature}]
"""
PROJECT = "project:flights"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A store in server mode with a promoted model, by its owner. Tests add, and take nothing away."""
    folder = tmp_path_factory.mktemp("served")
    made = serve(make_place(folder / "flights", TOML))
    owner = made.owner
    owner.call("config.apply", files=[{"path": "contracts/kites.yaml", "text": CONTRACT}])
    for seed, ref in ((3, "main"), (11, "holdout"), (12, "july")):
        pq.write_table(kites(seed=seed), folder / "kites.parquet")
        owner.call("data.add", dataset="kites", files=[owner.stage(folder / "kites.parquet")], ref=ref, mode="replace")
    owner.call("config.apply", files=[{"path": "gates/production.yaml", "text": GATE}])
    register(owner, dumped(town_model(), folder / "model.skops"))
    owner.call("ref.promote", thing="delay@production", version=1)
    yield made
    made.platform.close()


def register(person: Person, path: Path, model: str = "delay", **more: Any) -> Any:
    args = {"inputs": ["kites@main"], "columns": ["town", "wind"], "label": "late", **more}
    return person.call("model.register", model=model, files=[person.stage(path)], **args)


def predict(person: Person, into: str = "guesses") -> Any:
    return person.call("model.predict", model="delay@production", data="kites@july", into=into)


def test_a_contributor_registers_and_predicts_and_a_viewer_verifies(served, tmp_path):
    nada = served.person("nada", ("contributor", PROJECT))
    path = dumped(town_model(4), tmp_path / "model.skops")
    told = register(nada, path)
    assert (
        served.platform.session("flights").call("asset.show", {"thing": f"delay:{told.version}"})["shown"]["by"]
        == "nada"
    )
    assert predict(nada).rows == 400
    vera = served.person("vera", ("viewer", PROJECT))
    assert vera.call("model.verify", thing="delay@production").sound
    with pytest.raises(FalajError) as refused:
        predict(vera)
    assert refused.value.status in {403, 404}


def test_who_may_not_touch_the_data_may_not_use_it(served, tmp_path):
    """Rights on the model alone train it on nothing that is another's, and predict nothing from it."""
    modeller = served.person(
        "mona", ("contributor", "asset:flights/model/delay"), ("contributor", "asset:flights/dataset/mine")
    )
    path = dumped(town_model(4), tmp_path / "model.skops")
    with pytest.raises(NotFound):
        register(modeller, path)
    with pytest.raises(NotFound):
        predict(modeller, into="mine")


def test_who_may_not_write_the_dataset_may_not_predict_into_it(served):
    reader = served.person(
        "rana", ("contributor", "asset:flights/model/delay"), ("contributor", "asset:flights/dataset/kites")
    )
    with pytest.raises(NotFound):
        predict(reader, into="guesses")


def test_unknown_and_forbidden_look_alike(served, tmp_path):
    nobody = served.person("omar", ("viewer", "asset:flights/dataset/other"))
    told = set()
    for model in ("delay@production", "never@production"):
        with pytest.raises(NotFound) as refused:
            nobody.call("model.predict", model=model, data="kites@july", into="guesses")
        told.add((refused.value.code, refused.value.message, refused.value.next_step))
    assert len(told) == 1


def test_another_persons_run_makes_no_model_of_mine(served, tmp_path):
    first = served.person("fadi", ("contributor", PROJECT))
    second = served.person("sami", ("contributor", PROJECT))
    run = first.call("run.start", name="train").id
    with pytest.raises(FalajError, match="another person's"):
        register(second, dumped(town_model(4), tmp_path / "model.skops"), run=run)
