"""Operations on triggers.

list     every trigger in force, what it has read, what its causes came to
tick     read on in the ledger, and note each cause
start    begin the start that is due, or go on with one that was left alone
fire     a start that a person asks for
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from falaj.assets.rules import page_size, words
from falaj.assets.views import proposal_view
from falaj.core.encoding import moment
from falaj.core.entries import What
from falaj.core.errors import FalajError
from falaj.core.names import Thing
from falaj.core.records import Asset
from falaj.door import Context, command, job, query
from falaj.store import runs, triggers
from falaj.store.catalog import missing
from falaj.store.metadata import Transaction
from falaj.store.rollouts import ROLLOUT
from falaj.store.rows import ASSET, PROPOSAL
from falaj.store.triggers import START, Start
from falaj.store.unit import Unit
from falaj.triggers import reading, rules
from falaj.triggers.carrying import Carrying, pinned, told
from falaj.triggers.kinds import TRIGGER
from falaj.triggers.reading import InForce
from falaj.triggers.views import Started, StartView, Ticked, TriggerView

LOOPS = "the loop does it: falaj watch, and the server itself"


class Claimed(NamedTuple):
    """A start that is this process's own now; or that could not begin, and why."""

    start: Start
    failure: FalajError | None


@query("trigger.list", on="project:{project}", cli="trigger list", narrows=True)
def list_triggers(ctx: Context, trigger: str = "", limit: int = 5) -> tuple[TriggerView, ...]:
    """Triggers in force, and the newest starts of each: their causes, their runs, what became of their models."""
    limit, tx, parts = page_size(limit), ctx.tx, ctx.parts_of("asset")
    every = reading.every(ctx.ground, tx, ctx.project)
    found = [at for at in every if parts is None or str(_thing(at.asset)) in parts]
    if trigger:
        wanted = Thing.parse(trigger, kind=TRIGGER.name)
        found = [at for at in found if _thing(at.asset) == wanted]
        if not found:
            raise missing(wanted)
    return tuple(_trigger_view(ctx, tx, at, limit) for at in found)


@command(
    "trigger.tick",
    on="asset:{project}/{trigger=trigger}",
    entry=What.TRIGGER_CAUSED,
    role="maintainer",
    without={"cli": LOOPS},
)
def tick(ctx: Context, trigger: str) -> Ticked:
    """Read on in the ledger, and note each entry that is a cause: once, whoever reads it again."""
    unit, ground = ctx.unit, ctx.ground
    unit.lock(ASSET, reading.in_force(ground, unit.tx, ctx.project, trigger).asset.id)
    at = reading.in_force(ground, unit.tx, ctx.project, trigger)
    found = reading.look(ground, unit.tx, at)
    if found is None:
        return Ticked(trigger=at.asset.name, noted=(), more=False)
    noted = [start for cause in found.causes for start in _note(unit, cause)]
    triggers.read_on(unit.tx, at.asset.id, found.upto)
    return Ticked(
        trigger=at.asset.name,
        noted=tuple(_view(ctx, unit.tx, at.asset, start) for start in noted),
        more=found.upto < found.size,
        entry_id=unit.said[-1].id if unit.said else "",
    )


def _note(unit: Unit, cause: reading.Cause) -> list[Start]:
    """Write down a cause; nothing where it stands there already."""
    entry, at = cause.leaf.entry, cause.at
    if START.get(unit.tx, at.asset.id, entry.id) is not None:
        return []
    conditions = tuple(str(condition) for condition in cause.conditions)
    waiting = triggers.in_state(unit.tx, at.asset.id, "met") if at.trigger.needs == "all" else []
    start = Start(
        trigger=at.asset.id,
        entry=entry.id,
        project=at.asset.project,
        number=triggers.next_number(unit.tx, at.asset.id),
        version=at.version.number,
        conditions=conditions,
        state=rules.state_of(at.trigger, conditions, [met for one in waiting for met in one.conditions]),
        noted_at=unit.now,
    )
    unit.add(START, start)
    covered = waiting if start.state == "due" else []
    _cover(unit, covered, start)
    unit.say(What.TRIGGER_CAUSED, [at.asset.id], detail=_words(at.asset, start, covered), cause=entry.id)
    return [start]


