"""A small ground without bytes: database, log, units and a catalog with kinds made for the test."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from falaj.core.entries import What
from falaj.store.catalog import Catalog
from falaj.store.kinds import Kind, Kinds
from falaj.store.ledger.log import Log
from falaj.store.metadata import Database
from falaj.store.metadata.open import migrate
from falaj.store.unit import Actor, Units

ALICE = Actor("principal-alice", "person-alice", "alice")
BOB = Actor("principal-bob", "person-bob", "bob")
KEY = bytes(range(32))


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a kind made up for the test."""

    title: str
    grams: float = 0.0
    guards: tuple[str, ...] = ()


RECIPE = Kind(
    "recipe",
    Recipe,
    bare=True,
    project_fields=lambda r: {"title": r.title, "grams": r.grams},
    guards=lambda r: r.guards,
)


@dataclass
class Small:
    database: Database
    log: Log
    units: Units
    catalog: Catalog
    project: str = ""


def small_ground(database: Database, *, four_eyes: bool = False, kind: Kind[Recipe] = RECIPE) -> Small:
    migrate(database)
    log = Log(database.dialect)
    ground = Small(database, log, Units(database, log, KEY), Catalog(Kinds(kind), four_eyes=four_eyes))
    with ground.units.begin(ALICE, "project.create") as unit:
        project = ground.catalog.add_project(unit, "kitchen")
        unit.say(What.PROJECT_CREATED, [project.id], detail={"name": project.name})
    ground.project = project.id
    return ground
