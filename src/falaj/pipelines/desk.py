"""A run that is worked on elsewhere, as it is laid out for one question: all of it is read, nothing is remembered.

An engine elsewhere runs `falaj step run --run R --step S [--item I] --attempt A`, and no more. What that asks is
answered by the rules and the code that the runner of this machine uses: the same board, the same claim, one commit.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from falaj.core.errors import Conflict, Invalid
from falaj.core.records import Run, Version
from falaj.door import Caller, Context
from falaj.pipelines import keeping
from falaj.pipelines.board import Board
from falaj.pipelines.errors import StaleAttempt
from falaj.pipelines.keeping import Output
from falaj.pipelines.plan import SOURCE, Plan, Read, plan_of
from falaj.pipelines.records import Graph, Node
from falaj.pipelines.rules import is_tried_again
from falaj.store import runs, steps
from falaj.store.ground import Ground
from falaj.store.steps import Step

READS, STEPS, PURPOSE = "reads", "steps", "purpose"
SOURCE_PATH = "source.json"
KNOWN_S: Final = 60.0
MAX_KNOWN: Final = 64
InputPlace = tuple[Version, str, int]
"""Where an input lies: a version, its path there, its size in bytes."""


class Desk:
    """One run, with what it came to so far.

    `invalid` is set where what was made by now leads to no graph that can be run: nothing to map over, no metric to
    choose by.

    Args:
        step: only what this step stands on is laid out; "" for all.
        environment: in which the attempt at hand runs, as `falaj.capture` tells it.
    Raises: NotFound; Conflict for a run of a machine of its own; StaleAttempt where it has ended.
    """

    def __init__(self, ctx: Context, run: str, step: str = "", environment: Mapping[str, Any] | None = None) -> None:
        self.ctx, self.run = ctx, lent_run(ctx, run)
        said, pinned = self.run.params, dict(self.run.code[STEPS])
        self.plan: Plan = plan_of(
            ctx,
            said["pipeline"],
            said["params"],
            environment or {},
            said[PURPOSE],
            said[READS],
            caller=self.caller,
            digests=pinned,
        )
        self.board = Board(ctx, self.plan)
        only = {step, *above(self.plan.graph, step)} if step else {node.id for node in self.plan.graph.nodes}
        with ctx.reading() as tx:
            self.rows = [row for row in steps.of_run(tx, run) if row.step in only]
            made = {(row.step, row.item): keeping.output_of(ctx, tx, row) for row in self.rows if is_made(row)}
        self.invalid: Invalid | None = None
        try:
            self.board.restore({place: output for place, output in made.items() if output is not None}, only)
        except Invalid as error:
            self.invalid = error  # what is there is committed: the run ends with this, and is not left to wait

    @property
    def caller(self) -> Caller:
        """The one who asks; by the run's own token, by all of their rights, since it is good for nothing but this run.

        What it may lead to was judged by the rights in use when the run began; what was taken away since counts. Any
        other token narrows as it does elsewhere.
        """
        caller, lent = self.ctx.caller, runs.lent_by(self.run.owner)
        is_own = lent is not None and caller.token is not None and caller.token.id == lent[0]
        return msgspec.structs.replace(caller, token=None) if is_own else caller

    @property
    def is_last(self) -> bool:
        """Whether nothing is left to be run elsewhere: all is there, or it cannot come to that and nothing runs."""
        if any(row.state == "running" for row in self.rows if self._node(row.step).sort == "step"):
            return False
        nodes = [node for node in self.plan.graph.nodes if node.sort == "step"]
        items = [self.board.items.get(node.id) for node in nodes]
        return bool(self.invalid or self.failed()) or all(found and all(one.output for one in found) for found in items)

    def failed(self) -> list[Step]:
        """The newest attempts of items that came to no good end, and are not tried again."""
        newest: dict[tuple[str, int], list[Step]] = {}
        for row in self.rows:
            newest.setdefault((row.step, row.item), []).append(row)
        ended = [rows[-1] for rows in newest.values() if rows[-1].state in ("failed", "lost")]
        return [row for row in ended if not self.is_again(row)]

    def is_again(self, row: Step) -> bool:
        """Whether an item is worth another attempt after one that came to no good end."""
        mine = [one for one in self.rows if (one.step, one.item) == (row.step, row.item) and one.attempt > 0]
        lost = sum(one.state == "lost" for one in mine)
        return is_tried_again((row.error or {}).get("code", row.state), row.attempt, lost, self._retries(row.step))

    def _node(self, step: str) -> Node:
        return next(node for node in self.plan.graph.nodes if node.id == step)

    def _retries(self, step: str) -> int:
        return self._node(step).options.retries


class Named:
    """The inputs of one attempt by name, for whoever fetches them: `dataset/flights/3/2013-01.csv`."""

    def __init__(self, ctx: Context, plan: Plan) -> None:
        self._ctx = ctx
        self.files: dict[str, InputPlace] = {}
        size = sum(file.size_bytes for file in plan.payload.files)
        self.files[SOURCE_PATH] = (plan.pipeline.version, SOURCE, size)

    def dataset(self, read: Read) -> tuple[str, ...]:
        """The files of a version of a dataset."""
        version = read.held.version
        files = [(file.path, file.size) for file in self._ctx.ground.contents.files(version)]
        return self._named(f"dataset/{read.held.asset.name}/{version.number}", version, files)

    def output(self, output: Output) -> tuple[str, ...]:
        """The files of what a step made."""
        files = [(file.path, file.size_bytes) for file in output.payload.files]
        return self._named(f"{output.asset.kind}/{output.asset.name}/{output.version.number}", output.version, files)

    def _named(self, below: str, version: Version, files: list[tuple[str, int]]) -> tuple[str, ...]:
        self.files |= {f"{below}/{path}": (version, path, size) for path, size in files}
        return tuple(f"{below}/{path}" for path, _ in files)


class Known:
    """The inputs of attempts that were asked for lately, so that each file is not looked for by laying out the run.

    They stay what they are while the attempt is underway. Who may read them is looked at anew each minute, and with
    each change of a right.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: WeakKeyDictionary[Ground, OrderedDict[tuple[Any, ...], tuple[float, dict[str, InputPlace]]]]
        self._kept = WeakKeyDictionary()

    def files(self, ctx: Context, row: Step, find: Callable[[], dict[str, InputPlace]]) -> dict[str, InputPlace]:
        """The inputs of an attempt for whoever asks, as they were found before, or as they are found now."""
        token, revision = ctx.caller.token, ctx.snapshot.revision if ctx.snapshot else 0
        who = (ctx.caller.principal.id, token.id if token else "", revision)
        key = (*who, row.run, row.step, row.item, row.attempt)
        with self._lock:
            kept = self._kept.setdefault(ctx.ground, OrderedDict())
            found = kept.get(key)
        if found is not None and time.monotonic() < found[0]:
            return found[1]
        files = find()
        with self._lock:
            kept[key] = time.monotonic() + KNOWN_S, files
            while len(kept) > MAX_KNOWN:
                kept.popitem(last=False)
        return files


