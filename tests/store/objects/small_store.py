"""A small store with bytes: database, keys, folder location, catalog and contents, without door or rooms."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from falaj.core.entries import What
from falaj.core.records import Asset, Project, Version
from falaj.store.catalog import Catalog
from falaj.store.content import Collected, Contents, Garbage, Stored
from falaj.store.keys import KeyFile
from falaj.store.keys.sql import StoreKeys
from falaj.store.kinds import Kind, Kinds
from falaj.store.ledger.log import Log
from falaj.store.metadata import Database, open_database
from falaj.store.metadata.open import migrate
from falaj.store.objects import FolderLocation, Place
from falaj.store.objects.pack import TARGET_SIZE
from falaj.store.unit import Actor, Unit, Units

ALICE = Actor("principal-alice", "person-alice", "alice")
PLACE = Place(name="main", url="file:objects", region="AE-DU", country="AE")


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a kind made up for the tests."""

    note: str = ""


@dataclass
class SmallStore:
    """An open store of one project."""

    database: Database
    units: Units
    catalog: Catalog
    contents: Contents
    project: str

    @contextmanager
    def unit(self, op: str) -> Iterator[Unit]:
        with self.units.begin(ALICE, op, self.project) as unit:
            yield unit

    def domain(self, name: str) -> str:
        """The key domain of an asset of that name, which is made where it is not there."""
        with self.unit("bundle.add") as unit:
            asset = self.catalog.ensure_asset(unit, self.project, "bundle", name)
            domain = self.contents.ensure_domain(unit, self.project, f"bundle-{asset.id}")
            if unit.has_changes:
                unit.say(What.KEY_CREATED, [asset.id])
        return domain.name

    def stored(self, name: str, files: Mapping[str, bytes], base: Version | None = None) -> Stored:
        """An upload of files, and of the other files of `base`; not recorded."""
        with self.contents.upload(self.domain(name)) as upload:
            for path, data in files.items():
                upload.add_file(path, io.BytesIO(data))
            if base is not None:
                upload.keep(base, [f.path for f in self.contents.files(base) if f.path not in files])
            return upload.finish()

    def record(self, name: str, stored: Stored) -> Version:
        with self.unit("bundle.add") as unit:
            asset = self.asset(unit, name)
            content = self.contents.record(unit, stored)
            version = self.catalog.add_version(unit, asset, Bundle(), content=content)
            unit.say(What.VERSION_ADDED, [asset.id])
        return version

    def add(self, name: str, files: Mapping[str, bytes], base: Version | None = None) -> Version:
        stored = self.stored(name, files, base)
        with self.contents.concluding(stored):
            return self.record(name, stored)

    def set_state(self, version: Version, state: str) -> None:
        what = What.VERSION_RETIRED if state == "retired" else What.VERSION_RESTORED
        with self.unit("version.retire") as unit:
            asset = next(a for a in self.catalog.assets(unit.tx, self.project, "bundle") if a.id == version.asset)
            now = self.catalog.version(unit.tx, asset, version.number)
            self.catalog.set_state(unit, asset, now, state)
            unit.say(what, [asset.id])

    def collect(self, garbage: Garbage | None = None) -> tuple[Garbage, Collected]:
        """A whole garbage collection."""
        surveyed = garbage or self.contents.survey()
        with self.unit("store.gc") as unit:
            found = self.contents.forget(unit, self.catalog, surveyed)
            unit.say(What.OBJECTS_COLLECTED, [])
        return found, self.contents.remove(found)

    def asset(self, unit: Unit, name: str) -> Asset:
        found = self.catalog.find_asset(unit.tx, self.project, "bundle", name)
        assert found is not None
        return found

    def again(self, version: Version) -> Version:
        """The version's row as it is now."""
        with self.database.read() as tx:
            asset = next(a for a in self.catalog.assets(tx, self.project, "bundle") if a.id == version.asset)
            return self.catalog.version(tx, asset, version.number)

    def read_all(self, version: Version) -> dict[str, bytes]:
        return {f.path: b"".join(self.contents.stream(version, f.path)) for f in self.contents.files(version)}

    def close(self) -> None:
        self.database.close()


def open_small(folder: Path, address: str | Path | None = None, *, pack_size: int = TARGET_SIZE) -> SmallStore:
    """The store in a folder, made where it is not there."""
    database = open_database(folder / "falaj.db" if address is None else address)
    migrate(database)
    key = folder / "key"
    keys = StoreKeys(KeyFile.open(key) if key.exists() else KeyFile.create(key), database)
    log = Log(database.dialect)
    catalog = Catalog(Kinds(Kind("bundle", Bundle)))
    contents = Contents(database, keys, {"main": FolderLocation(folder / "objects", PLACE)}, pack_size=pack_size)
    units = Units(database, log, bytes(range(32)))
    with database.read() as tx:
        row = tx.row("SELECT id FROM project")
    project = str(row[0]) if row else _make_project(units, catalog, keys).id
    return SmallStore(database, units, catalog, contents, project)


def _make_project(units: Units, catalog: Catalog, keys: StoreKeys) -> Project:
    with units.begin(ALICE, "project.create") as unit:
        project = catalog.add_project(unit, "kitchen")
        keys.begin(unit).create_project(project.id)
        unit.say(What.PROJECT_CREATED, [project.id])
    return project
