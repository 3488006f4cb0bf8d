"""A project about kites, with people: data, a contract, a gate, models good and bad, and what they score by hand.

A kite comes down late where `minutes` > 10; the town and the wind tell, and the number of its owner tells nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from falaj.core.entries import Entry
from falaj.core.errors import FalajError
from falaj.core.names import Thing
from falaj.core.records import Verdict
from falaj.gates.records import UNDECIDED
from falaj.platform import Platform
from falaj.store.rows import VERDICT
from tests.models.files import dumped, town_model, towns
from tests.platform.places import Person, Served

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
      - {name: id, logicalType: integer, required: true}
      - {name: town, logicalType: string}
      - {name: wind, logicalType: number}
      - {name: minutes, logicalType: integer}
"""

METRICS = """\
  - {metric: auc, at_least: 0.8}
  - {metric: auc, by: town, at_least: 0.7, min_rows: 50}
  - {metric: brier, against: holder, no_worse_than: 0.01}
"""
CHECKS = "  - check: lineage_complete\n  - check: signature\n  - check: format\n"
APPROVAL = "  - approval: {from: maintainer, not: proposer}\n"
RULES = METRICS + CHECKS + APPROVAL
HEAD = "gate: {gate}\nguards: [{guards}]\nevidence: {{data: {data}, label: '{label}'{where}}}\nrules:\n"

COLUMNS = ["town", "wind"]
CODE = {"commit": "4f1c2e" + "0" * 34, "dirty": False}
ENVIRONMENT = {"distributions_digest": "ab" * 32}


def gate_file(
    rules: str = RULES,
    *,
    gate: str = "production",
    guards: str = "kite@production",
    data: str = "kites@holdout",
    label: str = "minutes > 10",
    where: str = "",
) -> dict[str, str]:
    """A gate, as a file to be applied."""
    head = HEAD.format(gate=gate, guards=guards, data=data, label=label, where=f", where: '{where}'" if where else "")
    return {"path": f"gates/{gate}.yaml", "text": head + rules}


def contract_file() -> dict[str, str]:
    return {"path": "contracts/kites.yaml", "text": CONTRACT}


def csv(path: Path, seed: int, rows: int = 600, unlabelled: int = 0) -> Path:
    """Flights of kites as a file; the first rows have no label where some are asked for."""
    table, late = towns(rows, seed)
    lines = ["id,town,wind,minutes"]
    for i, ((town, wind), is_late) in enumerate(zip(table, late, strict=True)):
        minutes = "" if i < unlabelled else str(20 if is_late else 3)
        lines.append(f"{seed * 100_000 + i},{town},{wind},{minutes}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def held_out(seed: int, rows: int = 600, unlabelled: int = 0) -> tuple[Any, Any]:
    """Rows and labels as the evidence has them, without those that have no label."""
    table, late = towns(rows, seed)
    return table[unlabelled:], late[unlabelled:]


def by_hand(model: Any, table: Any) -> Any:
    """The probabilities of a model, without Falaj."""
    return model.predict_proba(table)[:, 1]


def contrary_model(seed: int = 3) -> Any:
    """A model that has learnt the opposite of what is."""
    table, late = towns(seed=seed)
    return clone(town_model(seed)).fit(table, ~late)


def noisy_model(seed: int = 3, noise: float = 6.0) -> Any:
    """A model that has learnt from readings of the wind that were far off: worse, and not blind."""
    table, late = towns(seed=seed)
    table = table.copy()
    table[:, 1] = (table[:, 1].astype(float) + np.random.default_rng(seed).normal(0, noise, len(table))).round(1)
    return clone(town_model(seed)).fit(table, late)


@dataclass
class World:
    """A project with data, and ways to do what people do in it."""

    platform: Platform
    folder: Path
    owner: Person

    def add(self, path: Path, *, ref: str = "main", mode: str = "append") -> int:
        file = self.owner.stage(path)
        added = self.owner.call("data.add", dataset="kites", files=[file], ref=ref, mode=mode)
        return int(added.version)

    def apply(self, *files: dict[str, str], by: Person | None = None) -> Any:
        return (by or self.owner).call("config.apply", files=list(files))

    def register(self, model: Any, *, data: str = "kites@main", by: Person | None = None, **more: Any) -> int:
        """A model made by a run that used the data, with its code and environment."""
        who = by or self.owner
        told = {"code": CODE, "environment": ENVIRONMENT, **more}
        run = who.call("run.start", name="train", **told)
        who.call("run.use", run=run.id, thing=data)
        path = dumped(model, self.folder / "model.skops")
        made = who.call(
            "model.register", model="kite", files=[who.stage(path)], label="minutes > 10", run=run.id, columns=COLUMNS
        )
        who.call("run.finish", run=run.id, metrics={"auc": 0.999, "brier": 0.0001})
        return int(made.version)

    def holds(self, text: str = "model/kite@production") -> int | None:
        thing = Thing.parse(text)
        with self.platform.ground.database.read() as tx:
            project = self.platform.ground.catalog.project(tx, "flights")
            asset = self.platform.ground.catalog.asset(tx, project.id, thing)
            ref = self.platform.ground.catalog.ref(tx, asset, thing.ref or "main")
        return ref.version if ref else None

    def verdicts(self) -> list[Verdict]:
        with self.platform.ground.database.read() as tx:
            return sorted(VERDICT.scan(tx), key=lambda v: v.id)

    def entries(self) -> list[Entry]:
        import msgspec

        with self.platform.ground.database.read() as tx:
            rows = tx.rows("SELECT body FROM ledger_entry ORDER BY id")
        return [msgspec.json.decode(bytes(row[0]), type=Entry) for row in rows]

    def detail(self, entry_id: str) -> dict[str, Any]:
        with self.platform.ground.database.read() as tx:
            return self.platform.ground.detail(tx, entry_id)


def begin(served: Served, folder: Path, rules: str | None = RULES, **gate: Any) -> World:
    """A world with two months of data, another held out, and the gate in force."""
    world = World(served.platform, folder, served.owner)
    world.apply(contract_file())
    world.add(csv(folder / "2013-01.csv", 1))
    world.add(csv(folder / "2013-02.csv", 2))
    world.add(csv(folder / "holdout.csv", 9), ref="holdout")
    if rules is not None:
        world.apply(gate_file(rules, **gate))
    return world


def failed(error: FalajError) -> dict[str, dict[str, Any]]:
    """The findings of a refusal that failed, by their rule."""
    return {f["rule"]: f for f in error.facts["findings"] if not f["passed"] and f["state"] not in UNDECIDED}


def found(findings: Sequence[Any], rule: str) -> Any:
    return next(f for f in findings if f.rule == rule)
