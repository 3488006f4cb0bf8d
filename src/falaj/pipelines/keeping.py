"""What attempts leave behind in the store: the claim before one begins, its output committed once, its failure.

Bytes go first; then one transaction: the output's version, its run and lineage, and the attempt's row, fenced by the
attempt. What was given up in the meantime commits nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical, moment, parse_moment
from falaj.core.entries import Entry, What
from falaj.core.errors import Conflict, FalajError
from falaj.core.names import printable
from falaj.core.records import Asset, Run, Version
from falaj.door import Context
from falaj.pipelines.engine import Ended, Engine
from falaj.pipelines.errors import PipelineInvalid, StaleAttempt
from falaj.pipelines.kinds import ARTIFACT
from falaj.pipelines.locks import Chosen
from falaj.pipelines.plan import Plan
from falaj.pipelines.records import Artifact, Manifest, SourceFile
from falaj.pipelines.rules import is_of
from falaj.store import runs, steps
from falaj.store.content import Stored
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET, RUN
from falaj.store.steps import STEP, Step
from falaj.store.unit import Unit
from falaj.tracking.rules import cleaned, finite

LEASE = timedelta(minutes=5)
MAX_LOG = 16 * 1024


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a step came to.

    Attributes:
        version: of an artifact; of a registered model, that.
        files: where its files lie in the run's folder; none while nobody needed them.
    """

    asset: Asset
    version: Version
    payload: Artifact
    files: tuple[Path, ...] = ()

    @property
    def address(self) -> str:
        """`artifact/delay.train:3`."""
        return f"{self.asset.kind}/{self.asset.name}:{self.version.number}"


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """A version that an attempt used, with its role."""

    version: Version
    role: str


def ensure_domain(ctx: Context) -> str:
    """The key domain of the project's artifacts."""
    name = f"artifacts-{ctx.project.id}"
    with ctx.reading() as tx:
        if ctx.ground.keys.reading(tx).has_domain(name):
            return name
    with ctx.begin() as unit:
        if ctx.ground.contents.ensure_domain(unit, ctx.project.id, name).created:
            unit.say(What.KEY_CREATED, [ctx.project.id])
    return name


def committed(ctx: Context, tx: Transaction, key: str) -> tuple[Step, Output] | None:
    """What was committed under a key and is still there, live; None where nothing is."""
    found = ((step, output_of(ctx, tx, step)) for step in steps.committed(tx, ctx.project.id, key))
    return next(((step, output) for step, output in found if output and output.version.state == "live"), None)


def output_of(ctx: Context, tx: Transaction, step: Step) -> Output | None:
    """What an attempt came to, None where it came to nothing."""
    asset = ASSET.get(tx, step.asset) if step.asset else None
    if asset is None or step.version is None:
        return None
    version = ctx.ground.catalog.version(tx, asset, step.version)
    if asset.kind == ARTIFACT.name:
        return Output(asset=asset, version=version, payload=ctx.ground.catalog.payload(asset, version))
    return registered(asset, version, step)


def registered(asset: Asset, version: Version, step: Step) -> Output:
    """A registered model as the output of its step."""
    value = {"model": asset.name, "version": version.number}
    told = sha256(canonical(["registered", version.digest]))
    made = Artifact(pipeline="", step=step.step, item=step.item, type="json", key=step.key, digest=told, value=value)
    return Output(asset=asset, version=version, payload=made)


def claim(ctx: Context, run: Run, pipeline: Asset, wanted: Sequence[Step], once: Collection[str]) -> list[Step]:
    """Write down attempts of a run before they begin.

    Args:
        pipeline: claims of one pipeline follow one another.
        once: the keys that are computed once: what was committed under one of them meanwhile, or is being computed by
            another run of this machine, is not claimed.
    Returns: those that were claimed.
    Raises: StaleAttempt where the run has ended.
    """
    with ctx.begin() as unit:
        unit.lock(ASSET, pipeline.id)
        free = [step for step in wanted if step.key not in once or not _is_made(ctx, unit.tx, step)]
        if free:
            add_claims(unit, run.id, free)
    return free


def _is_made(ctx: Context, tx: Transaction, step: Step) -> bool:
    """Whether a key was committed, or somebody who is known to live computes it for another run."""
    if committed(ctx, tx, step.key) is not None:
        return True
    rows = steps.underway(tx, step.project, step.key)
    return any(runs.is_alive(row.owner) and _is_running(tx, row.run) for row in rows if row.run != step.run)


def _is_running(tx: Transaction, run: str) -> bool:
    row = RUN.get(tx, run)
    return row is not None and row.state == "running"


def add_claims(unit: Unit, run: str, claimed: Sequence[Step]) -> Entry:
    """Write down attempts in an open unit, whoever else is at them.

    Raises: StaleAttempt where the run has ended; Exists where an attempt of that number was begun.
    """
    _check_running(unit, run)
    for step in claimed:
        unit.add(STEP, step)
    return unit.say(What.STEP_STARTED, [run], detail={"steps": [shown(step) for step in claimed]})


