"""Runs and lineage: one record for tracking, steps, evaluation, rollout, collection; their graph is the lineage."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from falaj.core.encoding import moment
from falaj.core.errors import Conflict, NotFound
from falaj.core.ids import new_id
from falaj.core.records import Run, RunLink, RunState, Version
from falaj.store.metadata import Transaction
from falaj.store.metadata.queries import queries
from falaj.store.rows import RUN, RUN_LINK
from falaj.store.unit import Unit

SQL = queries("catalog")


class Edge(msgspec.Struct, frozen=True):
    """One version in a lineage, `depth` steps from where one asked; `run` is the run that made it."""

    asset: str
    version: int
    run: str | None
    depth: int


def start(
    unit: Unit,
    sort: str,
    name: str = "",
    *,
    params: Mapping[str, Any] | None = None,
    code: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    owner: str = "",
) -> Run:
    """Begin a run, of this process where no `owner` is named. The caller says the entry."""
    return unit.add(
        RUN,
        Run(
            id=new_id(),
            project=unit.project,
            sort=sort,
            name=name or sort,
            state="running",
            started_at=unit.now,
            by=unit.actor.principal,
            person=unit.actor.person,
            owner=owner or this_process(),
            params=dict(params or {}),
            code=dict(code or {}),
            environment=dict(environment or {}),
        ),
    )


def end(
    unit: Unit,
    run: Run,
    state: RunState = "done",
    *,
    result: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> Run:
    """End a run once. The caller says the entry. Raises: Conflict where it has ended."""
    now = RUN.get(unit.tx, run.id, lock=True)
    if now is None or now.state != "running":
        raise Conflict(f"run {run.id} is {now.state if now else 'not there'}", next_step=f"falaj run show {run.id}")
    return unit.put(
        RUN,
        msgspec.structs.replace(
            now,
            state=state,
            ended_at=unit.now,
            result=dict(result or {}),
            metrics={**now.metrics, **(metrics or {})},
            params={**now.params, **(params or {})},
            error=dict(error) if error else None,
        ),
    )


def link(unit: Unit, run: str, direction: Literal["in", "out"], version: Version, role: str = "") -> None:
    """Record that a run used or made a version. Twice is once."""
    unit.put(RUN_LINK, RunLink(run=run, direction=direction, asset=version.asset, version=version.number, role=role))


def get(tx: Transaction, project: str, run_id: str) -> Run:
    """A run of a project. Raises: NotFound."""
    run = RUN.get(tx, run_id)
    if run is None or run.project != project:
        raise NotFound(f"run {run_id[:40]}: no such thing, or not for you", next_step="falaj run list")
    return run


def page(tx: Transaction, project: str, before: str = "", sort: str = "", limit: int = 100) -> list[Run]:
    """Runs of a project, newest first, before an id."""
    clause = "project = :project AND id < :before AND (:sort = '' OR sort = :sort) ORDER BY id DESC"
    return RUN.where(tx, clause, {"project": project, "before": before or "~", "sort": sort}, limit=limit)


def links(tx: Transaction, run_id: str) -> list[RunLink]:
    """What a run used and made."""
    return RUN_LINK.where(tx, "run = :run ORDER BY direction, asset, version", {"run": run_id})


def lineage(
    tx: Transaction, version: Version, direction: Literal["up", "down"] = "up", depth: int = 12, limit: int = 500
) -> list[Edge]:
    """What a version came from (`up`), or what came from it (`down`), nearest first."""
    sql = SQL["upstream" if direction == "up" else "downstream"]
    params = {"asset": version.asset, "version": version.number, "depth": depth, "limit": limit}
    return [Edge(r[0], r[1], r[2], r[3]) for r in tx.rows(sql, params)]


def running(tx: Transaction) -> list[Run]:
    """Runs that have not ended, oldest first."""
    return RUN.where(tx, "state = 'running' ORDER BY id", {})


def this_process() -> str:
    """`host:pid:start`, unique while the host is up: a pid alone is given anew."""
    return process(os.getpid())


def process(pid: int) -> str:
    """A process of this host as `host:pid:start`."""
    return f"{socket.gethostname()}:{pid}:{_start_of(pid)}"


def lent(token: str, until: str) -> str:
    """The owner of a run that is worked on elsewhere: the id of the token it is worked on by, and until when."""
    return f"({token}):{until}"


def lent_by(owner: str) -> tuple[str, str] | None:
    """Token and end of a run that is worked on elsewhere; None where a process of ours works on it."""
    token, found, until = owner.partition("):")
    return (token[1:], until) if found and owner.startswith("(") else None


def is_alive(owner: str) -> bool | None:
    """Whether the owning process still runs; None where it is on another host and cannot be asked."""
    if (elsewhere := lent_by(owner)) is not None:
        return None if elsewhere[1] > moment(datetime.now(UTC)) else False
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit():
        return None
    return _start_of(int(rest)) == owner.rpartition(":")[2]


def _start_of(pid: int) -> str:
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return "gone"
