"""What a loop that ends leaves for later: starts and reports that rest after they failed, starts of other processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from falaj.core.encoding import moment
from falaj.core.records import Asset, Project
from falaj.deploy.following import all_in_force
from falaj.store import triggers
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.rows import PROJECT
from falaj.store.triggers import Start
from falaj.triggers import reading, rules
from falaj.triggers.kinds import TRIGGER

SHOWN = 100


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is to be done, and not now.

    Attributes:
        name: of the trigger or the deployment; `start`: number of the start, 0 for a report.
        attempt: how often it was begun.
        until: when it is tried again; "" where another process does it.
        why: the code of its last failure, where it is known.
    """

    sort: Literal["start", "report"]
    project: str
    name: str
    start: int = 0
    attempt: int = 0
    until: str = ""
    why: str = ""


class Begun(NamedTuple):
    """How far the starts of a trigger are: whoever began or ended one changed this."""

    newest: int
    open: tuple[tuple[int, str, int], ...]


def begun(ground: Ground, project: Project, trigger: str) -> Begun | None:
    """How far the starts of a trigger are now, None where there is no such trigger."""
    with ground.database.read() as tx:
        asset = ground.catalog.find_asset(tx, project.id, TRIGGER.name, trigger)
        if asset is None:
            return None
        newest = triggers.newest(tx, asset.id, 1)
        told = ((start.number, start.state, start.attempt) for start in _open(tx, asset))
        return Begun(newest[0].number if newest else 0, tuple(told))


def left(ground: Ground, now: datetime, resting: Mapping[str, tuple[int, datetime]]) -> Iterator[Waiting]:
    """What is left for later, of every project.

    Args:
        resting: by the key of the loop (id of a deployment; id of the project and name of the trigger): how often in a
            row it failed, and until when it is left alone.
    """
    with ground.database.read() as tx:
        for project in PROJECT.scan(tx):
            for at in reading.every(ground, tx, project):
                failures, until = resting.get(f"{project.id}/{at.asset.name}", (0, None))
                for start in _open(tx, at.asset):
                    rests = rules.rests_until(start) or until
                    is_others = start.state == "running" and not reading.is_abandoned(tx, start, now)
                    yield Waiting(
                        sort="start",
                        project=project.name,
                        name=at.asset.name,
                        start=start.number,
                        attempt=start.attempt or failures,
                        until="" if is_others or rests is None else moment(rests),
                        why=str((start.error or {}).get("code", "")),
                    )
            for one in all_in_force(tx, ground.catalog, project.id):
                if (found := resting.get(one.asset.id)) is not None:
                    yield Waiting(
                        sort="report",
                        project=project.name,
                        name=one.asset.name,
                        attempt=found[0],
                        until=moment(found[1]),
                    )


def _open(tx: Transaction, asset: Asset) -> list[Start]:
    """The starts of a trigger that are to begin or to go on, oldest first."""
    return [
        *triggers.in_state(tx, asset.id, "running", limit=SHOWN),
        *triggers.in_state(tx, asset.id, "due", limit=SHOWN),
    ]