def claimed(
    run: Run,
    step: str,
    item: int,
    label: str,
    attempt: int,
    key: str,
    parts: Mapping[str, str],
    timeout_s: int,
    owner: str = "",
) -> Step:
    """A claim to be written, good until some minutes after the step's timeout; the owner's, or else the run's."""
    now = moment_now()
    until = moment(parse_moment(now) + timedelta(seconds=timeout_s) + LEASE)
    return Step(
        run=run.id,
        step=step,
        item=item,
        attempt=attempt,
        project=run.project,
        label=label,
        state="running",
        key=key,
        parts=dict(parts),
        owner=owner or run.owner,
        started_at=now,
        lease_until=until,
    )


def moment_now() -> str:
    """This moment, as it is stored."""
    from datetime import UTC, datetime

    return moment(datetime.now(UTC))


def judged(engine: Engine, ended: Ended, out: Path) -> Ended:
    """How an attempt ended, once its files were looked at: what cannot be kept is told as how it failed."""
    if ended.manifest is None:
        return ended
    try:
        engine.check_output(ended.manifest, out)
    except FalajError as error:
        return Ended(number=ended.number, sort=error.code, message=error.message, log=ended.log)
    return ended


def keep(ctx: Context, plan: Plan, step: Step, ended: Ended, out: Path, used: Iterable[Use]) -> Output:
    """Store the files of an attempt that came to its end, and commit it, once.

    Args:
        out: the folder of its files.
        used: the versions that it was made from.
    Raises: StaleAttempt where it was given up meanwhile: then nothing is kept.
    """
    manifest = ended.manifest
    assert manifest is not None  # noqa: S101  the caller looked
    stored: Stored | None = None
    files: tuple[SourceFile, ...] = ()
    if manifest.value is None:  # a small plain value stands in the version itself
        stored, files = upload(ctx, ensure_domain(ctx), manifest, out)
    artifact = Artifact(
        pipeline=plan.graph.pipeline,
        step=step.step,
        item=step.item,
        type=manifest.type,
        key=step.key,
        digest=sha256(canonical([manifest.type, [[file.path, file.sha256] for file in files], manifest.value])),
        files=files,
        columns=manifest.columns,
        rows=manifest.rows,
        value=manifest.value,
    )
    return commit(ctx, plan, step, ended, artifact, stored, used)


def upload(ctx: Context, domain: str, manifest: Manifest, folder: Path) -> tuple[Stored, tuple[SourceFile, ...]]:
    """Store the files of an output; all is in the location when this returns."""
    kept = []
    with ctx.ground.contents.upload(domain) as upload:
        for name in manifest.files:
            with (folder / name).open("rb") as stream:
                entry = upload.add_file(name, stream, sha256=True)
            kept.append(SourceFile(path=name, sha256=entry.sha256 or "", size_bytes=entry.size))
        return upload.finish(), tuple(kept)


def commit(
    ctx: Context, plan: Plan, step: Step, ended: Ended, artifact: Artifact, stored: Stored | None, used: Iterable[Use]
) -> Output:
    """Commit an attempt's output, once. Raises: StaleAttempt where it was given up meanwhile; then nothing is kept."""
    manifest = ended.manifest
    assert manifest is not None  # noqa: S101  the caller looked
    keeping = ctx.ground.contents.concluding(stored) if stored else nullcontext()
    with keeping, ctx.begin() as unit:
        try:
            steps.fence(unit, step)
        except Conflict as error:
            raise StaleAttempt(error.message, next_step=f"falaj run show {step.run}") from error
        content = ctx.ground.contents.record(unit, stored) if stored else None
        name = f"{plan.graph.pipeline}.{step.step}"
        job = runs.start(
            unit,
            "step",
            f"{plan.graph.pipeline}.{shown(step)}"[:128],
            params=cleaned({**manifest.params, **plain_parts(step.parts), "pipeline_run": step.run}, "params"),
            code=_code(plan, step),
            environment=plan.facts_of(step.step),
        )
        asset = ctx.ground.catalog.ensure_asset(unit, ctx.project.id, ARTIFACT.name, name)
        version = ctx.ground.catalog.add_version(unit, asset, artifact, content=content, run=job.id)
        for one in used:
            runs.link(unit, job.id, "in", one.version, one.role)
        runs.link(unit, job.id, "out", version, artifact.type)
        result = {
            "output": f"{asset.kind}/{asset.name}:{version.number}",
            "peak_bytes": ended.peak,
            "guards": list(manifest.guards),
        }
        runs.end(unit, job, result=result, metrics=finite(manifest.metrics))
        kept = msgspec.structs.replace(
            step,
            state="done",
            ended_at=unit.now,
            job=job.id,
            asset=asset.id,
            version=version.number,
            log=kept_log(ended.log),
        )
        unit.put(STEP, kept)
        unit.say(What.STEP_ENDED, [step.run, asset.id], detail={"step": shown(step), "version": version.number})
    return Output(asset=asset, version=version, payload=artifact)


