"""Running a pipeline here: items that are ready are taken as they were committed, or computed by the engine.

Cache and resume are one thing. Nothing here knows whether an earlier run ended well, failed, or was killed: a key that
was committed is never computed again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from falaj.core.entries import What
from falaj.core.errors import FalajError
from falaj.core.records import Run
from falaj.door import Context
from falaj.pipelines import keeping, registering
from falaj.pipelines.board import Board, Item
from falaj.pipelines.builds import Builds
from falaj.pipelines.code import modules_of
from falaj.pipelines.engine import Attempts, Ended, Engine
from falaj.pipelines.errors import RunCancelled, StepFailed
from falaj.pipelines.inputs import Inputs
from falaj.pipelines.keeping import Output
from falaj.pipelines.plan import Plan, write_source
from falaj.pipelines.rules import is_tried_again, next_step_after
from falaj.pipelines.telling import link_inputs, link_outputs
from falaj.pipelines.views import StepView
from falaj.store.steps import Step

LOOK_EVERY_S: Final = 0.25


class _Underway(msgspec.Struct):
    item: Item
    step: Step
    folder: Path
    began: float


class Runner:
    """One run of a pipeline, by this process, on one engine.

    Args:
        folder: the run's own; what lies there is removed by the caller.
        anew: compute everything, whatever was committed before.
    """

    def __init__(self, ctx: Context, plan: Plan, engine: Engine, folder: Path, *, anew: bool = False) -> None:
        assert ctx.run is not None  # noqa: S101  a job has a run
        self.ctx, self.plan, self.engine, self.folder, self.anew = ctx, plan, engine, folder, anew
        self.run_row: Run = ctx.run
        self.board = Board(ctx, plan)
        self.inputs, self.builds = Inputs(ctx, folder), Builds(engine, plan.environments)
        self._underway: dict[int, _Underway] = {}
        self._numbers, self._has_waiting = 0, False

    def run(self) -> list[Item]:
        """Bring every step to its end. Raises: StepFailed, RunCancelled; what was committed stays."""
        write_source(self.plan.source, self.folder / "source")
        modules, whose = modules_of(self.plan.source), (self.ctx.project.id, self.ctx.caller.principal.id)
        try:
            with self.engine.attempts(modules, *whose, self.folder) as attempts:
                self._until_done(attempts)
        except BaseException as error:
            underway = [one.step for one in self._underway.values()]
            if underway:
                with suppress(FalajError):  # the first error is the one to tell
                    keeping.give_up(self.ctx, underway, "cancelled" if isinstance(error, RunCancelled) else "lost")
            raise
        finally:
            self.builds.close()
        every = list(self.board.every())
        if failed := [item.failed for item in every if item.failed]:
            with suppress(FalajError):  # the first error is the one to tell
                self._note(every)
            raise failure(failed, [item.view() for item in every])
        return every

    def _note(self, items: list[Item]) -> None:
        """Write down what a run that fails read and took, as one that ends well does."""
        outputs = [item.output for item in items if item.output and item.node.sort != "best"]
        with self.ctx.begin() as unit:
            link_inputs(unit, self.run_row.id, self.plan)
            link_outputs(unit, self.run_row.id, outputs)
            keeping.note_cached(unit, taken(self.run_row, items))
            unit.say(What.STEP_ENDED, [self.run_row.id], detail={"was": "cached"})

    def _until_done(self, attempts: Attempts) -> None:
        looked = time.monotonic()
        while True:
            self.board.settle(self._take_committed, self._register_all)
            self._launch(attempts)
            elsewhere = [item for item in self.board.every() if item.state == "elsewhere"]
            if not self._underway and not elsewhere and not self._has_waiting:
                return
            self._tell()
            for ended in attempts.wait(LOOK_EVERY_S) if self._underway else _pause():
                self._ended(ended)
            for item in elsewhere:
                item.state = "waiting"  # what another run computes is taken once it has committed
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                if keeping.is_ended(self.ctx, self.run_row.id):
                    run = self.run_row.id
                    raise RunCancelled(f"run {run} was cancelled", next_step=f"falaj run show {run}")

    def _take_committed(self) -> bool:
        """Take what was committed under the keys of the items that are ready."""
        ready = self.board.ready()
        if ready and not self.anew:
            with self.ctx.reading() as tx:
                for item in ready:
                    if item.node.options.cache and (found := keeping.committed(self.ctx, tx, item.key)):
                        item.output, item.state = found[1], "cached"
        return bool(ready)

    def _register_all(self) -> bool:
        ready = [one for one in self.board.every() if one.node.sort == "register" and one.state == "ready"]
        if self.board.is_failed():
            return False
        for item in ready:
            self._register(item)
        return any(item.state != "elsewhere" for item in ready)

    def _claim(self, claimed: list[tuple[Item, Step]]) -> list[Step]:
        """Claim attempts; items that another run is at, or has just committed, wait for that."""
        once = {item.key for item, _ in claimed if item.node.options.cache and not self.anew}
        pipeline = self.plan.pipeline.asset
        mine = keeping.claim(self.ctx, self.run_row, pipeline, [step for _, step in claimed], once)
        for item, step in claimed:
            if step not in mine:
                item.state, item.attempts = "elsewhere", item.attempts - 1
        return mine

    def _register(self, item: Item) -> None:
        began = time.monotonic()
        item.attempts += 1
        step = keeping.claimed(
            self.run_row, item.node.id, -1, "", item.attempts, item.key, item.parts, registering.TIMEOUT_S
        )
        if not self._claim([(item, step)]):
            return
        try:
            path = Path(self.inputs.output(self.board.output_of(item.node.args["model"]))[0])
            item.output = registering.register(self.ctx, self.board, item, path, step, self.ctx.caller)
            item.state = "done"
        except FalajError as error:
            ended = Ended(number=0, sort=error.code, message=error.message)
            item.failed, item.state = keeping.fail(self.ctx, step, ended), "failed"
        finally:
            item.seconds = time.monotonic() - began

    def _launch(self, attempts: Attempts) -> None:
        """Begin what is ready, as far as there are cores. After a failure nothing new begins; what runs may end."""
        self._has_waiting = False
        if self.board.is_failed():
            return
        free = self.engine.slots() - sum(one.item.node.options.cpu for one in self._underway.values())
        begun: list[tuple[Item, Step]] = []
        for item in self.board.every():
            options = item.node.options
            if item.state != "ready" or item.node.sort != "step" or self._waits_for_environment(item):
                continue
            if options.cpu > free and (self._underway or begun):
                break  # in order: a large step is not overtaken for ever
            free -= options.cpu
            item.attempts += 1
            what = (item.node.id, item.place, item.label, item.attempts, item.key, item.parts, options.timeout_s)
            begun.append((item, keeping.claimed(self.run_row, *what)))
        if not begun:
            return
        source = str(self.folder / "source")
        tasks = [(item, step, self.board.task(item, step, source, self.inputs)) for item, step in begun]
        mine = self._claim(begun)
        for item, step, task in tasks:
            if step not in mine:
                continue
            self._numbers += 1
            folder = self.folder / "attempts" / str(self._numbers)
            item.state = "running"
            self._underway[self._numbers] = _Underway(item, step, folder, time.monotonic())
            attempts.start(self._numbers, task, folder)

    def _waits_for_environment(self, item: Item) -> bool:
        if self.builds.is_ready(item.node.environment):
            for made in self.builds.built():
                keeping.say_built(self.ctx, self.run_row, made)
            return False
        self._has_waiting = True
        return True

    def _ended(self, ended: Ended) -> None:
        one = self._underway.pop(ended.number)
        item, out = one.item, one.folder / "out"
        item.seconds = time.monotonic() - one.began
        try:
            ended = keeping.judged(self.engine, ended, out)
            if ended.manifest is not None:
                item.output = keeping.keep(self.ctx, self.plan, one.step, ended, out, self.board.used(item))
                item.state = "done"
                self.inputs.made(item.output, out)
                return
        finally:
            shutil.rmtree(one.folder, ignore_errors=True)
        step = keeping.fail(self.ctx, one.step, ended)
        item.lost += ended.sort == "lost"
        if is_tried_again(ended.sort, item.attempts, item.lost, item.node.options.retries):
            item.state = "ready"
        else:
            item.state, item.failed = "failed", step

    def _tell(self) -> None:
        names = ", ".join(one.item.name for one in list(self._underway.values())[:4])
        every = list(self.board.every())
        names = ", ".join(one for one in (names, self.builds.doing) if one)
        self.ctx.progress(names, sum(item.output is not None for item in every), len(every))


def _pause() -> tuple[Ended, ...]:
    """Until another run may have come further."""
    time.sleep(LOOK_EVERY_S)
    return ()


def taken(run: Run, items: list[Item]) -> Iterator[tuple[Step, Output]]:
    """The items that were not computed, as rows of the run."""
    for item in items:
        if item.state == "cached" and item.output is not None and item.node.sort != "best":
            claimed = keeping.claimed(run, item.node.id, item.place, item.label, 0, item.key, item.parts, 0)
            yield claimed, item.output


def failure(failed: list[Step], views: list[StepView]) -> StepFailed:
    """What a run says whose steps failed: the first, and how many more."""
    first = failed[0]
    error: Mapping[str, Any] = first.error or {}
    where = f" ({error['where']})" if error.get("where") else ""
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return StepFailed(
        f"{keeping.shown(first)}: {error.get('message', 'failed')}{where}{more}",
        next_step=next_step_after(error, first.run),
        facts={"steps": [msgspec.to_builtins(view) for view in views], "log": first.log[-2000:]},
    )
