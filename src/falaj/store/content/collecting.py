"""Garbage collection: packs that nothing kept can reach, in three steps that may each be interrupted.

    survey   looks, and changes nothing
    forget   in one unit of work: drops the rows of what is garbage still, and marks emptied versions as erased
    remove   once that is committed: the packs themselves

Kept is what a live or rejected version reaches, what a version retired within the grace reaches, and everything in
the key domain of a running upload, since an upload may count on any chunk of its domain. A tree that cannot be read
to its end keeps its whole domain. Where the domain's keys were destroyed, nobody can read any of it: all is garbage.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice

import msgspec

from falaj.core.encoding import moment
from falaj.core.entries import Entry
from falaj.core.errors import FalajError
from falaj.core.records import Record
from falaj.store import catalog
from falaj.store.content import rows
from falaj.store.content.reading import Readers
from falaj.store.content.rows import UploadRow, VersionRow
from falaj.store.keys.errors import KeyDestroyed
from falaj.store.metadata import Transaction
from falaj.store.objects import ChunkPlace, PackRecord, Tree
from falaj.store.objects.errors import ChunkMissing
from falaj.store.objects.tree import reached
from falaj.store.objects.upload import PACKS, pack_name, upload_of
from falaj.store.rows import ASSET, VERSION
from falaj.store.unit import Unit

_AT_ONCE = 512


class DomainGarbage(Record, frozen=True, kw_only=True):
    """What is garbage in one key domain.

    Attributes:
        packs: known packs that nothing kept reaches.
        retired: versions that lose their bytes.
        uploads: dead ones.
        roots: the trees that kept versions name; where another is kept meanwhile, all of the domain is.
    """

    domain: str
    packs: tuple[PackRecord, ...] = ()
    retired: tuple[VersionRow, ...] = ()
    uploads: tuple[UploadRow, ...] = ()
    roots: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.packs or self.retired or self.uploads)


class Orphan(Record, frozen=True, kw_only=True):
    """A pack in a location that no row knows and no running upload wrote."""

    location: str
    pack: str
    size: int


class Garbage(Record, frozen=True, kw_only=True):
    """What a survey found.

    Attributes:
        kept_packs: known packs that stay.
        partly_used_bytes: of the chunks in them that nothing kept reaches; they go when the whole pack does.
        skipped: domains of which nothing is taken now, each with the reason.
    """

    domains: tuple[DomainGarbage, ...]
    orphans: tuple[Orphan, ...]
    kept_packs: int
    partly_used_bytes: int
    skipped: Mapping[str, str]

    @property
    def packs(self) -> int:
        """How many packs go."""
        return sum(len(d.packs) for d in self.domains) + len(self.orphans)

    @property
    def bytes(self) -> int:
        """How many bytes go."""
        known = sum(pack.size for d in self.domains for pack in d.packs)
        return known + sum(orphan.size for orphan in self.orphans)

    @property
    def versions_emptied(self) -> int:
        """How many retired versions lose their bytes, for good."""
        return sum(len(d.retired) for d in self.domains)


class Collected(Record, frozen=True, kw_only=True):
    """What was removed. `failed` names packs that could not be: the next collection tries again."""

    packs: int
    bytes: int
    temporary_files: int
    failed: tuple[str, ...]


# looking


def survey(readers: Readers, grace: timedelta) -> Garbage:
    """What is garbage now."""
    # The order is what makes it safe without one snapshot of all: a pack that is listed was put by an upload that had
    # its row by then; where that row is gone when uploads are read, the pack's own row is there when packs are.
    listed = [
        Orphan(location=name, pack=found.name.removeprefix(PACKS), size=found.size)
        for name, location in readers.locations.items()
        for found in location.list(PACKS)
    ]
    since = moment(datetime.now(UTC) - grace) if grace else ""
    with readers.database.read() as tx:
        uploads, packs, versions = rows.uploads(tx), rows.packs(tx), rows.content_versions(tx)
        restorable = _retired_since(tx, since) if since else frozenset()
    now = moment(datetime.now(UTC))
    running = [upload for upload in uploads if upload.is_running(now)]
    doomed = {v.key for v in versions if v.state == "retired" and not v.refs and v.key not in restorable}
    domains, skipped, partly = [], {}, 0
    for domain in sorted({v.domain for v in versions} | {p.domain for p in packs} | {u.domain for u in uploads}):
        try:
            found, unused = _survey_domain(readers, domain, versions, packs, doomed)
        except FalajError as error:
            skipped[domain] = str(error)
            continue
        if any(upload.domain == domain for upload in running):
            skipped[domain] = "an upload is running"
            continue
        dead = tuple(upload for upload in uploads if upload.domain == domain)
        domains.append(msgspec.structs.replace(found, uploads=dead))
        partly += unused
    known, kept = {pack.id for pack in packs}, {upload.id for upload in uploads if upload.domain in skipped}
    orphans = [o for o in listed if o.pack not in known and upload_of(o.pack) not in kept]
    return Garbage(
        domains=tuple(d for d in domains if not d.is_empty),
        orphans=tuple(orphans),
        kept_packs=len(packs) - sum(len(d.packs) for d in domains),
        partly_used_bytes=partly,
        skipped=skipped,
    )


def _survey_domain(
    readers: Readers, domain: str, versions: Sequence[VersionRow], packs: Sequence[PackRecord], doomed: set[str]
) -> tuple[DomainGarbage, int]:
    """The garbage of a domain, and the unused bytes of what stays. Raises: FalajError where a tree cannot be read."""
    mine = [v for v in versions if v.domain == domain]
    uses = {pack.id: _Use(readers, pack.id) for pack in packs if pack.domain == domain}
    try:
        for location, group in groupby(mine, key=lambda v: v.location):
            _mark(readers, domain, location, {v.content for v in group if v.key not in doomed}, uses)
    except KeyDestroyed:
        uses = {pack: _Use(readers, pack) for pack in uses}
    free = tuple(pack for pack in packs if pack.id in uses and not uses[pack.id].is_used)
    found = DomainGarbage(
        domain=domain,
        packs=free,
        retired=tuple(v for v in mine if v.key in doomed),
        roots=frozenset(v.content for v in mine if v.key not in doomed),
    )
    return found, sum(use.unused_bytes for use in uses.values() if use.is_used)


def _mark(readers: Readers, domain: str, location: str, roots: Iterable[str], uses: Mapping[str, _Use]) -> None:
    reader = readers.reader(domain, location)
    seen: set[bytes] = set()
    for root in roots:
        needed = reached(Tree(reader, root), seen)
        while batch := list(islice(needed, _AT_ONCE)):
            places = reader.index.find([r.name for r in batch])
            for need in batch:
                place = places.get(need.name)
                if place is None or place.pack not in uses:
                    raise ChunkMissing(f"{need.path}: chunk b3k:{need.name.hex()} of {domain} is not in the index")
                uses[place.pack].mark(place)


class _Use:
    """Which chunks of a pack are reached; 9 bytes a chunk."""

    def __init__(self, readers: Readers, pack: str) -> None:
        self._starts, self._lengths = array("I"), array("I")
        with readers.database.read() as tx:
            for _, place in rows.chunks_of(tx, pack):
                self._starts.append(place.offset)
                self._lengths.append(place.length)
        self._used = bytearray(len(self._starts))

    def mark(self, place: ChunkPlace) -> None:
        self._used[bisect_left(self._starts, place.offset)] = 1

    @property
    def is_used(self) -> bool:
        return any(self._used)

    @property
    def unused_bytes(self) -> int:
        return sum(length for length, used in zip(self._lengths, self._used, strict=True) if not used)


def _retired_since(tx: Transaction, since: str) -> frozenset[str]:
    """Keys of the version rows that were retired after a time, by the ledger."""
    entries = (msgspec.json.decode(body, type=Entry) for body in rows.retired_since(tx, since))
    return frozenset(change.key for entry in entries for change in entry.changes if change.table == VERSION.name)


# forgetting


def forget(unit: Unit, versions: catalog.Catalog, garbage: Garbage) -> Garbage:
    """Drop the rows of what is garbage still. See `Contents.forget`."""
    done: list[DomainGarbage] = []
    kept: set[str] = set()
    skipped = dict(garbage.skipped)
    for found in garbage.domains:
        rows.lock_domain(unit.tx, found.domain)
        reason = _kept_by(unit.tx, found)
        if reason:
            skipped[found.domain] = reason
            kept.update(upload.id for upload in found.uploads)
            continue
        for upload in found.uploads:
            rows.end_upload(unit.tx, upload.id)
        for pack in found.packs:
            rows.drop_pack(unit.tx, pack.id)
        for row in found.retired:
            _erase(unit, versions, row)
        done.append(found)
    # An upload that was dead and not forgotten may have committed: its packs are no orphans any more.
    orphans = tuple(o for o in garbage.orphans if upload_of(o.pack) not in kept)
    more = sum(len(d.packs) for d in garbage.domains) - sum(len(d.packs) for d in done)
    return msgspec.structs.replace(
        garbage, domains=tuple(done), orphans=orphans, skipped=skipped, kept_packs=garbage.kept_packs + more
    )


def _kept_by(tx: Transaction, found: DomainGarbage) -> str:
    """What came since the survey and keeps the domain; "" where nothing did."""
    now = moment(datetime.now(UTC))
    if any(upload.is_running(now) for upload in rows.uploads(tx, found.domain)):
        return "an upload began"
    for row in found.retired:
        held = VERSION.get(tx, row.asset, row.number, lock=True)
        if held is None or held.state != "retired":
            return "a version was restored"
    doomed = {row.key for row in found.retired}
    for version in rows.versions_of(tx, found.domain):
        if version.key not in doomed and version.content not in found.roots:
            return "a version was added"
        if version.key in doomed and version.refs:
            return "a ref holds a retired version"
    return ""


def _erase(unit: Unit, versions: catalog.Catalog, row: VersionRow) -> None:
    asset, version = ASSET.get(unit.tx, row.asset), VERSION.get(unit.tx, row.asset, row.number)
    if asset is not None and version is not None:
        versions.set_state(unit, asset, version, "erased")


# removing


def remove(readers: Readers, garbage: Garbage) -> Collected:
    """Remove what is forgotten. See `Contents.remove`."""
    count, size, failed = 0, 0, []
    for location, pack, length in _forgotten(garbage):
        try:
            removed = readers.location(location).delete(pack_name(pack))
        except FalajError as error:
            failed.append(f"{location}: {pack}: {error}")
            continue
        count, size = count + removed, size + removed * length
    swept = sum(location.sweep() for location in readers.locations.values())
    return Collected(packs=count, bytes=size, temporary_files=swept, failed=tuple(failed))


def _forgotten(garbage: Garbage) -> Iterator[tuple[str, str, int]]:
    for found in garbage.domains:
        for pack in found.packs:
            yield pack.location, pack.id, pack.size
    for orphan in garbage.orphans:
        yield orphan.location, orphan.pack, orphan.size
