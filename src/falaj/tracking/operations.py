"""Operations on the runs of a person's own code."""

from __future__ import annotations

from typing import Any, Literal

from falaj.access.rows import names_of
from falaj.assets.records import Done
from falaj.assets.rules import page_size
from falaj.core.entries import What
from falaj.core.errors import Forbidden
from falaj.core.records import Run
from falaj.door import Context, command, query
from falaj.store import runs
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET
from falaj.tracking.records import RunLinkView, RunPage, RunView
from falaj.tracking.rules import cleaned, finite


@command(
    "run.start", on="project:{project}", entry=What.RUN_STARTED, role="contributor",
    without={"cli": "a run wraps a person's code: import falaj as fj; project.run(...)"},
)  # fmt: skip
def start(
    ctx: Context,
    name: str,
    sort: str = "script",
    params: dict[str, Any] = {},  # noqa: B006  never mutated
    code: dict[str, Any] = {},  # noqa: B006
    environment: dict[str, Any] = {},  # noqa: B006
) -> RunView:
    """Begin a run."""
    run = runs.start(
        ctx.unit,
        sort[:64],
        name[:128],
        params=cleaned(params, "params"),
        code=cleaned(code, "code"),
        environment=cleaned(environment, "environment"),
    )
    ctx.unit.say(What.RUN_STARTED, [run.id])
    return view(ctx.tx, run)


@command(
    "run.use", on="asset:{project}/{thing}", entry=What.RUN_STARTED, role="contributor", kind="dataset",
    judged=("classification", "residency", "purpose"),
    without={"cli": "a run wraps a person's code: import falaj as fj; run.use(...)"},
)  # fmt: skip
def use(ctx: Context, run: str, thing: str, role: str = "", purpose: str = "") -> Done:
    """Say that a run uses a version; this is what lineage is made of."""
    found = _mine(ctx, run)
    held = ctx.ground.catalog.resolve(ctx.tx, ctx.project.id, ctx.thing(thing))
    ctx.ground.catalog.check_unsealed(ctx.tx, held.asset, held.version, "a run")
    runs.link(ctx.unit, found.id, "in", held.version, role[:64])
    entry = ctx.unit.say(What.RUN_STARTED, [found.id, held.asset.id])
    return Done(thing=f"{held.asset.kind}/{held.asset.name}:{held.version.number}", entry_id=entry.id)


@command(
    "run.finish", on="project:{project}", entry=What.RUN_ENDED, role="contributor",
    without={"cli": "a run wraps a person's code: import falaj as fj; project.run(...)"},
)  # fmt: skip
def finish(
    ctx: Context,
    run: str,
    state: Literal["done", "failed"] = "done",
    params: dict[str, Any] = {},  # noqa: B006
    metrics: dict[str, float] = {},  # noqa: B006
    error: str = "",
) -> RunView:
    """End a run, once, with what it was given and what it measured."""
    found = _mine(ctx, run)
    told = {"code": "failed", "message": error[:1000]} if error else None
    ended = runs.end(
        ctx.unit,
        found,
        state,
        params=cleaned(params, "params"),
        metrics=finite(metrics),
        error=cleaned(told, "error") if told else None,
    )
    ctx.unit.say(What.RUN_ENDED, [ended.id])
    return view(ctx.tx, ended)


@query("run.list", on="project:{project}", cli="run list")
def list_runs(ctx: Context, sort: str = "", before: str = "", limit: int = 50) -> RunPage:
    """A page of runs, newest first."""
    limit = page_size(limit)
    found = runs.page(ctx.tx, ctx.project.id, before, sort, limit + 1)
    items = tuple(view(ctx.tx, run) for run in found[:limit])
    return RunPage(items=items, next=items[-1].id if len(found) > limit else None)


@query("run.show", on="run:{project}/{run}", cli="run show")
def show(ctx: Context, run: str) -> RunView:
    """A run: who ran what, in which environment, from which versions to which, with which result."""
    return view(ctx.tx, runs.get(ctx.tx, ctx.project.id, run))


def view(tx: Transaction, run: Run) -> RunView:
    """A run as people read it."""
    links = []
    for edge in runs.links(tx, run.id):
        asset = ASSET.get(tx, edge.asset)
        thing = f"{asset.kind}/{asset.name}:{edge.version}" if asset else f"{edge.asset}:{edge.version}"
        links.append(RunLinkView(direction=edge.direction, thing=thing, role=edge.role))
    gone = run.state == "running" and runs.is_alive(run.owner) is False
    return RunView(
        id=run.id,
        sort=run.sort,
        name=run.name,
        state="lost" if gone else run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        by=names_of(tx, [run.by]).get(run.by, run.by),
        params=run.params,
        metrics=run.metrics,
        code=run.code,
        environment=run.environment,
        result=run.result,
        error=run.error,
        links=tuple(links),
    )


def _mine(ctx: Context, run_id: str) -> Run:
    run = runs.get(ctx.tx, ctx.project.id, run_id)
    if run.person != ctx.unit.actor.person:
        raise Forbidden(f"run {run.id} is another person's", next_step="begin a run of your own")
    return run
