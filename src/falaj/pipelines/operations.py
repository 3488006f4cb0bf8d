"""Operations on pipelines: kept as versions, run, shown; a run cancelled, explained, compared, reproduced."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from falaj.assets.rules import words
from falaj.core.encoding import decode
from falaj.core.entries import What
from falaj.core.errors import Conflict, NotFound, TooLarge
from falaj.core.names import Thing, name, printable
from falaj.data.views import StagedFile
from falaj.door import Context, command, job, query
from falaj.pipelines import keeping, lending, locks, telling
from falaj.pipelines.board import Item
from falaj.pipelines.engine import ENGINE, Engine
from falaj.pipelines.keeping import ensure_domain
from falaj.pipelines.kinds import PIPELINE
from falaj.pipelines.plan import SOURCE, Plan, plan_of
from falaj.pipelines.records import MAX_SOURCE_BYTES, Graph, Node, Pipeline
from falaj.pipelines.rules import check_graph, check_source, defined
from falaj.pipelines.running import Runner, taken
from falaj.pipelines.views import (
    Applied,
    Cancelled,
    Compared,
    Explained,
    NodeView,
    PipelineRun,
    PipelineView,
    Reproduced,
    RunSteps,
)
from falaj.store import runs, steps
from falaj.store.metadata import Transaction
from falaj.tracking.rules import cleaned

PIPELINE_RUNS = ("pipeline.run", "run.reproduce")


@job(
    "pipeline.apply",
    on="project:{project}",
    entry=What.VERSION_ADDED,
    role="contributor",
    without={"cli": "falaj pipeline run does it: a pipeline is kept as it stands when it is run"},
)
def apply(
    ctx: Context,
    graph: Graph,
    source: StagedFile,
    code: dict[str, Any] = {},  # noqa: B006  never mutated
    environment: str = "",
) -> Applied:
    """Keep a pipeline as the newest version: its graph, the project's source files, the environment's digest.

    `source` is one JSON file: path of each Python file → its text. `code`: the state of its Git work tree.
    """
    check_graph(graph)
    ctx.check_residency(f"pipeline {graph.pipeline}: storing")
    path = ctx.staged(source.staged)
    if path.stat().st_size > 2 * MAX_SOURCE_BYTES:
        raise TooLarge(f"source: over {MAX_SOURCE_BYTES >> 20} MiB", next_step="keep data out of the code")
    files = check_source(decode(path.read_bytes(), dict[str, str], "source"))
    locks.check(graph, files)
    payload = defined(graph, files, cleaned(code, "code"), environment[:200])
    thing = Thing(name(graph.pipeline), PIPELINE.name, "main")
    with ctx.reading() as tx:
        same = _newest(ctx, tx, thing)
    steps = tuple(node.id for node in graph.nodes)
    run = ctx.run.id if ctx.run else ""
    if same is not None and same[1].digest == payload.digest:
        return Applied(
            pipeline=thing.name, version=same[0], outcome="unchanged", steps=steps, run=run, entry_id="", entry=None
        )
    domain = ensure_domain(ctx)
    with ctx.ground.contents.upload(domain) as upload, path.open("rb") as stream:
        upload.add_file(SOURCE, stream, sha256=True)
        stored = upload.finish()
    ctx.check_staged()
    with ctx.ground.contents.concluding(stored), ctx.conclude() as unit:
        asset = ctx.ground.catalog.ensure_asset(unit, ctx.project.id, PIPELINE.name, thing.name)
        content = ctx.ground.contents.record(unit, stored)
        version = ctx.ground.catalog.add_version(unit, asset, payload, content=content, run=run or None)
        ctx.ground.catalog.move(unit, asset, "main", version)
        ctx.result = {"pipeline": asset.name, "version": version.number}
        entry = unit.say(What.REF_MOVED, [asset.id], detail={**words(thing), "version": version.number})
    return Applied(
        pipeline=asset.name, version=version.number, outcome="added", steps=steps, run=run, entry_id=entry.id
    )


def _newest(ctx: Context, tx: Transaction, thing: Thing) -> tuple[int, Pipeline] | None:
    asset = ctx.ground.catalog.find_asset(tx, ctx.project.id, PIPELINE.name, thing.name)
    held = ctx.ground.catalog.ref(tx, asset, "main") if asset else None
    if asset is None or held is None:
        return None
    return held.version, ctx.ground.catalog.payload(asset, ctx.ground.catalog.version(tx, asset, held.version))


@job(
    "pipeline.run",
    on="asset:{project}/{pipeline=pipeline}",
    entry=What.RUN_STARTED,
    role="contributor",
    cli="pipeline run",
    judged=("classification", "residency", "purpose"),
)
def run(
    ctx: Context,
    pipeline: str,
    params: dict[str, Any] = {},  # noqa: B006  never mutated
    purpose: str = "",
) -> PipelineRun:
    """Run a pipeline as it was last kept (or a version of it, `delay:3`); what is committed is not computed again.

    `params`: values for the pipeline's parameters; a dataset by its address, `flights:3`. Each step runs in a process
    of its own; its output is committed once, whatever happens to the others.
    """
    ctx.check_residency(f"{pipeline}: running")
    began = time.monotonic()
    engine: Engine = ctx.ground.port(ENGINE)
    plan = plan_of(ctx, pipeline, cleaned(params, "params"), engine.environment(), purpose)
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch, ignore_cleanup_errors=True) as folder:
        items = Runner(ctx, plan, engine, Path(folder)).run()
    return _conclude(ctx, plan, items, time.monotonic() - began)


def _conclude(ctx: Context, plan: Plan, items: list[Item], seconds: float) -> PipelineRun:
    assert ctx.run is not None  # noqa: S101  a job has a run
    counted = [item for item in items if item.node.sort != "best"]
    outputs = [item.output for item in counted if item.output]
    models = tuple(one.address for one in outputs if one.asset.kind == "model")
    cached = sum(item.state == "cached" for item in counted)
    with ctx.conclude() as unit:
        telling.link_inputs(unit, ctx.run.id, plan)
        telling.link_outputs(unit, ctx.run.id, outputs)
        keeping.note_cached(unit, taken(ctx.run, counted))
        ctx.result = {"computed": len(counted) - cached, "cached": cached, "registered": list(models)}
        ctx.result |= plan.told_environments
        entry = unit.say(What.RUN_ENDED, [ctx.run.id, plan.pipeline.asset.id])
    return PipelineRun(
        pipeline=plan.graph.pipeline,
        version=plan.pipeline.version.number,
        run=ctx.run.id,
        steps=tuple(item.view() for item in counted),
        computed=len(counted) - cached,
        cached=cached,
        registered=models,
        seconds=round(seconds, 3),
        entry_id=entry.id,
    )


@query("pipeline.show", on="asset:{project}/{pipeline=pipeline}", cli="pipeline show")
def show(ctx: Context, pipeline: str) -> PipelineView:
    """A pipeline's parameters and steps, and what each takes from where."""
    held = ctx.ground.catalog.resolve(ctx.tx, ctx.project.id, Thing.parse(pipeline, kind=PIPELINE.name))
    payload: Pipeline = ctx.ground.catalog.payload(held.asset, held.version)
    graph = payload.graph
    return PipelineView(
        pipeline=graph.pipeline,
        version=held.version.number,
        summary=graph.summary,
        params=tuple(f"{p.name}: {p.type}" + ("" if p.needed else f" = {_shown(p.default)}") for p in graph.params),
        nodes=tuple(
            NodeView(id=n.id, sort=n.sort, takes=_takes(n), returns=n.returns, summary=n.summary) for n in graph.nodes
        ),
        files=tuple(file.path for file in payload.files),
        environment=payload.environment,
        environments=tuple(f"{one.name}: {one.path}" for one in graph.environments),
    )