@job(
    "trigger.start",
    on="asset:{project}/{trigger=trigger}",
    entry=What.TRIGGER_STARTED,
    role="maintainer",
    without={"cli": LOOPS},
)
def start(ctx: Context, trigger: str) -> Started:
    """Begin the start that is due, or go on with one whose process died; then propose what it registered."""
    with ctx.begin() as unit:
        asset = reading.in_force(ctx.ground, unit.tx, ctx.project, trigger).asset
        claimed = _claim(ctx, unit, asset)
    return _carried(ctx, asset, claimed)


@job(
    "trigger.fire",
    on="asset:{project}/{trigger=trigger}",
    entry=What.TRIGGER_FIRED,
    role="maintainer",
    cli="trigger fire",
)
def fire(ctx: Context, trigger: str, reason: str = "") -> Started:
    """Start a trigger as if it had a cause; this request is the cause. It waits where a start is underway."""
    with ctx.begin() as unit:
        unit.lock(ASSET, reading.in_force(ctx.ground, unit.tx, ctx.project, trigger).asset.id)
        at = reading.in_force(ctx.ground, unit.tx, ctx.project, trigger)
        fired = Start(
            trigger=at.asset.id,
            entry=unit.entry_id,
            project=at.asset.project,
            number=triggers.next_number(unit.tx, at.asset.id),
            version=at.version.number,
            conditions=(),
            state="due",
            noted_at=unit.now,
        )
        unit.add(START, fired)
        entry = unit.say(What.TRIGGER_FIRED, [at.asset.id], detail=words(_thing(at.asset), reason))
        claimed = _claim(ctx, unit, at.asset, only=fired.entry)
    done = _carried(ctx, at.asset, claimed)
    if done.outcome is not None:
        return done
    with ctx.reading() as tx:
        held = START.get(tx, fired.trigger, fired.entry) or fired
        waits = _view(ctx, tx, at.asset, held)
    return Started(trigger=at.asset.name, outcome=waits, entry_id=entry.id)


def _claim(ctx: Context, unit: Unit, asset: Asset, only: str = "") -> Claimed | None:
    """Make the start that is due this process's own; None where none is, or somebody carries one out.

    What cannot be run at all (no such pipeline) ends here, as failed.

    Args:
        only: the cause of the one start that is meant; "" for whichever is due.
    """
    unit.lock(ASSET, asset.id)
    at, now = reading.at_version(ctx.ground, unit.tx, asset), datetime.now(UTC)
    following, failure = reading.following(unit.tx, at, now), None
    if following is None or only not in {"", following.start.entry}:
        return None
    claimed = following.start
    changes: dict[str, Any] = {"state": "running", "owner": runs.this_process(), "began_at": unit.now}
    if not claimed.attempt:
        try:
            pipeline, params = pinned(ctx, unit.tx, at)
            changes |= {"version": at.version.number, "pipeline": pipeline, "params": params}
        except FalajError as error:
            failure = error
            failed = {"state": "failed", "ended_at": unit.now, "error": told(error)}
            changes |= {"version": at.version.number, **failed}
    claimed = triggers.change(unit, claimed, attempt=claimed.attempt + 1, **changes)
    _cover(unit, following.covered, claimed)
    triggers.lease(unit.tx, reading.leased(ctx.ground, unit.tx, asset, moment(now + rules.LEASE)))
    what = What.TRIGGER_ENDED if claimed.state == "failed" else What.TRIGGER_STARTED
    unit.say(what, [asset.id], detail=_words(asset, claimed, following.covered), cause=claimed.entry)
    return Claimed(claimed, failure)


