"""The bundles that servers read, kept equal to the routing tables: written after each commit, and again by anybody.

What is in force is the newest routing row. Writing a bundle from it may be interrupted at any point and done again by
anybody: at the end the folder says what the row says. So a crash between the commit and the file heals by itself, at
the next change, when a store is opened, or at the next turn of a server's loop.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from falaj.core import bundle as b
from falaj.core.bundle_folder import BundleFolder
from falaj.core.encoding import moment, parse_moment
from falaj.core.errors import FalajError, Unavailable
from falaj.core.names import Thing
from falaj.core.records import Asset, Project, Ref, Version
from falaj.data.records import DatasetVersion
from falaj.deploy import rules
from falaj.deploy.errors import LogBusy
from falaj.deploy.following import all_in_force, asset_of
from falaj.deploy.records import Deployment
from falaj.deploy.rules import Evidence
from falaj.deploy.tally import Tally
from falaj.models.records import Model
from falaj.models.verification import admitted
from falaj.store.ground import Ground
from falaj.store.keys.signing import VerifyKey
from falaj.store.metadata import Transaction
from falaj.store.rollouts import ROLLOUT, Routing, not_live, routing
from falaj.store.rows import PROJECT

BUNDLES: Final = "bundles"
"""The port by its name; see `store.ground`."""
LEASE: Final = timedelta(hours=1)
RENEW: Final = timedelta(minutes=15)
NEWEST: Final = 2
MOST_REVOKED: Final = 1_000
WAIT_S: Final = 10.0
"""How long a writer waits for another one, which may be placing a large model."""
_POLL_S: Final = 0.002


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment in force, and where its bundle lies below the store's folder."""

    project: str
    name: str
    asset: str


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the folder of a deployment says.

    Attributes:
        revision, issued_at, lease_until: of the document in force; None and "" where there is none that holds.
        served: the revision that a server here took up last.
        problem: why the bundle could not be written, "" where it could.
    """

    folder: str
    revision: int | None = None
    issued_at: str = ""
    lease_until: str = ""
    served: int | None = None
    problem: str = ""


class Bundles:
    """The bundles of a store. Safe to use from several threads and processes.

    Args:
        root: the folder below which each deployment has one of its own.
        home: the project whose deployments have the plain names there.
    """

    def __init__(self, ground: Ground, root: Path, home: str) -> None:
        self._ground, self._root, self._home = ground, root, home
        self._problems: dict[str, str] = {}
        self._tallies: dict[str, Tally] = {}
        self._seen: dict[str, tuple[Any, tuple[b.Bundle, str]]] = {}
        self._readings: dict[str, threading.Lock] = {}

    # writing

    def published(self, deployment: str) -> None:
        """Write what a transaction that has committed says. What fails is kept for `known` and for the next turn."""
        try:
            self.reconcile(deployment)
        except (FalajError, OSError) as error:
            self._problems[deployment] = str(error)

    def reconcile(self, deployment: str, *, deep: bool = False, wait_s: float = WAIT_S) -> bool:
        """Make a deployment's folder say what its routing row says, and renew its lease where that is old.

        Where all is as it should be, that is one small read, without a lock and without the signing key.

        Args:
            deployment: id of its asset.
            deep: look at every file of every model, whatever the document in force says.
            wait_s: how long to wait while another process writes; 0 leaves the work to that one.
        Returns: whether anything was written.
        Raises: FalajError of keys and contents, Unavailable where another wrote all the while; OSError.
        """
        with self._ground.database.read() as tx:
            row = routing(tx, deployment)
            if row is None:
                return False
            folder, public = self._folder(tx, deployment), self._keys(tx, row.project)
            keys = [one.raw for one in public]
            there = None if deep else self._seen_in_force(folder, row, keys)
            if there is not None and _says(there, row, _pinned(public), self._revoked(tx, row)):
                self._problems.pop(deployment, None)
                return False
        with _alone(folder.root, wait_s) as is_mine:
            if not is_mine:
                return False
            with self._ground.database.read() as tx:
                wanted = self._wanted(tx, deployment)
                signer = self._ground.keys.reading(tx).signing_key("serving", wanted.bundle.project)
            there = _in_force(folder, keys)
            if there is not None and not deep and not _is_due(there, wanted.bundle, b.key_name(signer.public)):
                self._problems.pop(deployment, None)
                return False
            self._place(folder, wanted, None if deep else there)
            document = b.sign(wanted.bundle, public=signer.public, signer=signer.sign)
            folder.publish(wanted.bundle.revision, document)
            folder.prune(wanted.bundle)
        self._problems.pop(deployment, None)
        return True

    def reconcile_all(self, *, deep: bool = False, wait_s: float = WAIT_S) -> dict[str, str]:
        """Reconcile every deployment in force; returns what went wrong, by the deployment's name."""
        wrong = {}
        for place in self.places():
            try:
                self.reconcile(place.asset, deep=deep, wait_s=wait_s)
            except (FalajError, OSError) as error:
                wrong[place.name] = self._problems[place.asset] = str(error)
        return wrong

    def places(self) -> list[Place]:
        """Every deployment in force, of every project."""
        with self._ground.database.read() as tx:
            return [
                Place(project=project.name, name=one.asset.name, asset=one.asset.id)
                for project in PROJECT.scan(tx)
                for one in all_in_force(tx, self._ground.catalog, project.id)
            ]

    # reading

    def known(self, tx: Transaction, deployment: str) -> Known:
        """What the folder of a deployment says."""
        folder = self._folder(tx, deployment)
        shown = f"{self._root.parent.name}/{self._root.name}/{folder.root.name}"
        known = Known(folder=shown, problem=self._problems.get(deployment, ""), served=_served(folder))
        there = _in_force(folder, self._public(tx, deployment))
        if there is None:
            return known
        found, _ = there
        return replace(known, revision=found.revision, issued_at=found.issued_at, lease_until=found.lease_until)

    def in_force(self, tx: Transaction, deployment: str) -> Written | None:
        """The bundle in force of a deployment, verified; None where there is none that holds."""
        folder = self._folder(tx, deployment)
        try:
            document = folder.document(folder.revision())
            found = b.verify(document, self._public(tx, deployment))
        except FalajError:
            return None
        key = msgspec.json.decode(document, type=b.Signed).key
        return Written(folder=folder, bundle=found, document=document, key=key)

    def dropped(self, tx: Transaction, row: Routing) -> set[str]:
        """Inputs that the log leaves out by now, of every version that is routed to or at hand."""
        catalog, asset, of = self._ground.catalog, asset_of(tx, row.asset), asset_of(tx, row.deployment)
        config: Deployment = catalog.payload(of, catalog.version(tx, of, row.config))
        models = [catalog.payload(asset, catalog.version(tx, asset, number)) for number in _numbers(row)]
        return {name for model in models for name in self._dropped(tx, asset, model, config)}

    def key(self, tx: Transaction, project: str) -> str:
        """The public key that servers pin, "" where there is none yet."""
        return _pinned(self._keys(tx, project))

    def log(self, tx: Transaction, deployment: str) -> Path:
        """The folder of a deployment's prediction log."""
        return self._folder(tx, deployment).log

    def warm(self, deployment: str) -> None:
        """Read on in the log while nothing is locked, so that the turn that follows has little left to read."""
        with self._ground.database.read() as tx:
            if (row := routing(tx, deployment)) is not None:
                with self.tally(tx, row):
                    pass

    @contextmanager
    def tally(self, tx: Transaction, row: Routing) -> Iterator[Tally]:
        """What was answered under a routing table, read up to now; of a table without a canary the newest part only.

        Raises: Damaged for a line of the log that is none.
        """
        log = self.log(tx, row.deployment)
        with self._reading_of(row.deployment):
            yield self._read_on(log, row)

    def evidence(self, tx: Transaction, row: Routing) -> Evidence:
        """What was answered under a routing table, for a transaction that changes it: nobody waits in there.

        While another thread reads the log, it is what that one had found so far, which is as good as asking a moment
        earlier.

        Raises: as `tally`; LogBusy where another reads it for the first time.
        """
        reading = self._reading_of(row.deployment)
        if reading.acquire(blocking=False):
            try:
                return self._read_on(self.log(tx, row.deployment), row).evidence()
            finally:
                reading.release()
        found = self._tallies.get(row.deployment)
        if found is None or found.revision != row.revision or found.known is None:
            raise LogBusy("the prediction log is being read at this moment", next_step="try again in a moment")
        return found.known

    def _reading_of(self, deployment: str) -> threading.Lock:
        """Who reads the log of a deployment reads it alone; others read theirs."""
        return self._readings.setdefault(deployment, threading.Lock())

    def _read_on(self, log: Path, row: Routing) -> Tally:
        found = self._tallies.get(row.deployment)
        if found is None or found.revision != row.revision:
            roles = {route.role for route in row.routes}
            newest = None if "canary" in roles else NEWEST
            found = Tally(row.revision, parse_moment(row.at), newest=newest, shadowed="shadow" in roles)
            self._tallies[row.deployment] = found
        found.read(log)
        return found

    # inside

    def _folder(self, tx: Transaction, deployment: str) -> BundleFolder:
        asset = asset_of(tx, deployment)
        project = PROJECT.get(tx, asset.project)
        assert project is not None  # noqa: S101  rows of projects are never deleted
        return BundleFolder(self._root / folder_name(project, asset, self._home))

    def _public(self, tx: Transaction, deployment: str) -> list[bytes]:
        return [one.raw for one in self._keys(tx, asset_of(tx, deployment).project)]

    def _keys(self, tx: Transaction, project: str) -> Sequence[VerifyKey]:
        return self._ground.keys.reading(tx).verify_keys("serving", project)

    def _seen_in_force(self, folder: BundleFolder, row: Routing, keys: list[bytes]) -> tuple[b.Bundle, str] | None:
        """As `_in_force`; what was verified by the same keys is not verified again while its files are the same."""
        now = (folder.stamps(row.revision), tuple(keys))
        seen = self._seen.get(row.deployment)
        if seen is None or seen[0] != now:
            found = _in_force(folder, keys)
            if found is None:
                return None
            seen = self._seen[row.deployment] = (now, found)
        return seen[1]

    def _wanted(self, tx: Transaction, deployment: str) -> Wanted:
        row = routing(tx, deployment)
        assert row is not None  # noqa: S101  routing rows are never deleted
        catalog, asset, now = self._ground.catalog, asset_of(tx, row.asset), datetime.now(UTC)
        of = asset_of(tx, deployment)
        config: Deployment = catalog.payload(of, catalog.version(tx, of, row.config))
        holder = catalog.ref(tx, asset, row.ref)
        assert holder is not None  # noqa: S101  what is routed is held, and refs are never deleted
        versions = {number: catalog.version(tx, asset, number) for number in _numbers(row)}
        kept = {n: v for n, v in versions.items() if v.state == "live" or any(r.version == n for r in row.routes)}
        models = {n: self._model(tx, asset, holder, row, v) for n, v in kept.items()}
        drop = {name for v in kept.values() for name in self._dropped(tx, asset, catalog.payload(asset, v), config)}
        wanted = b.Bundle(
            project=asset.project,
            deployment=of.name,
            revision=row.revision,
            issued_at=moment(now),
            lease_until=moment(now + LEASE),
            routes=row.routes,
            models={str(number): model for number, model in models.items()},
            log=b.LogRule(drop=tuple(sorted(drop))),
            revoked=self._revoked(tx, row),
            previous=row.previous,
        )
        return Wanted(bundle=wanted, versions=tuple(kept.values()))

    def _revoked(self, tx: Transaction, row: Routing) -> tuple[str, ...]:
        """Digests of versions that may not be served; of the newest, since servers hold none of the oldest any more."""
        routed = {route.version for route in row.routes}
        return tuple(sorted(d for number, d in not_live(tx, row.asset, MOST_REVOKED) if number not in routed))

    def _model(self, tx: Transaction, asset: Asset, holder: Ref, row: Routing, version: Version) -> b.BundleModel:
        """A version as servers know it. Raises: ModelNotPromoted where no gate let it in."""
        model: Model = self._ground.catalog.payload(asset, version)
        rollout = ROLLOUT.get(tx, row.rollout) if row.rollout else None
        is_shadow = any(route.role == "shadow" and route.version == version.number for route in row.routes)
        if is_shadow:
            verdict = self._shadow_verdict(tx, asset, row, version)
        elif rollout is not None and rollout.candidate == version.number and rollout.state in {"running", "paused"}:
            verdict = rollout.verdicts[0]
        else:
            verdict = admitted(tx, self._ground.catalog, asset, version, holder, guarded=False).id
        return b.BundleModel(
            format=model.format,
            files=tuple(b.BundleFile(path=f.path, sha256=f.sha256, size_bytes=f.size_bytes) for f in model.files),
            inputs=tuple(b.BundleInput(name=i.name, type=i.type) for i in model.inputs),
            digest=version.digest,
            verdict=verdict,
            types=model.types if model.format == "skops" else (),
        )

    def _shadow_verdict(self, tx: Transaction, asset: Asset, row: Routing, version: Version) -> str:
        """By which the shadow came to hold the ref of its own. Raises: ModelNotPromoted."""
        catalog, of = self._ground.catalog, asset_of(tx, row.deployment)
        config: Deployment = catalog.payload(of, catalog.version(tx, of, row.config))
        holder = catalog.ref(tx, asset, config.shadow.follows.ref or "") if config.shadow else None
        assert holder is not None  # noqa: S101  a ref that was routed by is held, and never goes away
        return admitted(tx, catalog, asset, version, holder, guarded=False).id

    def _dropped(self, tx: Transaction, asset: Asset, model: Model, config: Deployment) -> set[str]:
        """Inputs that the log leaves out, by the classes of the columns that the model was trained on."""
        classes: dict[str, str] = {}
        for used in model.data:
            thing = Thing.parse(used.thing)
            if thing.kind == "dataset":
                held = self._ground.catalog.resolve(tx, asset.project, thing)
                data: DatasetVersion = self._ground.catalog.payload(held.asset, held.version)
                classes |= {column.name: column.classification or "" for column in data.columns}
        return rules.dropped(config.log, [one.name for one in model.inputs], classes)

    def _place(self, folder: BundleFolder, wanted: Wanted, there: tuple[b.Bundle, str] | None) -> None:
        """Put the files of the models in their places; what the document in force names is there and whole."""
        placed = there[0].models if there else {}
        for version in wanted.versions:
            model = wanted.bundle.models[str(version.number)]
            known = placed.get(str(version.number))
            if known is not None and known.files == model.files:
                continue
            for file in model.files:
                folder.place(str(version.number), file, self._ground.contents.stream(version, file.path))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle as it should be, and the versions whose files it needs."""

    bundle: b.Bundle
    versions: tuple[Version, ...]


class Written(NamedTuple):
    """A bundle as it lies in its folder, and the name of the key that signed it."""

    folder: BundleFolder
    bundle: b.Bundle
    document: bytes
    key: str


def folder_name(project: Project, asset: Asset, home: str) -> str:
    """The name of a deployment's folder. No name holds an @, so none is another's."""
    return asset.name if project.name == home else f"{project.name}@{asset.name}"


def _numbers(row: Routing) -> Sequence[int]:
    return tuple(dict.fromkeys((*(route.version for route in row.routes), *row.held)))


def _in_force(folder: BundleFolder, keys: Sequence[bytes]) -> tuple[b.Bundle, str] | None:
    """The document in force and its key's name; None where there is none that holds."""
    try:
        document = folder.document(folder.revision())
        return b.verify(document, keys), msgspec.json.decode(document, type=b.Signed).key
    except FalajError:
        return None


