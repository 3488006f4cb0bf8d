"""Attempts of steps: claimed before they begin, committed once, found again by their key."""

from __future__ import annotations

from typing import Any, Literal

from falaj.core.errors import Conflict
from falaj.core.records import Record
from falaj.store.metadata import Transaction
from falaj.store.metadata.tables import Table
from falaj.store.rows import RUN
from falaj.store.unit import Unit

StepState = Literal["running", "done", "cached", "failed", "cancelled", "lost"]


class Step(Record, frozen=True, kw_only=True):
    """One attempt of one item of a step of a run.

    Attributes:
        run: the run of the pipeline; `job`: the run that the attempt itself is, once it committed.
        item: the place in what is mapped over, -1 where nothing is; `label`: that item's value as people read it.
        attempt: from 1; 0 for a result that was committed by an earlier run.
        parts: what the key was made of, each by its digest or value.
        lease_until: after that moment nobody works on it any more.
        asset, version: the output.
        log: the end of what it printed.
    """

    run: str
    step: str
    item: int
    attempt: int
    project: str
    label: str
    state: StepState
    key: str
    parts: dict[str, str]
    owner: str
    started_at: str
    lease_until: str
    ended_at: str | None = None
    job: str | None = None
    asset: str | None = None
    version: int | None = None
    error: dict[str, Any] | None = None
    log: str = ""


STEP = Table("step", Step, ("run", "step", "item", "attempt"), governed=True)


def fence(unit: Unit, claimed: Step) -> None:
    """Keep the run and the attempt as they are until the unit ends.

    Raises: Conflict where the run has ended, or the attempt was given up or ended: nothing of it may be committed.
    """
    run = RUN.get(unit.tx, claimed.run, lock=True)
    now = STEP.get(unit.tx, claimed.run, claimed.step, claimed.item, claimed.attempt, lock=True)
    if run is None or run.state != "running" or now is None or now.state != "running":
        state = "not there" if run is None else run.state if run.state != "running" else now.state if now else "gone"
        raise Conflict(f"attempt {claimed.attempt} of {claimed.step}: its run or itself is {state}")


def committed(tx: Transaction, project: str, key: str) -> list[Step]:
    """The attempts that committed under a key, the newest run first."""
    clause = "project = :project AND key = :key AND state = 'done' ORDER BY run DESC"
    return STEP.where(tx, clause, {"project": project, "key": key}, limit=20)


def underway(tx: Transaction, project: str, key: str) -> list[Step]:
    """The attempts that were claimed under a key and have not ended, as far as anybody wrote that down."""
    clause = "project = :project AND key = :key AND state = 'running'"
    return STEP.where(tx, clause, {"project": project, "key": key}, limit=20)


def of_run(tx: Transaction, run: str) -> list[Step]:
    """Every attempt of a run, by step, item and attempt."""
    return STEP.where(tx, "run = :run ORDER BY started_at, step, item, attempt", {"run": run}, limit=100_000)


def attempts(tx: Transaction, run: str, step: str, item: int) -> list[Step]:
    """The attempts of one item of a run, the first one first; a result of an earlier run stands as attempt 0."""
    params = {"run": run, "step": step, "item": item}
    return STEP.where(tx, "run = :run AND step = :step AND item = :item ORDER BY attempt", params)


def earlier(tx: Transaction, step: Step, asset: str) -> Step | None:
    """The newest result of the same item of a step in an earlier run; None where there is none.

    Args:
        asset: that the step's outputs are versions of.
    """
    clause = (
        "asset = :asset AND step = :step AND label = :label AND run < :run AND state IN ('done', 'cached') "
        "AND (label <> '' OR item = :item) ORDER BY run DESC"
    )
    params = {"asset": asset, "step": step.step, "label": step.label, "item": step.item, "run": step.run}
    found = STEP.where(tx, clause, params, limit=1)
    return found[0] if found else None
