"""A deployment of kites that is watched: a promoted model, and a log with the lines that a server writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from falaj.core.encoding import moment
from falaj.core.entries import What
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.predictions import SEALED, Prediction
from falaj.deploy.bundles import BUNDLES, Bundles
from falaj.store.segments import SEGMENT, Segment
from tests.models import files
from tests.models.kites import House, kites, make, reopened

DEPLOYMENT = """\
deployment: delay
model: delay@production
rollout: {canary: [100%], bake: 10 requests}
labels: {data: kites@main, key: [id]}
watch:
  reference: training
  drift: {level: 0.01, effect: 0.2, columns: 1}
  score: {metric: brier, no_worse_than: 0.02}
"""
START = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)


class Deployed:
    """The project with model 1 promoted and deployed, and the log that its server would write."""

    def __init__(self, place: Path, database: str = "", text: str = DEPLOYMENT) -> None:
        self.house: House = make(place, database)
        self.house.register(self.house.model(3))
        self.house.promote(1)
        self.house.apply("deploy/production.yaml", text)

    @classmethod
    def reopened(cls, place: Path) -> Deployed:
        """The project that lies there."""
        found = cls.__new__(cls)
        found.house = reopened(place)
        return found

    def call(self, operation: str, **args: Any) -> Any:
        return self.house.call(operation, **args)

    def collect(self) -> dict[str, Any]:
        return dict(self.call("monitor.collect", deployment="delay"))

    def labels(self) -> dict[str, Any]:
        return dict(self.call("monitor.labels", deployment="delay"))

    def report(self) -> dict[str, Any]:
        return dict(self.call("monitor.report", deployment="delay"))

    @property
    def log(self) -> Path:
        return self.log_of("delay")

    def log_of(self, deployment: str) -> Path:
        """The log of a deployment, as a server of this host would write it."""
        ground = self.house.platform.ground
        bundles: Bundles = ground.port(BUNDLES)
        with ground.database.read() as tx:
            project = ground.catalog.project(tx, "kites")
            folder = bundles.log(tx, ground.catalog.asset(tx, project.id, Thing(deployment, "deployment")).id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def segments(self) -> list[Segment]:
        """The rows of what was collected."""
        with self.house.platform.ground.database.read() as tx:
            return sorted(SEGMENT.scan(tx), key=lambda row: row.segment)

    def outcomes(self, table: pa.Table) -> None:
        """What happened, as another version of the dataset that the deployment names."""
        self.house.add("kites", table)

    def table(self, dataset: str) -> pa.Table:
        """Every row of a dataset's `main`, whatever the number of its files."""
        session, parts = self.house.platform.session("kites"), []
        for file in self.call("data.files", thing=f"{dataset}@main")["files"]:
            data = b"".join(session.stream("data.get", {"thing": f"{dataset}@main", "path": file["path"]}))
            parts.append(pq.read_table(pa.BufferReader(data)))
        return pa.concat_tables(parts, promote_options="permissive")

    def states(self, dataset: str) -> list[str]:
        """Of a dataset's versions, oldest first."""
        ground = self.house.platform.ground
        with ground.database.read() as tx:
            asset = ground.catalog.asset(tx, ground.catalog.project(tx, "kites").id, Thing(dataset, "dataset"))
            return [version.state for version in reversed(ground.catalog.versions(tx, asset))]

    def aged(self, dataset: str, day: str) -> None:
        """The same rows as the dataset's next version, in files that say that they were made on another day."""
        ground, files = self.house.platform.ground, {}
        with ground.database.read() as tx:
            project = ground.catalog.project(tx, "kites")
            held = ground.catalog.resolve(tx, project.id, Thing(dataset, "dataset", "main"))
            payload = ground.catalog.payload(held.asset, held.version)
        for file in ground.contents.files(held.version):
            files[day + file.path[10:]] = b"".join(ground.contents.stream(held.version, file.path))
        with ground.contents.upload(str(held.version.domain)) as upload:
            for name, data in files.items():
                upload.add_file(name, BytesIO(data))
            stored = upload.finish()
        with ground.units.begin(self.house.platform.own_caller.actor, "test", project=project.id) as unit:
            content = ground.contents.record(unit, stored)
            version = ground.catalog.add_version(unit, held.asset, payload, content=content)
            ground.catalog.move(unit, held.asset, "main", version)
            unit.say(What.REF_MOVED, [held.asset.id])

    def entries(self, what: str) -> list[dict[str, Any]]:
        self.house.platform.sign()  # on PostgreSQL entries get their numbers a little later
        found = self.call("ledger.log", scope="project:kites", limit=500)["items"]
        return [one for one in found if one["what"] == what]


def asked(table: pa.Table, *, start: int = 0, version: int = 1, **more: Any) -> list[Prediction]:
    """What a server writes when it is asked about each kite of a table, one line a request.

    Args:
        more: other fields of every line.
    """
    rows = np.column_stack([table[name].to_numpy(zero_copy_only=False) for name in ("town", "wind")]).astype(object)
    output = files.town_model(3).predict_proba(rows)[:, 1]
    return [
        Prediction(
            **{
                "id": new_id(),
                "at": moment(START + timedelta(seconds=start + place)),
                "deployment": "delay",
                "revision": 1,
                "model": "delay",
                "version": version,
                "role": "stable",
                "inputs": {"town": town, "wind": wind},
                "ms": 1.5,
                "key": str(key),
                "output": float(value),
                **more,
            }
        )
        for place, (key, town, wind, value) in enumerate(
            zip(table["id"].to_pylist(), rows[:, 0], rows[:, 1], output, strict=True)
        )
    ]


def written(log: Path, lines: Sequence[Prediction]) -> Path:
    """A sealed segment."""
    path = log / f"{new_id()}{SEALED}"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def windy(table: pa.Table, by: float) -> pa.Table:
    """The same kites in another wind."""
    return table.set_column(table.column_names.index("wind"), "wind", pc.add(table["wind"], by))


__all__ = ["DEPLOYMENT", "Deployed", "asked", "kites", "windy", "written"]