def _served(folder: BundleFolder) -> int | None:
    """The revision that a server took up last. It is told to people only, so nothing is verified."""
    try:
        document = folder.remembered()
        return msgspec.json.decode(document, type=b.Signed).bundle.revision if document else None
    except (FalajError, msgspec.MsgspecError):
        return None


def _pinned(keys: Sequence[VerifyKey]) -> str:
    """The name of the newest key that signs, "" where there is none yet."""
    live = [one for one in keys if one.state == "live"]
    return b.key_name(live[-1].raw) if live else ""


def _says(there: tuple[b.Bundle, str], row: Routing, key: str, revoked: tuple[str, ...]) -> bool:
    """Whether a document in force says what it should: all else in it follows from these, and none of it changes."""
    found, signed_by = there
    is_young = datetime.now(UTC) - parse_moment(found.issued_at) <= RENEW
    return is_young and signed_by == key and (found.revision, found.revoked) == (row.revision, revoked)


def _is_due(there: tuple[b.Bundle, str], wanted: b.Bundle, key: str) -> bool:
    """Whether the document in force says something else, was signed by an earlier key, or has an old lease."""
    found, signed_by = there
    same = replace(wanted, issued_at=found.issued_at, lease_until=found.lease_until)
    old = parse_moment(wanted.issued_at) - parse_moment(found.issued_at) > RENEW
    return found != same or signed_by != key or old


@contextmanager
def _alone(root: Path, wait_s: float) -> Iterator[bool]:
    """One writer at a time, over all processes.

    Yields: whether that is this one; false only for who does not wait at all.
    Raises: Unavailable where another wrote all the while.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        is_mine = _taken(handle, time.monotonic() + wait_s)
        if not is_mine and wait_s:
            raise Unavailable(f"{root.name}: another process writes this bundle", next_step="see whether it hangs")
        yield is_mine
    finally:
        os.close(handle)


def _taken(handle: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)
        else:
            return True
