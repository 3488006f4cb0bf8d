"""Making and opening a store: key file, database, keys, locations; everything that must be there before the door is."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from falaj.access.records import Principal
from falaj.access.rows import PRINCIPAL, principal_named
from falaj.access.state import raise_revision
from falaj.core.entries import What
from falaj.core.errors import FalajError, Forbidden, Invalid, NotFound
from falaj.core.ids import new_id
from falaj.core.names import name
from falaj.core.records import Fact
from falaj.environments import ENVIRONMENTS
from falaj.platform.layout import MAIN, Layout, Settings
from falaj.store.content import Contents
from falaj.store.errors import Exists, StoreAway
from falaj.store.ground import Ground
from falaj.store.keys import KeyFile, KeyStore, MemoryKeyRows
from falaj.store.keys.errors import KeyExists, KeyMissing
from falaj.store.keys.material import Secret, derived
from falaj.store.keys.sql import KEY, StoreKeys
from falaj.store.kinds import Kind, Kinds
from falaj.store.ledger.checkpoint import Signer
from falaj.store.ledger.log import Log
from falaj.store.metadata import Database, Transaction, open_database
from falaj.store.metadata.open import migrate
from falaj.store.objects.folder import FolderLocation
from falaj.store.objects.location import Location, Place, probe
from falaj.store.rows import FACT
from falaj.store.unit import Actor, Units

STORE_ID, MODE, CREATED = "store_id", "mode", "created"
EMBEDDED, SERVER = "embedded", "server"
PASSPHRASE = "FALAJ_PASSPHRASE"  # noqa: S105  the name of a variable
PASSPHRASE_FILE = "FALAJ_PASSPHRASE_FILE"  # noqa: S105
DATABASE = "FALAJ_DATABASE"


class NoStore(NotFound):
    """There is a project folder, but no store in it."""

    code = "no_store"


class ServedStore(Forbidden):
    """The store belongs to a server of another operating-system user."""

    code = "served_store"


class Opened(NamedTuple):
    """An open store, before its operations.

    Attributes:
        actor: the store itself, for what nobody asked for.
        token_key: the 32-byte key that token hashes are made with.
    """

    ground: Ground
    actor: Actor
    token_key: bytes


def passphrase() -> str | None:
    """The key file's passphrase from the environment, None where there is none. Raises: Invalid."""
    if file := os.environ.get(PASSPHRASE_FILE):
        try:
            return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{PASSPHRASE_FILE}: {error}", next_step="name a readable text file") from error
    return os.environ.get(PASSPHRASE) or None


def database_of(layout: Layout, settings: Settings, asked: str, *, read_only: bool = False) -> Database:
    """The metadata database: as asked for, else FALAJ_DATABASE, else as `falaj.toml` says, else SQLite in the store."""
    address = asked or os.environ.get(DATABASE, "") or settings.database
    return open_database(address or layout.database, read_only=read_only)


def create(layout: Layout, settings: Settings, asked: str = "") -> None:
    """Make the store where it is missing. May be run again after it was interrupted, and beside another.

    Raises: FalajError; what was made stays, and the next run goes on from there.
    """
    layout.make()
    database = database_of(layout, settings, asked)
    try:
        migrate(database)
        with database.read() as tx:
            is_made = fact(tx, STORE_ID) is not None
        if is_made and not layout.key.exists():
            raise KeyMissing(
                f"key file {layout.key}: not there, and the store's keys are wrapped by it",
                next_step="restore it from a backup",
            )
        try:
            custodian = KeyFile.create(layout.key, passphrase=passphrase())
        except KeyExists:
            custodian = KeyFile.open(layout.key, passphrase=passphrase())
        for location in locations_of(layout, settings).values():
            probe(location)
        if not is_made:
            _found(database, custodian)
    finally:
        database.close()


def _found(database: Database, custodian: KeyFile) -> None:
    """The store's own keys, its identity and its first entry, in one transaction."""
    rows = MemoryKeyRows()
    keys = KeyStore(custodian, rows)
    commit = keys.create_commit_key()
    keys.create_signing_key("ledger")
    store = Actor(store_id := new_id(), store_id, "falaj")
    units = Units(database, Log(database.dialect), commit.raw)
    try:
        with units.begin(store, "store.create") as unit:
            for row in rows.list():
                unit.add(KEY, row)
            unit.add(PRINCIPAL, Principal(id=store_id, person=store_id, name="falaj", sort="service"))
            raise_revision(unit)
            for key, value in ((STORE_ID, store_id), (MODE, EMBEDDED), (CREATED, unit.now)):
                unit.add(FACT, Fact(key=key, value=value))
            unit.say(What.STORE_CREATED, [store_id])
    except Exists:
        return  # another process founded it at this moment


