"""The step contract: a run lent to an engine elsewhere, and what the process of one attempt asks of the door.

pipeline.begin      a run, and a token that is good for it alone
step.claim          the attempt is mine: the task, and the names of its inputs; or its result is there already
step.input          the bytes of one input of an attempt that is underway
step.commit, fail   how it ended, once; an attempt that was given up commits nothing
step.settle         once no step is left: what Falaj does itself, and the end of the run
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from falaj.access import rules
from falaj.core.encoding import moment
from falaj.core.entries import What
from falaj.core.errors import Conflict, FalajError, Forbidden, Invalid, Unavailable
from falaj.core.records import RunState
from falaj.data.views import StagedFile
from falaj.door import Context, command, job, query, transfer
from falaj.pipelines import keeping, lending, registering
from falaj.pipelines.board import Board, Item
from falaj.pipelines.desk import PURPOSE, READS, STEPS, Desk, InputPlace, Known, Named, lent_run, steps_before, underway
from falaj.pipelines.engine import ENGINE, Ended, Engine
from falaj.pipelines.errors import NotCovered, StaleAttempt, StepNotReady
from falaj.pipelines.inputs import Inputs
from falaj.pipelines.plan import Plan, plan_of
from falaj.pipelines.records import Manifest, Node
from falaj.pipelines.running import failure
from falaj.pipelines.telling import link_inputs, link_outputs
from falaj.pipelines.views import Begun, BegunStep, Claimed, InputFile, Items, RunSteps, StepEnded
from falaj.store import runs
from falaj.store.rows import RUN
from falaj.store.steps import STEP, Step
from falaj.tracking.rules import cleaned

BY_STEP_RUN = {"cli": "falaj step run does it, in the process of an attempt"}
MAX_TEXT = 4000
_SORT = re.compile(r"[a-z][a-z_]{0,39}")


@command(
    "pipeline.begin",
    on="asset:{project}/{pipeline=pipeline}",
    entry=What.RUN_STARTED,
    role="contributor",
    cli="pipeline begin",
    judged=("classification", "residency", "purpose"),
    shown_once=True,
)
def begin(
    ctx: Context,
    pipeline: str,
    params: dict[str, Any] = {},  # noqa: B006  never mutated
    purpose: str = "",
    expires_in: str = "24h",
) -> Begun:
    """Begin a run that an engine elsewhere works on, with a token that is good for this run alone.

    What it reads is fixed now. It ends by itself once all of its steps committed, or when `expires_in` is over, which
    is no later than the end of the token that it is begun by.
    """
    ctx.check_residency(f"{pipeline}: running")
    ends, given = lending.until(expires_in, ctx.caller), cleaned(params, "params")
    plan = plan_of(ctx, pipeline, given, {}, purpose)
    _check_may_carry_out(ctx, plan)
    if plan.environments:
        raise Conflict(
            f"{plan.graph.pipeline}: its steps run in environments from locks, which are built by Falaj itself",
            next_step=f"falaj pipeline run {plan.graph.pipeline}",
        )
    unit, version = ctx.unit, plan.pipeline.version
    said = {
        "pipeline": f"{plan.graph.pipeline}:{version.number}",
        "params": given,
        PURPOSE: purpose,
        READS: {thing: read.held.version.number for thing, read in plan.reads.items()},
    }
    run = runs.start(unit, "pipeline.run", params=said, code={**plan.payload.code, STEPS: plan.digests})
    run, token = lending.lend(ctx, run, ends)
    link_inputs(unit, run.id, plan)
    entry = unit.say(What.RUN_STARTED, [run.id, plan.pipeline.asset.id], detail={"pipeline": said["pipeline"]})
    board = Board(ctx, plan)
    board.restore({}, {node.id for node in plan.graph.nodes})
    return Begun(
        run=run.id,
        pipeline=plan.graph.pipeline,
        version=version.number,
        token=token,
        expires_at=moment(ends),
        steps=tuple(_begun(plan, board, node) for node in plan.graph.nodes if node.sort == "step"),
        entry_id=entry.id,
    )


def _check_may_carry_out(ctx: Context, plan: Plan) -> None:
    """Whether the run could come to its end: its steps by the caller's role on runs, its models by the rights in use.

    Raises: NotFound, Forbidden.
    """
    caller = msgspec.structs.replace(ctx.caller, token=None)  # as the token of the run will be: good for it alone
    steps = ctx.door.decide(caller, "step.claim", (f"run:{ctx.project.name}/new",), ctx.snapshot)
    if not steps.allowed:
        raise Forbidden(
            f"{plan.graph.pipeline}: who lends a run carries its steps out, as {lending.ROLE} on the project",
            next_step=f"falaj pipeline run {plan.graph.pipeline} needs no role but that on the pipeline and its data",
        )
    for node in plan.graph.nodes:
        if node.sort != "register" or ctx.snapshot is None:
            continue
        resource = f"asset:{ctx.project.name}/model/{node.settings['model']}"
        decision = ctx.decide("model.register", resource)
        if not decision.allowed:
            raise rules.refusal(ctx.door.request(ctx.caller, "model.register", (resource,)), decision, ctx.snapshot)


def _begun(plan: Plan, board: Board, node: Node) -> BegunStep:
    items, options = board.items.get(node.id), node.options
    return BegunStep(
        step=node.id,
        after=steps_before(plan.graph, node),
        mapped=node.is_mapped,
        items=len(items) if items and node.is_mapped else None,
        cpu=options.cpu,
        memory=options.memory,
        timeout_s=options.timeout_s,
        retries=options.retries,
    )


@query("step.items", on="run:{project}/{run}", cli="step items")
def items(ctx: Context, run: str, step: str) -> Items:
    """The items of a step of a run that is worked on elsewhere: known once what it is mapped over has committed."""
    found = _laid_out(Desk(ctx, run, step)).board.items.get(step)
    return Items(
        run=run,
        step=step,
        is_known=found is not None,
        items=tuple(item.place for item in found or ()),
        labels=tuple(item.label for item in found or ()),
    )


@command("step.claim", on="run:{project}/{run}", entry=What.STEP_STARTED, role="contributor", cli="step run")
def claim(
    ctx: Context,
    run: str,
    step: str,
    item: int = -1,
    attempt: int = 1,
    environment: dict[str, Any] = {},  # noqa: B006  never mutated
) -> Claimed:
    """Claim an attempt of a step before it is begun; an attempt before it that never came to an end is given up.

    `environment`: of the process that will compute it, as `falaj.capture` tells it; it is part of the step's key.
    """
    ctx.check_residency(f"{step[:60]}: running")
    RUN.get(ctx.tx, run, lock=True)  # as commits do first: an attempt that commits at this moment is seen as done
    desk = Desk(ctx, run, step, cleaned(environment, "environment"))
    one = _own(desk, step, item)
    told = Claimed(run=run, step=step, item=item, attempt=attempt, state="done", label=one.label)
    if one.output is not None:
        return _told_done(ctx, told, one.output.address)
    if not desk.board.is_ready(one):
        waits = ", ".join(steps_before(desk.plan.graph, one.node))
        raise StepNotReady(f"{one.name}: what it takes is not there yet", next_step=f"first come: {waits}")
    desk.board.give_key(one)
    found = keeping.committed(ctx, ctx.tx, one.key) if one.node.options.cache else None
    if found is not None:
        _give_up(ctx, desk, one)
        row = keeping.claimed(desk.run, step, item, one.label, 0, one.key, one.parts, 0)
        keeping.note_cached(ctx.unit, [(row, found[1])])
        ctx.unit.say(What.STEP_ENDED, [run], detail={"step": keeping.shown(row), "was": "cached"})
        return _told_done(ctx, msgspec.structs.replace(told, state="cached"), found[1].address)
    return _claimed(ctx, desk, one, attempt)


def _claimed(ctx: Context, desk: Desk, one: Item, attempt: int) -> Claimed:
    mine = [row for row in desk.rows if (row.step, row.item) == (one.node.id, one.place)]
    newest = max((row.attempt for row in mine), default=0)
    if attempt <= newest:
        raise StaleAttempt(
            f"attempt {attempt} of {one.name}: attempt {newest} was claimed", next_step="raise the attempt by one"
        )
    _give_up(ctx, desk, one)
    seconds = one.node.options.timeout_s
    row = keeping.claimed(desk.run, one.node.id, one.place, one.label, attempt, one.key, one.parts, seconds)
    entry = keeping.add_claims(ctx.unit, desk.run.id, [row])
    named = Named(ctx, desk.plan)
    task = desk.board.task(one, row, "source", named)
    return Claimed(
        run=row.run,
        step=row.step,
        item=row.item,
        attempt=attempt,
        state="running",
        label=row.label,
        task=task,
        files=tuple(InputFile(path=path, size_bytes=size) for path, (_, _, size) in named.files.items()),
        entry_id=entry.id,
    )


def _give_up(ctx: Context, desk: Desk, one: Item) -> None:
    """Give up the attempt of an item that is underway, if one is. The caller says the entry."""
    for row in desk.rows:
        if (row.step, row.item, row.state) == (one.node.id, one.place, "running"):
            ctx.unit.put(STEP, msgspec.structs.replace(row, state="lost", ended_at=ctx.unit.now))


def _told_done(ctx: Context, told: Claimed, output: str) -> Claimed:
    return msgspec.structs.replace(told, output=output, is_last=Desk(ctx, told.run).is_last)


def _laid_out(desk: Desk) -> Desk:
    """Raises: PipelineInvalid where what was made by now leads to no graph that can be run."""
    if desk.invalid is not None:
        raise desk.invalid
    return desk


def _own(desk: Desk, step: str, item: int) -> Item:
    """An item that an engine may run. Raises: NotFound, Conflict, PipelineInvalid."""
    node = next((node for node in desk.plan.graph.nodes if node.id == step), None)
    if node is not None and node.sort != "step":
        raise Conflict(f"{step}: Falaj does it itself, once what it takes is there", next_step="leave it out")
    return _laid_out(desk).board.item(step, item)


_KNOWN = Known()


@transfer("step.input", on="run:{project}/{run}", role="contributor", without=BY_STEP_RUN, entry=What.CONTENT_READ)
def give_input(ctx: Context, run: str, step: str, attempt: int, path: str, item: int = -1) -> Iterator[bytes]:
    """The bytes of one input of an attempt that is underway, by the name that its task has for it."""
    row = underway(ctx, lent_run(ctx, run), step, item, attempt)
    files = _KNOWN.files(ctx, row, lambda: _named(ctx, row))
    if path not in files:
        told = f"{path[:200]}: no input of {keeping.shown(row)}"
        raise NotCovered(told, next_step="an attempt reads its own inputs only")
    version, file, _ = files[path]
    return ctx.ground.contents.stream(version, file)


def _named(ctx: Context, row: Step) -> dict[str, InputPlace]:
    """The inputs of an attempt by the names that its task has for them."""
    desk = Desk(ctx, row.run, row.step)
    named, one = Named(ctx, desk.plan), _own(desk, row.step, row.item)
    desk.board.give_key(one)
    desk.board.task(one, row, "source", named)
    return named.files


@job("step.commit", on="run:{project}/{run}", entry=What.STEP_ENDED, role="contributor", without=BY_STEP_RUN)
def commit(
    ctx: Context,
    run: str,
    step: str,
    attempt: int,
    manifest: Manifest,
    files: list[StagedFile],
    item: int = -1,
    environment: dict[str, Any] = {},  # noqa: B006  never mutated
    log: str = "",
    peak: int = 0,
) -> StepEnded:
    """Commit what an attempt made, once. Output that cannot be kept makes it a failed one."""
    engine: Engine = ctx.ground.port(ENGINE)
    desk = Desk(ctx, run, step, cleaned(environment, "environment"))
    row, one = underway(ctx, desk.run, step, item, attempt), _own(desk, step, item)
    if row.parts.get("environment") != desk.plan.environment_digest:
        raise Invalid(f"{one.name}: another environment than it was claimed in", next_step="claim another attempt")
    ended = Ended(number=0, manifest=manifest, peak=peak, log=log[-keeping.MAX_LOG :])
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:
        out = _out(ctx, files, Path(folder))
        try:
            keeping.checked(manifest, step, one.node.returns, out)
        except FalajError as error:
            ended = Ended(number=0, sort=error.code, message=error.message, log=ended.log)
        ended = keeping.judged(engine, ended, out)
        if ended.manifest is None:
            return _failed(ctx, row, keeping.fail(ctx, row, ended))
        output = keeping.keep(ctx, desk.plan, row, ended, out, desk.board.used(one))
    told = StepEnded(run=run, step=step, item=item, attempt=attempt, state="done", output=output.address)
    return msgspec.structs.replace(told, is_last=Desk(ctx, run).is_last)


def _out(ctx: Context, files: list[StagedFile], folder: Path) -> Path:
    """The staged files of an output under their own names, in a folder that nobody else sees. Raises: Invalid."""
    for file in files:
        if Path(file.name).name != file.name or (folder / file.name).exists():
            raise Invalid(f"{file.name[:100]!r}: no name of a file of an output")
        with ctx.watching_staged():
            shutil.copyfile(ctx.staged(file.staged), folder / file.name)
    return folder


@command("step.fail", on="run:{project}/{run}", entry=What.STEP_ENDED, role="contributor", without=BY_STEP_RUN)
def fail(
    ctx: Context,
    run: str,
    step: str,
    attempt: int,
    sort: str,
    message: str,
    where: str = "",
    item: int = -1,
    log: str = "",
) -> StepEnded:
    """Say how an attempt failed (`sort`: raised, timeout, memory, signal, …); the answer tells whether to try again."""
    if not _SORT.fullmatch(sort):
        raise Invalid(f"sort {sort[:40]!r}: a word is expected", next_step="such as raised")
    RUN.get(ctx.tx, run, lock=True)  # of two that end at this moment, the second one sees that it is the last
    row = underway(ctx, lent_run(ctx, run), step, item, attempt)
    ended = Ended(number=0, sort=sort, message=message[:MAX_TEXT], where=where[:200], log=log[-keeping.MAX_LOG :])
    kept, _ = keeping.put_failed(ctx.unit, row, ended)
    return _failed(ctx, row, kept)


def _failed(ctx: Context, row: Step, kept: Step) -> StepEnded:
    desk = Desk(ctx, row.run)
    return StepEnded(
        run=row.run,
        step=row.step,
        item=row.item,
        attempt=row.attempt,
        state="failed",
        error=kept.error,
        again=desk.is_again(kept),
        is_last=desk.is_last,
    )


@job("step.settle", on="run:{project}/{run}", entry=What.RUN_ENDED, role="contributor", without=BY_STEP_RUN)
def settle(ctx: Context, run: str) -> RunSteps:
    """Bring a run to its end once no step is left to be run elsewhere: register what it registers, or say it failed.

    May be asked again: what was done is done once, and what was cut short is taken up.
    """
    with ctx.reading() as tx:
        found = runs.get(tx, ctx.project.id, run)
    if found.state != "running":
        return RunSteps(run=run, name=found.name, state=found.state, steps=(), error=found.error)
    engine: Engine = ctx.ground.port(ENGINE)
    desk = Desk(ctx, run, environment=engine.environment())
    if desk.is_last and not desk.failed() and desk.invalid is None:
        with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:
            _register_all(ctx, desk, Path(folder))
        desk = Desk(ctx, run)
    return _ended(ctx, desk) if desk.is_last else RunSteps(run=run, name=found.name, state="running", steps=())


def _register_all(ctx: Context, desk: Desk, folder: Path) -> None:
    """Register what is ready to be and was not; one that another process is at is left to it."""
    board = desk.board
    for one in board.ready():
        if one.node.sort != "register":
            continue
        with ctx.reading() as tx:
            known = keeping.committed(ctx, tx, one.key)
        mine = [row for row in desk.rows if row.step == one.node.id]
        if any(row.state == "running" and runs.is_alive(row.owner) is not False for row in mine):
            continue
        if known is not None:
            row = keeping.claimed(desk.run, one.node.id, -1, "", 0, one.key, one.parts, 0)
            with ctx.begin() as unit:
                keeping.note_cached(unit, [(row, known[1])])
                unit.say(What.STEP_ENDED, [desk.run.id], detail={"step": one.name, "was": "cached"})
            continue
        number = max((row.attempt for row in mine), default=0) + 1
        keeping.give_up(ctx, mine, "lost")
        row = keeping.claimed(
            desk.run, one.node.id, -1, "", number, one.key, one.parts, registering.TIMEOUT_S, runs.this_process()
        )
        if not keeping.claim(ctx, desk.run, desk.plan.pipeline.asset, [row], {one.key}):
            continue  # another run registers it at this moment: who asks again finds it
        try:
            path = Path(Inputs(ctx, folder).output(board.output_of(one.node.args["model"]))[0])
            registering.register(ctx, board, one, path, row, desk.caller)
        except BaseException as error:
            if isinstance(error, FalajError) and not isinstance(error, Unavailable):
                keeping.fail(ctx, row, Ended(number=0, sort=error.code, message=error.message))
                continue
            with suppress(FalajError):  # the first error is the one to tell; who asks again takes it up
                keeping.give_up(ctx, [row], "lost")
            raise


def _ended(ctx: Context, desk: Desk) -> RunSteps:
    """End a run of which nothing is left, as it went; what another process registers meanwhile is waited for."""
    failed, items = desk.failed(), list(desk.board.every())
    waiting = [one for one in items if one.output is None]
    wrong = failure(failed, []) if failed else desk.invalid
    error = wrong.as_dict() if wrong else None
    state: RunState = "failed" if wrong else "done"
    if waiting and not wrong:
        return RunSteps(run=desk.run.id, name=desk.run.name, state="running", steps=())
    with ctx.conclude() as unit:  # with this job: the token that it was asked by goes
        now = RUN.get(unit.tx, desk.run.id, lock=True)
        if now is None or now.state != "running":  # another process was sooner
            return RunSteps(run=desk.run.id, name=desk.run.name, state=now.state if now else "lost", steps=())
        made = [one for one in items if one.output is not None and one.node.sort != "best"]
        link_outputs(unit, now.id, [one.output for one in made if one.output])
        cached = sum(row.state == "cached" for row in desk.rows)
        models = [one.output.address for one in made if one.output and one.output.asset.kind == registering.MODEL]
        result = {"computed": len(made) - cached, "cached": cached, "registered": models}
        runs.end(unit, now, state, result=result, error=error)
        unit.say(What.RUN_ENDED, [now.id, desk.plan.pipeline.asset.id])
        lending.give_back(unit, now)
    return RunSteps(run=now.id, name=now.name, state=state, steps=(), error=error)
