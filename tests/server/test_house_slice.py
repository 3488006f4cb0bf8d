"""The whole way over HTTP, with the real flights and five persons, on both databases.

Months in, a broken one refused, a model trained by the example's own script against the server, judged by a gate,
approved by somebody else, used, rolled back, traced and proved. The steps stand on one another, so it is one test.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from examples.flights.months import break_month, source, write_months
from falaj.core.errors import Conflict, FalajError, Forbidden, NotFound, Refused
from falaj.session import fetch, staged
from tests.server.house import House

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real months, and a May that was broken on purpose."""
    folder = tmp_path_factory.mktemp("months")
    files = {path.stem: path for path in write_months(source(), folder, (1, 2, 3, 5, 6))}
    files["broken"] = folder / "broken.csv"
    break_month(files["2013-05"], files["broken"])
    return files


def add(session: Any, file: Path, **more: Any) -> dict[str, Any]:
    return dict(session.call("data.add", {"dataset": "flights", "files": staged(session, [file]), **more}))


def train(house: House, folder: Path, name: str, *more: str) -> None:
    """The example's script of thirty lines, as this person, against the server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FALAJ_")}
    person = {"FALAJ_URL": house.url, "FALAJ_TOKEN": house.tokens[name], "FALAJ_PROJECT": "flights"}
    done = subprocess.run(
        [sys.executable, EXAMPLE / "tour" / "train.py", *more],
        cwd=folder, env={**kept, **person}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_slice(house: House, months: dict[str, Path], tmp_path: Path) -> None:
    olga = house.olga
    badr = house.person("badr", ("contributor", "project:flights"))
    carla = house.person("carla", ("maintainer", "project:flights"))
    dana = house.person("dana", ("maintainer", "project:flights"))
    ali = house.person("ali", ("auditor", "store"))

    # 1: contract and gate from files
    files = [
        {"path": f"{folder}/{path.name}", "text": path.read_text(encoding="utf-8")}
        for folder, path in (
            ("contracts", EXAMPLE / "contracts" / "flights.yaml"),
            ("gates", EXAMPLE / "tour" / "gates" / "production.yaml"),
        )
    ]
    applied = carla.call("config.apply", {"files": files})
    assert {one["outcome"] for one in applied["files"]} == {"created"}

    # 2: months become versions; a broken one is refused with everything that is wrong
    assert add(badr, months["2013-01"])["version"] == 1
    assert add(badr, months["2013-02"])["version"] == 2
    with pytest.raises(Refused) as refused:
        add(badr, months["broken"])
    assert refused.value.code == "contract_refused"
    assert len(refused.value.facts["failed"]) >= 3
    assert badr.call("asset.show", {"thing": "flights@main"})["shown"]["version"] == 2
    add(carla, months["2013-03"], ref="holdout", mode="replace")

    # 3: a model is trained against the server, and may not be trained on what the gate measures on
    train(house, tmp_path, "badr")
    with pytest.raises(FalajError) as sealed:
        badr.call("run.use", {"run": badr.call("run.start", {"name": "x"})["id"], "thing": "flights@holdout"})
    assert sealed.value.code == "evidence_sealed"
    with pytest.raises(NotFound):
        badr.call("model.predict", {"model": "delay@production", "data": "flights@main", "into": "scored"})

    # the gate judges it itself; another person has to say yes, whatever token the first one holds
    waiting = carla.call("ref.promote", {"thing": "delay@production", "version": 1, "reason": "the first"})
    assert (waiting["sort"], waiting["waits_for"]) == ("proposed", ["from a maintainer other than the proposer"])
    assert len(waiting["findings"]) >= 6
    second = house.session("carla", token=house.new_token("carla"))
    for session in (carla, second):
        with pytest.raises(Forbidden) as same:
            session.call("ref.approve", {"proposal": waiting["proposal"]})
        assert same.value.code == "same_person"
    with pytest.raises(Forbidden):
        badr.call("ref.approve", {"proposal": waiting["proposal"]})
    with pytest.raises(NotFound):
        badr.call("asset.show", {"thing": "delay@production"})
    assert dana.call("ref.approve", {"proposal": waiting["proposal"]})["state"] == "moved"
    assert badr.call("asset.show", {"thing": "delay@production"})["shown"]["version"] == 1
    with pytest.raises(FalajError):
        dana.call("ref.approve", {"proposal": waiting["proposal"]})

    # 4: a month that the model never saw is scored with it
    add(badr, months["2013-06"], ref="2013-06", mode="replace")
    done = badr.call("model.predict", {"model": "delay@production", "data": "flights@2013-06", "into": "scored"})
    fetch(badr, f"scored:{done['version']}", tmp_path / "scored")
    (scored,) = (tmp_path / "scored").rglob("*.parquet")
    table = pyarrow.parquet.read_table(io.BytesIO(scored.read_bytes()))
    assert table.num_rows == months["2013-06"].read_bytes().count(b"\n") - 1

    # a worse one is refused; a second promotion and a rollback
    train(house, tmp_path, "badr", "--worse")
    with pytest.raises(Refused) as worse:
        carla.call("ref.promote", {"thing": "delay@production", "version": 2})
    assert worse.value.code == "gate_refused"
    train(house, tmp_path, "badr")
    third = dana.call("ref.promote", {"thing": "delay@production", "version": 3})
    assert carla.call("ref.approve", {"proposal": third["proposal"]})["state"] == "moved"
    with pytest.raises(Conflict):
        carla.call("ref.rollback", {"thing": "delay@production", "expect": 1})
    assert carla.call("ref.rollback", {"thing": "delay@production"})["version"] == 1

    # 5: from the predictions to data, code and people
    nodes = ali.call("asset.lineage", {"thing": f"dataset/scored:{done['version']}"})["nodes"]
    assert {(n["kind"], n["name"]) for n in nodes} >= {
        ("dataset", "scored"),
        ("model", "delay"),
        ("dataset", "flights"),
    }
    model = next(n for n in nodes if n["kind"] == "model")
    assert (model["approved_by"], model["proposed_by"], model["by"]) == (["dana"], "carla", "badr")

    told = {entry["what"] for entry in ali.call("ledger.log", {"scope": "store", "limit": 200})["items"]}
    assert told >= {"version.added", "verdict.given", "ref.proposed", "ref.approved", "ref.moved", "ref.rolled_back",
                    "request.refused", "run.ended"}  # fmt: skip
    assert ali.call("ledger.verify")["ok"]
    assert olga.call("version.retire", {"thing": "delay:2"})["note"] == "retired"
    olga.call("store.gc")
    house.check_clean()