def _carried(ctx: Context, asset: Asset, claimed: Claimed | None) -> Started:
    """Carry out what was claimed. Raises: what ended it, if it did not end well; its row says so by then."""
    if claimed is None:
        return Started(trigger=asset.name, outcome=None)
    if claimed.failure is not None:
        with ctx.conclude(claimed.failure):
            pass
        raise claimed.failure
    with ctx.reading() as tx:
        at = reading.at_version(ctx.ground, tx, asset, claimed.start.version)
    carrying = Carrying(ctx, at, claimed.start)
    ended = carrying.carry_out()
    with ctx.reading() as tx:
        view = _view(ctx, tx, asset, ended)
    return Started(trigger=asset.name, outcome=view, entry_id=carrying.entry_id)


def _cover(unit: Unit, covered: Any, by: Start) -> None:
    """One start stands for others: none of them begins, and each row says so."""
    for one in covered:
        triggers.change(unit, one, state="covered", covered_by=by.entry, ended_at=unit.now)


def _words(asset: Asset, start: Start, covered: Any) -> dict[str, Any]:
    told: dict[str, Any] = {**words(_thing(asset)), "number": start.number, "state": start.state}
    told |= {"conditions": list(start.conditions)} if start.conditions else {}
    told |= {"attempt": start.attempt} if start.attempt else {}
    told |= {"error": start.error} if start.error else {}
    return {**told, "covers": [one.number for one in covered]} if covered else told


def _thing(asset: Asset) -> Thing:
    return Thing(asset.name, asset.kind)


# what is answered


def _trigger_view(ctx: Context, tx: Transaction, at: InForce, limit: int) -> TriggerView:
    found, size = reading.look(ctx.ground, tx, at), ctx.ground.log.size(tx)
    read = reading.position(ctx.ground, tx, at.asset)
    read = size if read is None else read
    return TriggerView(
        trigger=at.asset.name,
        version=at.version.number,
        needs=at.trigger.needs,
        conditions=tuple(str(condition) for condition in at.trigger.conditions),
        start=at.trigger.start.removeprefix("pipeline/"),
        params=at.trigger.params,
        propose=at.trigger.propose.removeprefix("model/"),
        acts_as=at.trigger.principal if ctx.ground.four_eyes else "",
        starts=at.trigger.starts,
        paused=at.trigger.paused,
        read=read,
        lag=max(0, size - read),
        causes=len(found.causes) if found else 0,
        due=reading.following(tx, at, datetime.now(UTC)) is not None,
        absent=reading.absent(ctx.ground, tx, at),
        history=tuple(_view(ctx, tx, at.asset, start) for start in triggers.newest(tx, at.asset.id, limit)),
    )


def _view(ctx: Context, tx: Transaction, asset: Asset, start: Start) -> StartView:
    rollout = ROLLOUT.get(tx, start.outcome.get("rollout") or "")
    proposal = PROPOSAL.get(tx, start.outcome.get("proposal") or "")
    stands = proposal_view(tx, ctx.ground.catalog, proposal).state if proposal else ""
    cover = START.get(tx, start.trigger, start.covered_by) if start.covered_by else None
    return StartView(
        trigger=asset.name,
        number=start.number,
        cause=start.entry,
        cause_entry=ctx.ground.log.leaf_of(tx, start.entry),
        conditions=start.conditions,
        state=start.state,
        noted_at=start.noted_at,
        began_at=start.began_at,
        ended_at=start.ended_at,
        attempt=start.attempt,
        covered_by=cover.number if cover else None,
        pipeline=start.pipeline,
        params=start.params,
        runs=start.runs,
        registered=start.registered,
        became=str(start.outcome.get("sort", "")),
        proposal=proposal.id if proposal else None,
        rollout=rollout.id if rollout else None,
        stands=rollout.state if rollout else stands,
        verdicts=tuple(start.outcome.get("verdicts", ())),
        error=start.error,
    )
