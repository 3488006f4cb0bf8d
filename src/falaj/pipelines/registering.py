"""Registering a step's model: through the models' own operation, by the same caller, once for each result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from falaj.core.errors import Invalid
from falaj.core.records import Asset, Version
from falaj.door import Caller, Context
from falaj.pipelines import keeping
from falaj.pipelines.board import Board, Item
from falaj.pipelines.engine import ELSEWHERE, Elsewhere
from falaj.pipelines.keeping import Output
from falaj.store.metadata import Transaction
from falaj.store.steps import Step

MODEL: Final = "model"
TIMEOUT_S: Final = 3600
_TYPES: Final = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "text"}


def register(ctx: Context, board: Board, item: Item, path: Path, step: Step, caller: Caller) -> Output:
    """Register the model that an item takes, and write down that its step came to that.

    A version that was registered from the same result, and not written down because the run died in between, is taken.

    Args:
        path: the model's file.
        step: the claim.
        caller: as whom it is registered.
    Raises: what registering raises; StaleAttempt.
    """
    node, output = item.node, board.output_of(item.node.args["model"])
    name, label = str(node.settings["model"]), str(node.settings["label"])
    convert = str(node.settings.get("convert", ""))
    with ctx.reading() as tx:
        found = _there(ctx, tx, name, output, convert)
        label = label or _label_of_newest(ctx, tx, name)
    if found is None:
        elsewhere: Elsewhere = ctx.ground.port(ELSEWHERE)
        types = board.columns()
        wanted = list(node.settings["columns"]) or [column.name for column in output.payload.columns]
        args = {
            "model": name,
            "files": [elsewhere.stage(caller, path)],
            "label": label,
            "inputs": sorted({read.address for read in board.plan.reads.values()}),
            "run": output.version.run or "",
            "columns": [_column(column, types) for column in wanted],
            "convert": convert,
        }
        elsewhere.call(caller, ctx.project.name, "model.register", args)
        with ctx.reading() as tx:
            found = _there(ctx, tx, name, output, convert)
    if found is None:
        raise Invalid(f"model {name}: its new version is not there", next_step="falaj model list")
    return keeping.commit_registered(ctx, step, *found)


def _there(ctx: Context, tx: Transaction, name: str, output: Output, convert: str) -> tuple[Asset, Version] | None:
    """The live version of a model that was registered from an output, converted or not as it is wanted now."""
    catalog = ctx.ground.catalog
    asset = catalog.find_asset(tx, ctx.project.id, MODEL, name)
    for version in catalog.versions(tx, asset, limit=100) if asset else ():
        if asset and version.run == output.version.run and version.state == "live":
            payload = catalog.payload(asset, version)
            given = payload.conversion.source if payload.conversion else payload.files[0].sha256
            if given == output.payload.files[0].sha256 and bool(payload.conversion) == bool(convert):
                return asset, version
    return None


def _label_of_newest(ctx: Context, tx: Transaction, name: str) -> str:
    catalog = ctx.ground.catalog
    asset = catalog.find_asset(tx, ctx.project.id, MODEL, name)
    newest = catalog.versions(tx, asset, limit=1) if asset else []
    if asset is None or not newest:
        raise Invalid(
            f"model {name}: what does it predict?", next_step="fj.register(name, model, label='arr_delay > 30')"
        )
    return str(catalog.payload(asset, newest[0]).label)


def _column(name: str, types: Mapping[str, str]) -> Any:
    known = _TYPES.get(types.get(name, ""))
    return {"name": name, "type": known} if known else name
