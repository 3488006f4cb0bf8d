"""Telling runs: why each step was computed, how two runs differ, whether a run came out again as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from falaj.core.encoding import canonical
from falaj.core.errors import Conflict
from falaj.core.records import Run
from falaj.door import Context
from falaj.pipelines.keeping import Output
from falaj.pipelines.kinds import ARTIFACT, PIPELINE
from falaj.pipelines.plan import FEATURES, Plan
from falaj.pipelines.records import Pipeline
from falaj.pipelines.views import Again, Difference, ExplainedStep, StepView
from falaj.store import runs, steps
from falaj.store.catalog import Held
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET, RUN
from falaj.store.steps import Step
from falaj.store.unit import Unit

FIRST = "the first time"


def pipeline_of(ctx: Context, tx: Transaction, run: Run) -> tuple[Held, dict[str, int]]:
    """The version of a pipeline that a run ran, and by name the versions of datasets that it read.

    Raises: Conflict where it came to no end, so that this is not written down.
    """
    found, data = None, dict[str, int]()
    for link in runs.links(tx, run.id):
        asset = ASSET.get(tx, link.asset)
        if asset is None or link.direction != "in":
            continue
        if link.role == "pipeline" and asset.kind == PIPELINE.name:
            found = Held(asset=asset, version=ctx.ground.catalog.version(tx, asset, link.version), ref=None)
        elif link.role == "data":
            if asset.name in data and data[asset.name] != link.version:
                raise Conflict(f"run {run.id} read two versions of {asset.name}", next_step="run it with both named")
            data[asset.name] = link.version
    if found is None or run.state != "done":
        raise Conflict(f"run {run.id} is no run of a pipeline that ended well", next_step="falaj run list")
    return found, data


def link_inputs(unit: Unit, run: str, plan: Plan) -> None:
    """Write down what a run reads: its pipeline, its data, the features that its files define as they were applied."""
    runs.link(unit, run, "in", plan.pipeline.version, "pipeline")
    for read in plan.reads.values():
        runs.link(unit, run, "in", read.held.version, "data")
    for version in plan.definitions.values():
        runs.link(unit, run, "in", version, FEATURES)


def link_outputs(unit: Unit, run: str, outputs: Iterable[Output]) -> None:
    """Write down what a run computed or took."""
    for one in outputs:
        runs.link(unit, run, "out", one.version, one.payload.step)


def explained(ctx: Context, tx: Transaction, run: Run, step: str = "") -> Iterator[ExplainedStep]:
    """Each attempt of a run, of all steps or of one, and why it was computed, or was not."""
    name = str(run.params.get("pipeline", "")).partition(":")[0].partition("@")[0]
    for row in steps.of_run(tx, run.id):
        if step not in ("", row.step):
            continue
        asset = row.asset
        if asset is None:
            found = ctx.ground.catalog.find_asset(tx, run.project, ARTIFACT.name, f"{name}.{row.step}")
            asset = found.id if found else ""
        yield ExplainedStep(
            step=view(tx, run, row, log=row.log), because=_because(tx, row, asset), metrics=_metrics(tx, row)
        )


def view(tx: Transaction, run: Run, row: Step, *, log: str = "") -> StepView:
    """An attempt as people read it."""
    asset = ASSET.get(tx, row.asset) if row.asset else None
    state = row.state
    if state == "running" and run.state != "running":
        state = "cancelled" if run.state == "cancelled" else "lost"
    return StepView(
        step=row.step,
        item=row.item,
        label=row.label,
        state=state,
        attempts=row.attempt,
        seconds=seconds_between(row.started_at, row.ended_at) if row.state != "cached" else 0.0,
        output=f"{asset.kind}/{asset.name}:{row.version}" if asset else "",
        key=row.key,
        error=row.error,
        log=log,
    )


def _because(tx: Transaction, row: Step, asset: str) -> tuple[str, ...]:
    if row.state == "cached":
        return ("committed before",)
    if row.attempt > 1:
        return (f"attempt {row.attempt - 1} failed",)
    before = steps.earlier(tx, row, asset) if asset else None
    if before is None:
        return (FIRST,)
    changed = [name for name in {**before.parts, **row.parts} if before.parts.get(name) != row.parts.get(name)]
    return tuple(f"{name.removeprefix('arg ')} changed" for name in changed) or ("computed anew",)


def _metrics(tx: Transaction, row: Step) -> dict[str, float]:
    job = RUN.get(tx, row.job) if row.job else None
    return job.metrics if job else {}


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[tuple[Difference, ...], int]:
    """What differs between the facts of two runs, in order of name, and how many facts are equal."""
    names = sorted({*one, *other})
    told = [
        Difference(what=name, one=one.get(name, ""), other=other.get(name, ""))
        for name in names
        if one.get(name) != other.get(name)
    ]
    return tuple(told), len(names) - len(told)


def facts_of(ctx: Context, tx: Transaction, run: Run) -> dict[str, str]:
    """What a run was given, read and made, by name."""
    facts = {"sort": run.sort, "state": run.state}
    for part, values in (("params", run.params), ("code", run.code), ("environment", run.environment)):
        facts |= _flat(part, values)
    facts |= {f"metrics.{name}": _shown(value) for name, value in run.metrics.items()}
    for link in runs.links(tx, run.id):
        asset = ASSET.get(tx, link.asset)
        if asset is None or (link.direction == "out" and asset.kind == ARTIFACT.name):
            continue
        facts[f"{'used' if link.direction == 'in' else 'made'} {asset.kind}/{asset.name}"] = f"v{link.version}"
    for row in steps.of_run(tx, run.id):
        where = row.step if row.item < 0 else f"{row.step}[{row.label or row.item}]"
        facts[f"{where} output"] = digest_of(ctx, tx, row) or row.state
        if row.parts.get("environment", "").startswith("lock "):
            facts[f"{where} environment"] = row.parts["environment"]
        facts |= {f"{where} {name}": _shown(value) for name, value in _metrics(tx, row).items()}
    return facts


def digest_of(ctx: Context, tx: Transaction, row: Step) -> str:
    """The digest of what an attempt came to, "" for nothing."""
    asset = ASSET.get(tx, row.asset) if row.asset else None
    if asset is None or row.version is None:
        return ""
    version = ctx.ground.catalog.version(tx, asset, row.version)
    return str(ARTIFACT.decode(version.payload).digest) if asset.kind == ARTIFACT.name else version.digest


def outputs_of(ctx: Context, tx: Transaction, run: str) -> dict[tuple[str, int], tuple[str, str]]:
    """By step and item, its label and the digest of its output, of what a run computed or took."""
    rows = [row for row in steps.of_run(tx, run) if row.state in ("done", "cached")]
    return {(row.step, row.item): (row.label, digest_of(ctx, tx, row)) for row in rows}


def jobs_of(tx: Transaction, run: str) -> list[Run]:
    """The runs that the steps of a run are."""
    found = [RUN.get(tx, row.job) for row in steps.of_run(tx, run) if row.job and row.asset]
    return [job for job in found if job is not None and job.sort == "step"]


def environments_of(tx: Transaction, run: str) -> set[tuple[str, Any]]:
    """The environments that the steps of a run ran in, by name and digest."""
    told = [job.environment for job in jobs_of(tx, run)]
    return {(one.get("name", ""), one.get("distributions_digest")) for one in told}


def again(
    before: Mapping[tuple[str, int], tuple[str, str]], after: Mapping[tuple[str, int], tuple[str, str]]
) -> tuple[Again, ...]:
    """Each step that was computed again, beside what it came to before."""
    out = []
    for (step, item), (label, digest) in after.items():
        was = before.get((step, item), ("", ""))[1]
        out.append(Again(step=step, item=item, label=label, same=digest == was, digest=was, digest_again=digest))
    return tuple(out)


def without_registering(payload: Pipeline) -> Pipeline:
    """The pipeline as it is computed, with nothing registered."""
    import msgspec

    nodes = tuple(node for node in payload.graph.nodes if node.sort != "register")
    return msgspec.structs.replace(payload, graph=msgspec.structs.replace(payload.graph, nodes=nodes))


def seconds_between(start: str, end: str | None) -> float:
    """Seconds between two moments as they are stored; 0 where there is no end."""
    from falaj.core.encoding import parse_moment

    return round((parse_moment(end) - parse_moment(start)).total_seconds(), 3) if end else 0.0


def _flat(part: str, values: Mapping[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(f"{part}.{name}", value)
        else:
            out[f"{part}.{name}"] = _shown(value)
    return out


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).decode()
