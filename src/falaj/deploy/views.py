"""What the operations on deployments answer. Plain views; findings are those of `rules`."""

from __future__ import annotations

import msgspec

from falaj.deploy.rules import Finding


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the answers."""


class RouteView(View, frozen=True, kw_only=True):
    """A version at work.

    Attributes:
        share: of 10,000.
        requests, predictions: answered under the routing in force, as its log has them; of a deployment without a
            rollout, in the newest part of the log.
        errors: the share of requests that failed, None without any.
        p50_ms, p99_ms: upper bounds, within 5 %.
        compared, difference: of a shadow: rows that were answered by it and to a client, and how far apart the two
            probabilities are on average.
    """

    role: str
    version: int
    share: int
    requests: int = 0
    predictions: int = 0
    errors: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    compared: int = 0
    difference: float | None = None


class RolloutView(View, frozen=True, kw_only=True):
    """A rollout.

    Attributes:
        state: running, paused, done, failed (taken back by its evidence) or aborted.
        step, steps: place, from 0, among the shares of 10,000.
        baked: how much the canary answered since the step began, of `bake` in `unit`.
        next: what comes next: wait, hold (a judge cannot tell), advance, finish, fail.
        text: why.
    """

    id: str
    candidate: int
    stable: int
    state: str
    step: int
    steps: tuple[int, ...]
    bake: int
    unit: str
    began_at: str
    step_at: str
    by: str
    ended_at: str | None = None
    why: str = ""
    baked: int = 0
    next: str = ""
    text: str = ""
    findings: tuple[Finding, ...] = ()
    verdicts: tuple[str, ...] = ()


class DeploymentView(View, frozen=True, kw_only=True):
    """A deployment as it is.

    Attributes:
        deployment: its name; `config`: the version in force; `model`: the ref it follows.
        revision: of the routing in force; `written`: of the bundle in its folder; `served`: taken up by a server that
            shares the folder. None where there is none.
        held: versions at hand for a rollback.
        key: what `falaj serve` pins; `folder`: below the project's folder.
        rollout: the one underway; `last`: the newest that ended.
        problem: why the bundle could not be written, or nothing is served.
        next_step: what has it serve something, where nothing is served.
        lease_over: the bundle's lease has ended, so nothing writes it at present.
        shadow: the ref that its shadow follows, "" without one; `unshadowed`: why nothing of it is asked.
    """

    deployment: str
    config: int
    model: str
    folder: str
    key: str
    revision: int | None = None
    routes: tuple[RouteView, ...] = ()
    held: tuple[int, ...] = ()
    written: int | None = None
    served: int | None = None
    issued_at: str = ""
    lease_until: str = ""
    rollout: RolloutView | None = None
    last: RolloutView | None = None
    problem: str = ""
    next_step: str = ""
    lease_over: bool = False
    shadow: str = ""
    unshadowed: str = ""


class Turn(View, frozen=True, kw_only=True):
    """What became of a rollout, by its evidence or by a person.

    Attributes:
        action: none (nothing is underway), wait, hold, advance, finish, fail, abort, pause or resume.
        candidate, share: of the rollout, after this; None and 0 where there is none.
        previous: the version that held the ref, where it moved.
    """

    deployment: str
    action: str
    text: str = ""
    rollout: str = ""
    candidate: int | None = None
    stable: int | None = None
    share: int = 0
    baked: int = 0
    findings: tuple[Finding, ...] = ()
    previous: int | None = None
    entry_id: str = ""
    entry: int | None = None