def _takes(node: Node) -> tuple[str, ...]:
    out = []
    for name_, arg in node.args.items():
        source = arg.name if arg.sort != "value" else _shown(arg.value)
        out.append(f"{name_} = {'each of ' if arg.each else ''}{source}")
    return (*out, *(f"features of {service}" for service in node.services))


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode() if not isinstance(value, str) else value


@command("run.cancel", on="run:{project}/{run}", entry=What.RUN_CANCELLED, role="contributor", cli="run cancel")
def cancel(ctx: Context, run: str) -> Cancelled:
    """Cancel a run of a pipeline; its processes end within a second. What it committed stays."""
    found = runs.get(ctx.tx, ctx.project.id, run)
    if found.sort not in PIPELINE_RUNS:
        raise Conflict(f"run {run} is a {found.sort}: only runs of pipelines are cancelled")
    error = {"code": "run_cancelled", "message": f"cancelled by {ctx.caller.principal.name}"}
    ended = runs.end(ctx.unit, found, "cancelled", error=error)
    entry = ctx.unit.say(What.RUN_CANCELLED, [ended.id])
    lending.give_back(ctx.unit, ended)
    return Cancelled(run=ended.id, state=ended.state, entry_id=entry.id)


@query("run.steps", on="run:{project}/{run}", cli="run watch")
def steps_of(ctx: Context, run: str, step: str = "") -> RunSteps:
    """How far a run is: its state, and each attempt that was begun, of all steps or of one. Any run may be asked."""
    found = runs.get(ctx.tx, ctx.project.id, run)
    gone = found.state == "running" and runs.is_alive(found.owner) is False
    rows = [row for row in steps.of_run(ctx.tx, found.id) if step in ("", row.step)]
    return RunSteps(
        run=found.id,
        name=str(found.params.get("pipeline") or found.name),
        state="lost" if gone else found.state,
        steps=tuple(telling.view(ctx.tx, found, row) for row in rows),
        error=found.error,
    )


