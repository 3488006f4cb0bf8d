"""Rollouts and routing tables: the rows of deployments, and what the catalog asks of whoever follows its refs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from falaj.core.bundle import Route
from falaj.core.records import Asset, Proposal, Record, Ref, RefMove, Verdict, Version
from falaj.store.metadata import Transaction
from falaj.store.metadata.queries import queries
from falaj.store.metadata.tables import Table
from falaj.store.unit import Unit

SQL = queries("rollouts")
RolloutState = Literal["running", "paused", "done", "failed", "aborted"]


class Rollout(Record, frozen=True, kw_only=True):
    """One version on its way to a ref.

    Attributes:
        deployment: id of its asset; `config`: the version of it that the rollout goes by, to its end.
        asset: id of the model; `ref`, `candidate`, `stable`: the ref it goes to, and the versions.
        step: place among the plan's shares, from 0; `share` of 10,000; `revision` of the routing since the step began.
        verdicts: by which the ref moves at the end; spent, however it ends.
        proposal: that was approved, where persons had to say yes.
        why: why it ended as it did, or what holds it.
    """

    id: str
    project: str
    deployment: str
    config: int
    asset: str
    ref: str
    candidate: int
    stable: int
    state: RolloutState
    step: int
    share: int
    revision: int
    verdicts: tuple[str, ...]
    began_at: str
    step_at: str
    by: str
    person: str
    proposal: str | None = None
    ended_at: str | None = None
    why: str = ""


class Routing(Record, frozen=True, kw_only=True):
    """What the servers of a deployment are told.

    Attributes:
        held: versions that are kept at hand beside those that are routed to, so that a rollback is quick.
        entry: id of the entry that explains it.
    """

    deployment: str
    revision: int
    project: str
    config: int
    asset: str
    ref: str
    routes: tuple[Route, ...]
    held: tuple[int, ...]
    at: str
    entry: str
    previous: int | None = None
    rollout: str | None = None


ROLLOUT = Table("rollout", Rollout, ("id",), governed=True)
ROUTING = Table("routing", Routing, ("deployment", "revision"), governed=True)


def underway(tx: Transaction, deployment: str, *, lock: bool = False) -> Rollout | None:
    """The rollout of a deployment that has not ended, None where there is none."""
    clause = "deployment = :deployment AND state IN ('running', 'paused') ORDER BY id DESC"
    found = ROLLOUT.where(tx, clause, {"deployment": deployment}, limit=1)
    return ROLLOUT.get(tx, found[0].id, lock=lock) if found else None


def latest(tx: Transaction, deployment: str, limit: int = 1) -> list[Rollout]:
    """The newest rollouts of a deployment, newest first."""
    return ROLLOUT.where(tx, "deployment = :deployment ORDER BY id DESC", {"deployment": deployment}, limit=limit)


def of_proposal(tx: Transaction, proposal: str) -> Rollout | None:
    """The rollout underway that the approval of a proposal began, None where there is none."""
    clause = "proposal = :proposal AND state IN ('running', 'paused')"
    found = ROLLOUT.where(tx, clause, {"proposal": proposal}, limit=1)
    return found[0] if found else None


def routing(tx: Transaction, deployment: str) -> Routing | None:
    """The routing table in force, None where nothing was ever routed."""
    found = ROUTING.where(tx, "deployment = :deployment ORDER BY revision DESC", {"deployment": deployment}, limit=1)
    return found[0] if found else None


def routed_by(tx: Transaction, move: RefMove) -> Routing | None:
    """The routing table that a move of a ref made, None where nobody follows the ref."""
    params = {"asset": move.asset, "ref": move.ref}
    found = ROUTING.where(tx, "asset = :asset AND ref = :ref ORDER BY revision DESC", params, limit=1)
    return found[0] if found and found[0].entry == move.entry else None


def not_live(tx: Transaction, asset: str, limit: int) -> list[tuple[int, str]]:
    """Number and digest of the versions that are retired or erased, newest first."""
    return [(int(row[0]), str(row[1])) for row in tx.rows(SQL["not_live"], {"asset": asset, "limit": limit})]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A move of a ref that its guards let pass."""

    asset: Asset
    ref: str
    candidate: Version
    holder: Ref | None
    verdicts: Sequence[Verdict]
    proposal: Proposal | None


class Following(Protocol):
    """Whoever follows the refs of the catalog. Asked in the transaction of each move."""

    def in_steps(self, tx: Transaction, move: Move) -> bool:
        """Whether the ref moves at the end of a rollout only."""
        ...

    def begin(self, unit: Unit, move: Move) -> Rollout:
        """Begin that rollout. The caller says the entry. Raises: Refused, Conflict."""
        ...

    def moved(self, unit: Unit, asset: Asset, move: RefMove) -> None:
        """A ref has moved, forward or back; the caller says the entry."""
        ...


class Nobody:
    """Nobody follows: every ref moves at once."""

    def in_steps(self, tx: Transaction, move: Move) -> bool:
        """See `Following`."""
        return False

    def begin(self, unit: Unit, move: Move) -> Rollout:
        """Never asked for."""
        raise AssertionError("nobody follows")

    def moved(self, unit: Unit, asset: Asset, move: RefMove) -> None:
        """See `Following`."""
