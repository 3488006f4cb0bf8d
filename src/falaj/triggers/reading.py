"""What a trigger has read, and what it has not: the ledger by leaf number, from where its row says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from falaj.core.names import Thing
from falaj.core.records import Asset, Project, Version
from falaj.store import runs, triggers
from falaj.store.catalog import missing
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.rows import REF_MOVE
from falaj.store.triggers import CURSOR, Cursor, Leaf, Start
from falaj.triggers import rules
from falaj.triggers.kinds import TRIGGER
from falaj.triggers.records import Condition, Trigger

LOOK = 1000
"""Entries that are read at one look."""


class InForce(NamedTuple):
    """A trigger at the version that its `main` holds."""

    asset: Asset
    version: Version
    trigger: Trigger


class Cause(NamedTuple):
    """An entry that meets conditions of a trigger. `at`: the trigger as it was in force when the entry was written."""

    leaf: Leaf
    at: InForce
    conditions: tuple[Condition, ...]


class Look(NamedTuple):
    """What one look at the ledger found: it read the leaves from `start` up to before `upto`, of `size` there are."""

    causes: list[Cause]
    start: int
    upto: int
    size: int


def in_force(ground: Ground, tx: Transaction, project: Project, name: str) -> InForce:
    """Raises: NotFound for a trigger that is not in force."""
    thing = Thing.parse(name, kind=TRIGGER.name)
    if thing.kind != TRIGGER.name:
        raise missing(thing)
    asset = ground.catalog.asset(tx, project.id, thing)
    return at_version(ground, tx, asset)


def at_version(ground: Ground, tx: Transaction, asset: Asset, number: int | None = None) -> InForce:
    """A trigger at a version, else at the one in force. Raises: NotFound."""
    held = ground.catalog.ref(tx, asset, "main")
    if held is None:
        raise missing(Thing(asset.name, asset.kind, "main"))
    version = ground.catalog.version(tx, asset, number or held.version)
    return InForce(asset, version, ground.catalog.payload(asset, version))


def every(ground: Ground, tx: Transaction, project: Project) -> Iterator[InForce]:
    """Every trigger in force of a project, by name."""
    for asset in ground.catalog.assets(tx, project.id, TRIGGER.name, limit=1000):
        if ground.catalog.ref(tx, asset, "main") is not None:
            yield at_version(ground, tx, asset)


def look(ground: Ground, tx: Transaction, at: InForce) -> Look | None:
    """Read on from where the trigger has read to; None where there is nothing to read yet."""
    size = ground.log.size(tx)  # before the entries, so that none of a later snapshot is passed over
    start = position(ground, tx, at.asset)
    if start is None or start >= size:
        return None
    leaves = triggers.unread(tx, at.asset.project, start, size, LOOK)
    upto = leaves[-1].number + 1 if len(leaves) == LOOK else size
    causes = _causes(ground, tx, at, leaves) if leaves else []
    return Look(causes, start, upto, size)


def _causes(ground: Ground, tx: Transaction, at: InForce, leaves: list[Leaf]) -> list[Cause]:
    """The entries that are causes, each by the trigger as it was in force when the entry was written."""
    stretches = []
    for move in ground.catalog.history(tx, at.asset, "main", limit=1000):
        since = ground.log.leaf_of(tx, move.entry)
        if since is None:
            continue  # it has no number yet, so it is after everything that has one
        then = at_version(ground, tx, at.asset, move.version)
        stretches.append((since, then, _assets(ground, tx, then)))
        if since < leaves[0].number:
            break
    found = []
    for leaf in leaves:
        then, assets = next(((one, of) for since, one, of in stretches if since < leaf.number), (at, {}))
        conditions = () if then.trigger.paused else rules.conditions_met(assets, leaf.entry)
        if conditions:
            found.append(Cause(leaf, then, conditions))
    return found


def position(ground: Ground, tx: Transaction, asset: Asset) -> int | None:
    """The leaf that a trigger reads next; None while the entry that put it in force has no number.

    Whatever happened before a trigger was first applied is no cause for it.
    """
    cursor = CURSOR.get(tx, asset.id)
    if cursor is not None:
        return cursor.leaf
    first = REF_MOVE.get(tx, asset.id, "main", 1)
    leaf = ground.log.leaf_of(tx, first.entry) if first else None
    return None if leaf is None else leaf + 1


def _assets(ground: Ground, tx: Transaction, at: InForce) -> dict[Condition, str]:
    """The id of each condition's asset; one that is not there can have caused nothing."""
    found = {}
    for condition in at.trigger.conditions:
        target = condition.target
        asset = ground.catalog.find_asset(tx, at.asset.project, target.kind or "", target.name)
        if asset is not None:
            found[condition] = asset.id
    return found


def absent(ground: Ground, tx: Transaction, at: InForce) -> tuple[str, ...]:
    """What a trigger waits for or starts, and is not there: a misspelt name, or something that is yet to come."""
    wanted = [condition.target for condition in at.trigger.conditions]
    wanted.append(Thing.parse(at.trigger.start, kind="pipeline"))
    project = at.asset.project
    gone = [one for one in wanted if ground.catalog.find_asset(tx, project, one.kind or "", one.name) is None]
    return tuple(dict.fromkeys(str(Thing(one.name, one.kind)) for one in gone))


def underway(tx: Transaction, trigger: str) -> Start | None:
    """The start that is being carried out, or was."""
    found = triggers.in_state(tx, trigger, "running", limit=1)
    return found[0] if found else None


def is_abandoned(tx: Transaction, start: Start, now: datetime) -> bool:
    """Whether nobody carries out a start that is underway."""
    cursor = CURSOR.get(tx, start.trigger)
    return rules.is_abandoned(
        start,
        alive=runs.is_alive(start.owner),
        mine=start.owner == runs.this_process(),
        lease_until=cursor.lease_until if cursor else "",
        now=now,
    )


def following(tx: Transaction, at: InForce, now: datetime) -> rules.Next | None:
    """What begins or goes on now; None where nothing is due, or somebody is at it."""
    found = underway(tx, at.asset.id)
    if found is not None:
        return rules.Next(found) if is_abandoned(tx, found, now) and rules.is_rested(found, now) else None
    enough = 1 if at.trigger.starts == "each" else triggers.MOST
    waiting = triggers.in_state(tx, at.asset.id, "due", limit=enough)
    return rules.next_start(at.trigger.starts, waiting, now)


def leased(ground: Ground, tx: Transaction, asset: Asset, until: str) -> Cursor:
    """The cursor of a trigger of which a start is carried out.

    A start without a lease counts as abandoned on every other host, so there is a cursor even where the entry that put
    the trigger in force has no number yet: that will be a later one than any there is, and none before it is a cause.
    """
    read = position(ground, tx, asset)
    return Cursor(trigger=asset.id, leaf=ground.log.size(tx) if read is None else read, lease_until=until)
