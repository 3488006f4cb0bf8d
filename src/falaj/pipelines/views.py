"""What the operations on pipelines answer."""

from __future__ import annotations

from typing import Any

import msgspec

from falaj.pipelines.records import Task


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline as it stands now; `outcome`: `added`, or `unchanged` where the newest is the same."""

    pipeline: str
    version: int
    outcome: str
    steps: tuple[str, ...]
    run: str
    entry_id: str
    entry: int | None = None


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a step in a run.

    Attributes:
        state: `done` (computed by this run), `cached` (committed before), `failed`, `running`, `cancelled`, `lost`.
        output: the address of what it came to, "" for nothing.
    """

    step: str
    item: int
    label: str
    state: str
    attempts: int
    seconds: float
    output: str
    key: str
    error: dict[str, Any] | None = None
    log: str = ""


class PipelineRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of a pipeline came to.

    Attributes:
        computed, cached: how many items were computed now, and taken from what was committed before.
        registered: addresses of the models' versions.
    """

    pipeline: str
    version: int
    run: str
    steps: tuple[StepView, ...]
    computed: int
    cached: int
    registered: tuple[str, ...]
    seconds: float
    entry_id: str
    entry: int | None = None


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a pipeline: what it takes from where."""

    id: str
    sort: str
    takes: tuple[str, ...]
    returns: str
    summary: str


class PipelineView(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a pipeline, and its newest runs."""

    pipeline: str
    version: int
    summary: str
    params: tuple[str, ...]
    nodes: tuple[NodeView, ...]
    files: tuple[str, ...]
    environment: str
    environments: tuple[str, ...] = ()


class ExplainedStep(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt of a step, and why it was computed, or was not.

    Attributes:
        because: what changed since the result before it: `code`, `environment`, an argument or a source by its name.
    """

    step: StepView
    because: tuple[str, ...]
    metrics: dict[str, float]


class RunSteps(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is: the attempts of its steps as they stand, without their logs.

    Attributes:
        state: of the run; `lost` where the process that ran it is gone.
        steps: those that were begun; what was committed before is among them once the run ended.
    """

    run: str
    name: str
    state: str
    steps: tuple[StepView, ...]
    error: dict[str, Any] | None = None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a pipeline, attempt by attempt."""

    run: str
    state: str
    pipeline: str
    steps: tuple[ExplainedStep, ...]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not the same in two runs; "" where one has nothing there."""

    what: str
    one: str
    other: str


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs beside one another. `same`: how many facts are equal."""

    run: str
    other: str
    differences: tuple[Difference, ...]
    same: int


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was computed again. `same`: whether its output has the digest that it had."""

    step: str
    item: int
    label: str
    same: bool
    digest: str
    digest_again: str


class Reproduced(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was computed again from what it had read.

    Attributes:
        ok: every output is what it was.
        environment: `same`, or `other` where the distributions are not those of the first time.
    """

    run: str
    again: str
    ok: bool
    environment: str
    steps: tuple[Again, ...]
    seconds: float
    entry_id: str
    entry: int | None = None


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was cancelled."""

    run: str
    state: str
    entry_id: str
    entry: int | None = None


class BegunStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step as an engine must know it to run it.

    Attributes:
        after: the steps that must have committed before it.
        mapped: whether it has items, counted from 0; `items`: how many, None while that follows from a step before.
        cpu, memory, timeout_s, retries: as `@fj.step` says; memory in bytes.
    """

    step: str
    after: tuple[str, ...]
    mapped: bool
    items: int | None
    cpu: float
    memory: int
    timeout_s: int
    retries: int


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that an engine works on.

    Attributes:
        token: good for this run alone until `expires_at`, shown once; "" on an embedded store.
        steps: in an order in which they can run.
    """

    run: str
    pipeline: str
    version: int
    token: str
    expires_at: str
    steps: tuple[BegunStep, ...]
    entry_id: str
    entry: int | None = None

    def __repr__(self) -> str:
        return f"Begun(run={self.run!r}, pipeline={self.pipeline!r})"


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an attempt may fetch, by the path that its task names it by."""

    path: str
    size_bytes: int


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What claiming an attempt came to.

    Attributes:
        label: of the item, as people read it.
        state: `running`: the attempt is the claimer's; `done` or `cached`: its result is there, nothing is to do.
        output: the address of that result.
        task: what to do, with paths as `files` names them.
        is_last: no step is left; what Falaj does itself is.
    """

    run: str
    step: str
    item: int
    attempt: int
    state: str
    label: str = ""
    output: str = ""
    task: Task | None = None
    files: tuple[InputFile, ...] = ()
    is_last: bool = False
    entry_id: str = ""
    entry: int | None = None


class StepEnded(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended.

    Attributes:
        state: `done` or `failed`.
        again: it failed, and another attempt is worth it.
        is_last: nothing of the run is left to be run elsewhere.
    """

    run: str
    step: str
    item: int
    attempt: int
    state: str
    output: str = ""
    error: dict[str, Any] | None = None
    again: bool = False
    is_last: bool = False


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """The items of a step in a run; none while that is not known."""

    run: str
    step: str
    is_known: bool
    items: tuple[int, ...]
    labels: tuple[str, ...]
