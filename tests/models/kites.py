"""A small project for tests of models: kites flown in three towns, a contract, a gate, models that know something."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from falaj.core.records import Asset, Version
from falaj.models.kinds import MODEL
from falaj.platform import Platform
from tests.models import files

TOML = """\
project = "kites"

[locations.main]
url = "file:objects"
region = "AE-DU"
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: kites
name: kites
version: 1.0.0
status: active
schema:
  - name: kites
    properties:
      - {name: id, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: town, logicalType: string}
      - {name: wind, logicalType: number}
      - {name: flown, logicalType: date}
      - {name: late, logicalType: boolean}
"""
GATE = """\
gate: production
guards: [delay@production]
evidence: {data: kites@holdout, label: late}
rules:
  - {metric: auc, at_least: 0.65}
  - check: signature
  - check: format
  - check: lineage_complete
"""
COLUMNS = ["town", "wind"]
CODE = {"commit": "4f1c2e" + "0" * 34, "dirty": False}
ENVIRONMENT = {"distributions_digest": "b" * 64}


@dataclass
class House:
    """A project with its platform, and the folder where files are made."""

    platform: Platform
    folder: Path

    def call(self, operation: str, **args: Any) -> Any:
        return self.platform.session("kites").call(operation, args)

    def staged(self, *paths: Path) -> list[dict[str, str]]:
        session = self.platform.session("kites")
        return [{"staged": one["staged"], "name": one["name"]} for one in map(session.stage, paths)]

    def apply(self, path: str, text: str) -> None:
        self.call("config.apply", files=[{"path": path, "text": text}])

    def add(self, name: str, table: pa.Table, *, ref: str = "main") -> int:
        """A version of a dataset, of one Parquet file."""
        path = self.folder / f"{name}-{ref}.parquet"
        pq.write_table(table, path)
        done = self.call("data.add", dataset=name, files=self.staged(path), ref=ref, mode="replace")
        return int(done["version"])

    def run(self, *used: str) -> str:
        run = self.call("run.start", name="train", code=CODE, environment=ENVIRONMENT)
        for thing in used:
            self.call("run.use", run=run["id"], thing=thing)
        return str(run["id"])

    def model(self, seed: int = 3, *, blind: bool = False) -> Path:
        path = self.folder / f"model-{seed}-{blind}.skops"
        return files.dumped(files.town_model(seed, blind=blind), path)

    def register(self, path: Path, **more: Any) -> dict[str, Any]:
        """Registered as `delay`, from a run that used the kites; `more` changes any argument."""
        args: dict[str, Any] = {"label": "late", "columns": COLUMNS}
        if "run" not in more:
            args["run"] = self.run("kites@main")
        return dict(self.call("model.register", model="delay", files=self.staged(path), **{**args, **more}))

    def promote(self, version: int, ref: str = "delay@production") -> dict[str, Any]:
        return dict(self.call("ref.promote", thing=ref, version=version))

    def predict(self, model: str = "delay@production", data: str = "kites@july", into: str = "guesses") -> Any:
        return self.call("model.predict", model=model, data=data, into=into)

    def table(self, thing: str) -> pa.Table:
        data = b"".join(self.platform.session("kites").stream("data.get", {"thing": thing}))
        return pq.read_table(pa.BufferReader(data))

    def version(self, number: int) -> tuple[Asset, Version]:
        catalog = self.platform.ground.catalog
        with self.platform.ground.database.read() as tx:
            project = catalog.project(tx, "kites")
            asset = catalog.find_asset(tx, project.id, MODEL.name, "delay")
            assert asset is not None
            return asset, catalog.version(tx, asset, number)

    def behind_the_door(self, sql: str, **params: Any) -> None:
        """Change rows as somebody with the database's password would."""
        with self.platform.ground.database.write() as tx:
            assert tx.run(sql, params) > 0

    def versions(self, kind: str, name: str) -> int:
        found = self.call("asset.list", kind=kind)["items"]
        return next((int(one["versions"]) for one in found if one["name"] == name), 0)


def kites(rows: int = 400, seed: int = 3, start: int = 1) -> pa.Table:
    found, late = files.towns(rows, seed)
    return pa.table(
        {
            "id": pa.array(np.arange(start, start + rows)),
            "town": pa.array(list(found[:, 0]), pa.string()),
            "wind": pa.array(list(found[:, 1]), pa.float64()),
            "flown": pa.array([19_000] * rows, pa.int32()).cast(pa.date32()),
            "late": pa.array(late),
        }
    )


def make(place: Path, database: str = "") -> House:
    """The project with contract and gate: kites of a spring to train on, of May for the gate, of July to predict."""
    place.mkdir(parents=True)
    (place / "falaj.toml").write_text(TOML)
    (place / "made").mkdir()
    house = House(Platform.create(place, "kites", database=database), place / "made")
    house.apply("contracts/kites.yaml", CONTRACT)
    house.add("kites", kites(seed=3))
    house.add("kites", kites(seed=11, start=10_000), ref="holdout")
    house.add("kites", kites(seed=12, start=20_000), ref="july")
    house.apply("gates/production.yaml", GATE)
    return house


def reopened(place: Path) -> House:
    return House(Platform.open(place), place / "made")