def checked(manifest: Manifest, step: str, returns: str, folder: Path) -> Manifest:
    """What an attempt hands back. It was written by a person's code: believed only as far as it was checked.

    Raises: PipelineInvalid where it is of another type than was meant, or names what is no file of its output.
    """
    if manifest.type != returns or not manifest.files:
        raise PipelineInvalid(f"{step}: {manifest.type} came back, {returns} was meant")
    for name in manifest.files:
        path = folder / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            raise PipelineInvalid(f"{step}: {name[:100]!r} is no file of its output")
    if manifest.value is not None and not is_of(manifest.value, "json" if returns == "metrics" else returns):
        raise PipelineInvalid(f"{step}: a value came back that is not of type {returns}")
    return manifest


def commit_registered(ctx: Context, step: Step, asset: Asset, version: Version) -> Output:
    """Write down that a model's version is what a step came to. Raises: StaleAttempt."""
    with ctx.begin() as unit:
        try:
            steps.fence(unit, step)
        except Conflict as error:
            raise StaleAttempt(error.message, next_step=f"falaj run show {step.run}") from error
        kept = msgspec.structs.replace(
            step, state="done", ended_at=unit.now, job=version.run, asset=asset.id, version=version.number
        )
        unit.put(STEP, kept)
        unit.say(What.STEP_ENDED, [step.run, asset.id], detail={"step": shown(step), "version": version.number})
    return registered(asset, version, kept)


def fail(ctx: Context, step: Step, ended: Ended) -> Step:
    """Write down how an attempt failed; nothing where the run has ended already."""
    with ctx.begin() as unit:
        return put_failed(unit, step, ended)[0]


def put_failed(unit: Unit, step: Step, ended: Ended) -> tuple[Step, Entry | None]:
    """As `fail`, in an open unit; with the entry, where something was written."""
    error = {"code": ended.sort, "message": ended.message[:4000], **({"where": ended.where} if ended.where else {})}
    state: steps.StepState = "lost" if ended.sort == "lost" else "failed"
    kept = msgspec.structs.replace(
        step, state=state, ended_at=unit.now, error=cleaned(error, "error"), log=kept_log(ended.log)
    )
    now = STEP.get(unit.tx, step.run, step.step, step.item, step.attempt, lock=True)
    if now is None or now.state != "running":
        return kept, None
    unit.put(STEP, kept)
    return kept, unit.say(What.STEP_ENDED, [step.run], detail={"step": shown(step), "error": kept.error})


def give_up(ctx: Context, underway: Sequence[Step], state: steps.StepState) -> None:
    """End attempts that will not be waited for."""
    with ctx.begin() as unit:
        for step in underway:
            now = STEP.get(unit.tx, step.run, step.step, step.item, step.attempt, lock=True)
            if now is not None and now.state == "running":
                unit.put(STEP, msgspec.structs.replace(now, state=state, ended_at=unit.now))
        if unit.has_changes:
            unit.say(What.STEP_ENDED, [underway[0].run], detail={"steps": [shown(s) for s in underway], "was": state})


def note_cached(unit: Unit, items: Iterable[tuple[Step, Output]]) -> None:
    """Write down what a run took as it was committed before. The caller says the entry."""
    for step, output in items:
        row = msgspec.structs.replace(
            step, state="cached", ended_at=unit.now, asset=output.asset.id, version=output.version.number
        )
        unit.put(STEP, msgspec.structs.replace(row, job=output.version.run))


def say_built(ctx: Context, run: Run, made: Chosen) -> None:
    """The entry of an environment that was built for a run."""
    with ctx.begin() as unit:
        detail = {"environment": made.name, "digest": made.digest, "distributions": len(made.lock.pins)}
        unit.say(What.ENVIRONMENT_BUILT, [run.id], detail=detail)


def is_ended(ctx: Context, run: str) -> bool:
    """Whether somebody ended a run meanwhile."""
    with ctx.reading() as tx:
        row = RUN.get(tx, run)
    return row is None or row.state != "running"


def kept_log(text: str) -> str:
    """The end of a log without what is shaped like a secret."""
    return str(cleaned({"log": text[-MAX_LOG:]}, "log")["log"])


def plain_parts(parts: Mapping[str, str]) -> dict[str, str]:
    """What the key was made of, as params of the step's run: its arguments."""
    return {name.removeprefix("arg "): value for name, value in parts.items() if name.startswith("arg ")}


def _check_running(unit: Unit, run: str) -> None:
    row = RUN.get(unit.tx, run, lock=True)
    if row is None or row.state != "running":
        raise StaleAttempt(f"run {run} is {row.state if row else 'not there'}", next_step=f"falaj run show {run}")


def _code(plan: Plan, step: Step) -> dict[str, Any]:
    """The code of a step as its run keeps it: the commit it was defined at, and the digest of what it runs."""
    node = next(node for node in plan.graph.nodes if node.id == step.step)
    own = plan.digests.get(step.step, "").removeprefix("sha256:")
    return {**plan.payload.code, "script": f"{node.path}:{node.function}", "script_digest": own}


def shown(step: Step) -> str:
    """An attempt's item as entries and people name it."""
    return step.step if step.item < 0 else f"{step.step}[{printable(step.label).strip(chr(39)) or step.item}]"