def underway(ctx: Context, run: Run, step: str, item: int, attempt: int) -> Step:
    """An attempt that is underway, and the newest of its item. Raises: StaleAttempt."""
    with ctx.reading() as tx:
        found = steps.attempts(tx, run.id, step, item)
    if not found or found[-1].attempt != attempt or found[-1].state != "running":
        told = f"is {found[-1].state} as attempt {found[-1].attempt}" if found else "was never claimed"
        raise StaleAttempt(f"attempt {attempt} of {step}: it {told}", next_step=f"falaj run show {run.id}")
    return found[-1]


def lent_run(ctx: Context, run: str) -> Run:
    """A run that is worked on elsewhere, and goes on. Raises: NotFound, Conflict, StaleAttempt."""
    with ctx.reading() as tx:
        found = runs.get(tx, ctx.project.id, run)
    if runs.lent_by(found.owner) is None:
        raise Conflict(f"run {run} is worked on by Falaj itself", next_step="falaj pipeline begin lends a run")
    if found.state != "running" or runs.is_alive(found.owner) is False:
        state = found.state if found.state != "running" else "over its time"
        raise StaleAttempt(f"run {run} is {state}", next_step=f"falaj run show {run}")
    return found


def above(graph: Graph, step: str) -> set[str]:
    """The nodes that a step stands on, near and far."""
    known = {node.id: node for node in graph.nodes}
    waiting, found = [step], set[str]()
    while waiting:
        node = known.get(waiting.pop())
        for arg in node.args.values() if node else ():
            if arg.sort == "node" and arg.name not in found:
                found.add(arg.name)
                waiting.append(arg.name)
    return found


def steps_before(graph: Graph, node: Node) -> tuple[str, ...]:
    """The steps whose outputs a step takes, also by way of a choice among them, in the graph's order."""
    known = {one.id: one for one in graph.nodes}
    taken = [known[arg.name] for arg in node.args.values() if arg.sort == "node"]
    found = {one.id for one in taken if one.sort == "step"}
    found |= {step for one in taken if one.sort != "step" for step in steps_before(graph, one)}
    return tuple(one.id for one in graph.nodes if one.id in found)


def is_made(row: Step) -> bool:
    """Whether an attempt has a result."""
    return row.state in ("done", "cached")
