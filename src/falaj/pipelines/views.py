"""What the operations on pipelines answer."""

from __future__ import annotations

from typing import Any

import msgspec


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