def open_store(
    layout: Layout,
    settings: Settings,
    kinds: Iterable[Kind[Any]],
    *,
    server: bool = False,
    asked: str = "",
    read_only: bool = False,
) -> Opened:
    """Open a store that was made; for reading only where its folder cannot be written to.

    Raises: NoStore, ServedStore, FalajError of keys and database.
    """
    if not _is_there(layout.key):
        next_step = f"falaj -C {layout.place} init; where a server holds it, falaj login URL"
        raise NoStore(f"{layout.store}: no store there", next_step=next_step)
    read_only = read_only or not os.access(layout.store, os.W_OK)
    custodian = KeyFile.open(layout.key, passphrase=passphrase())
    if not read_only:
        layout.make()  # a restored backup has no folders for what is underway
    database = database_of(layout, settings, asked, read_only=read_only)
    try:
        migrate(database)
        return _assemble(layout, settings, kinds, custodian, database, server=server)
    except BaseException:
        database.close()
        raise


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a folder on the way is closed to this user
        raise StoreAway(
            f"{path.parent}: {error.strerror}", next_step="a store is its owner's alone; others work through a server"
        ) from error


def _assemble(
    layout: Layout,
    settings: Settings,
    kinds: Iterable[Kind[Any]],
    custodian: KeyFile,
    database: Database,
    *,
    server: bool,
) -> Opened:
    keys = StoreKeys(custodian, database)
    with database.read() as tx:
        store_id, mode = fact(tx, STORE_ID), fact(tx, MODE) or EMBEDDED
        if store_id is None:
            raise NoStore("the database holds no store", next_step=f"falaj -C {layout.place} init")
        reading = keys.reading(tx)
        commit: Secret = reading.commit_key()
        seed = reading.signing_seed("ledger")
    log = Log(database.dialect)
    units = Units(database, log, commit.raw)
    store = Actor(store_id, store_id, "falaj")
    mode = check_mode(units, store, mode, server=server)
    ground = Ground(
        database,
        Kinds(*kinds),
        log,
        units,
        keys,
        Contents(database, keys, locations_of(layout, settings), default=MAIN),
        Signer(f"falaj/{store_id}", seed.raw),
        scratch=layout.scratch,
        four_eyes=mode != EMBEDDED,
    )
    ground.fill(ENVIRONMENTS, lambda: environments_of(layout))
    return Opened(ground, store, derived(commit, "token"))


def environments_of(layout: Layout) -> object:
    """Where a store's environments are built; imported once somebody asks."""
    from falaj.environments.place import Place as Environments

    return Environments(layout.environments)


def check_mode(units: Units, store: Actor, mode: str, *, server: bool) -> str:
    """The store's mode, which becomes and stays a server's when a server first opens it.

    Raises: ServedStore where it belongs to a server of another operating-system user.
    """
    mine = f"{SERVER}:{os.getuid()}"
    if mode == EMBEDDED and server and not units.database.read_only:
        with units.begin(store, "store.serve") as unit:
            unit.put(FACT, Fact(key=MODE, value=mine))
            unit.say(What.STORE_SERVED, [store.principal])
        return mine
    if mode not in (EMBEDDED, mine):
        raise ServedStore(
            "this store is served by another operating-system user; nobody else opens its files",
            next_step="falaj login URL, then work through the server",
        )
    return mode


def fact(tx: Transaction, key: str) -> str | None:
    """A fact about the store itself, None where it is not known."""
    found = FACT.get(tx, key)
    return None if found is None else found.value


def locations_of(layout: Layout, settings: Settings) -> dict[str, Location]:
    """The locations that this host declares; `main` in the store's folder where none is declared."""
    found: dict[str, Location] = {}
    for location, said in settings.locations.items():
        country = said.region.partition("-")[0]
        place = Place(name=name(location, "location"), url=said.url, region=said.region, country=country)
        found[location] = FolderLocation(layout.objects(said.url), place)
    if MAIN not in found:
        place = Place(name=MAIN, url="file:objects", region="", country="")
        found[MAIN] = FolderLocation(layout.objects(place.url), place)
    return found


def owner_of(ground: Ground, store: Actor) -> Principal:
    """The principal of the operating-system user who opened the store; written where it is not there yet."""
    key = f"os_user:{os.getuid()}"
    with ground.database.read() as tx:
        known = fact(tx, key)
        found = PRINCIPAL.get(tx, known) if known else None
    if found is not None:
        return found
    row = Principal(id=new_id(), person=new_id(), name=_user_name())
    if ground.database.read_only:
        return row
    with ground.units.begin(store, "principal.add") as unit:
        if principal_named(unit.tx, row.name):
            row = Principal(id=row.id, person=row.person, name=f"{row.name}-{os.getuid()}")
        unit.add(PRINCIPAL, row)
        raise_revision(unit)
        unit.put(FACT, Fact(key=key, value=row.id))
        unit.say(What.PRINCIPAL_ADDED, [row.id], detail={"name": row.name, "os_user": True})
    return row


def _user_name() -> str:
    try:
        return name(pwd.getpwuid(os.getuid()).pw_name)
    except (KeyError, FalajError):
        return f"user-{os.getuid()}"