@query("run.explain", on="run:{project}/{run}", cli="run explain")
def explain(ctx: Context, run: str, step: str = "") -> Explained:
    """A run of a pipeline, attempt by attempt: why each was computed or was not, what it printed, how it failed.

    `step`: only this one, by its name in the pipeline.
    """
    found = runs.get(ctx.tx, ctx.project.id, run)
    if found.sort not in PIPELINE_RUNS:
        raise Conflict(
            f"run {run} is a {found.sort}: only runs of pipelines have steps", next_step="falaj run show RUN"
        )
    told = tuple(telling.explained(ctx, ctx.tx, found, step))
    if step and not told:
        raise NotFound(
            f"run {run}: no step {printable(step)} was begun or taken", next_step=f"falaj run explain {found.id}"
        )
    return Explained(
        run=found.id,
        state=found.state,
        pipeline=str(found.params.get("pipeline", "")),
        steps=told,
    )


@query("run.compare", on=("run:{project}/{run}", "run:{project}/{other}"), cli="run compare")
def compare(ctx: Context, run: str, other: str) -> Compared:
    """Two runs beside one another: params, code, environment, what they used and made, metrics, outputs of steps."""
    one, two = (runs.get(ctx.tx, ctx.project.id, one) for one in (run, other))
    told, same = telling.differences(telling.facts_of(ctx, ctx.tx, one), telling.facts_of(ctx, ctx.tx, two))
    return Compared(run=one.id, other=two.id, differences=told, same=same)


@job(
    "run.reproduce",
    on="run:{project}/{run}",
    entry=What.RUN_STARTED,
    role="contributor",
    cli="run reproduce",
    judged=("classification", "residency", "purpose"),
)
def reproduce(ctx: Context, run: str, purpose: str = "") -> Reproduced:
    """Compute a run of a pipeline again, all of it, from the versions that it read, and compare what comes out.

    Nothing is registered. An output that differs is told, not refused: a step may draw on the clock, or on chance.
    """
    began = time.monotonic()
    engine: Engine = ctx.ground.port(ENGINE)
    with ctx.reading() as tx:
        first = runs.get(tx, ctx.project.id, run)
        held, pins = telling.pipeline_of(ctx, tx, first)
        before = telling.outputs_of(ctx, tx, first.id)
        environments = telling.environments_of(tx, first.id)
    ctx.check_residency(f"{held.asset.name}: running")
    thing = f"{held.asset.name}:{held.version.number}"
    plan = plan_of(ctx, thing, first.params.get("params", {}), engine.environment(), purpose, pins)
    plan = msgspec.structs.replace(plan, payload=telling.without_registering(plan.payload))
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch, ignore_cleanup_errors=True) as folder:
        Runner(ctx, plan, engine, Path(folder), anew=True).run()
    assert ctx.run is not None  # noqa: S101  a job has a run
    with ctx.reading() as tx:
        found = telling.again(before, telling.outputs_of(ctx, tx, ctx.run.id))
        known = environments == telling.environments_of(tx, ctx.run.id)
    ok = all(one.same for one in found)
    with ctx.conclude() as unit:
        runs.link(unit, ctx.run.id, "in", held.version, "pipeline")
        ctx.result = {"of": first.id, "ok": ok, "same": sum(one.same for one in found), "steps": len(found)}
        ctx.result |= plan.told_environments
        entry = unit.say(What.RUN_ENDED, [ctx.run.id, first.id])
    return Reproduced(
        run=first.id,
        again=ctx.run.id,
        ok=ok,
        environment="same" if known else "other",
        steps=found,
        seconds=round(time.monotonic() - began, 3),
        entry_id=entry.id,
    )
