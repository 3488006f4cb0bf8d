"""The bytes of versions: key domains, uploads, the rows that name what was uploaded, and reading.

Order is all. An upload's row is committed before its first pack; its packs and manifest are in the location, synced,
before the unit of work that names them (`record`); rows are forgotten before the packs they name are removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from falaj.core.errors import Conflict, FalajError, TooLarge
from falaj.core.ids import new_id
from falaj.core.records import Record, Version
from falaj.store import catalog
from falaj.store.content import checking, collecting, rows
from falaj.store.content.checking import Report
from falaj.store.content.collecting import Collected, Garbage
from falaj.store.content.reading import Readers
from falaj.store.keys.sql import StoreKeys
from falaj.store.metadata import Database
from falaj.store.objects import Change, FileEntry, Location, Staged, Tree, Upload, check_out, differences
from falaj.store.objects.errors import ContentErased, ContentUnknown, FileMissing
from falaj.store.objects.pack import TARGET_SIZE
from falaj.store.objects.upload import pack_name
from falaj.store.unit import Unit

Stored = Staged
Progress = Callable[[str, int, int], None]
RENEW_EVERY_S = 3600.0


class Domain(Record, frozen=True, kw_only=True):
    """A key domain, and whether its keys were made just now: then the caller says the entry."""

    name: str
    created: bool


class Contents:
    """The objects of a store.

    Reading opens snapshots of its own where no transaction of the thread is open. Uploading writes outside of the
    caller's transactions: never inside a unit of work.

    Args:
        locations: the places where packs may rest, by name.
        default: name of the location where new content goes.
        pack_size: the size at which a pack is full, in bytes; at most 32 MiB.
    """

    def __init__(
        self,
        database: Database,
        keys: StoreKeys,
        locations: Mapping[str, Location],
        default: str = "main",
        *,
        pack_size: int = TARGET_SIZE,
    ) -> None:
        self.database, self.keys, self.default = database, keys, default
        self._pack_size = pack_size
        self.readers = Readers(database, keys, locations)

    # writing

    def ensure_domain(self, unit: Unit, project_id: str, domain_name: str) -> Domain:
        """The key domain, made where it is not there yet. Raises: KeyMissing, KeyDestroyed of the project's key."""
        keys = self.keys.begin(unit)
        if keys.has_domain(domain_name):
            return Domain(name=domain_name, created=False)
        keys.create_domain(project_id, domain_name)
        return Domain(name=domain_name, created=True)

    @contextmanager
    def upload(self, domain_name: str) -> Iterator[ContentUpload]:
        """Begin an upload into a key domain; what is not finished when the block ends is removed.

        Raises: KeyMissing, KeyDestroyed, StoreReadOnly.
        """
        keys, location = self.keys.now.domain_keys(domain_name), self.readers.location(self.default)
        upload = new_id()
        with self.database.write() as tx:
            rows.begin_upload(tx, upload, domain_name)
        index = rows.SqlIndex(self.database, domain_name, self.default)
        alive = _Renewal(self.database, upload)
        inner = Upload(location, keys, index, upload=upload, pack_size=self._pack_size, alive=alive)
        handle = ContentUpload(self, inner)
        try:
            yield handle
        finally:
            if not handle.is_finished:
                self._give_up(inner)

    def _give_up(self, upload: Upload) -> None:
        # The failure that ended the block is the one to tell; what stays behind here is garbage for the collector.
        with suppress(FalajError):
            upload.abandon()
            with self.database.write() as tx:
                rows.end_upload(tx, upload.id)

    def record(self, unit: Unit, stored: Stored) -> catalog.Content:
        """Commit what an upload stored, in the unit that adds the version; ends the upload.

        Raises: UploadClosed where the upload, or a pack that it counts on, was collected meanwhile: add again.
        """
        rows.lock_domain(unit.tx, stored.domain)
        if not rows.end_upload(unit.tx, stored.upload):
            raise rows.lapsed(stored.upload)
        if not all(rows.has_pack(unit.tx, pack) for pack in stored.reused):
            raise rows.lapsed(stored.upload)
        rows.add_packs(unit.tx, stored.packs)
        return catalog.Content(
            root=stored.root,
            domain=stored.domain,
            location=stored.location,
            size_bytes=stored.size_bytes,
            stored_bytes=stored.stored_bytes,
        )

    @contextmanager
    def concluding(self, stored: Stored) -> Iterator[None]:
        """A block that records what was stored: where it fails before that is committed, the packs are removed."""
        try:
            yield
        except BaseException:
            with suppress(FalajError):  # the failure of the block is the one to tell; the collector finds the rest
                self.discard(stored)
            raise

    def discard(self, stored: Stored) -> None:
        """Remove what a finished upload stored, where no unit will record it; nothing where one has."""
        with self.database.write() as tx:
            ended = rows.end_upload(tx, stored.upload)
        if ended:
            for pack in stored.packs:
                self.readers.location(stored.location).delete(pack_name(pack.record.id))

    # reading

    def files(self, version: Version) -> tuple[FileEntry, ...]:
        """The files of a version, directory by directory; none where it has no content.

        Raises: ContentErased, KeyDestroyed, WrongKey, Damaged, LocationAway; as all that reads.
        """
        return tuple(self.tree(version).files()) if version.content else ()

    def checkout(self, version: Version, folder: Path, paths: Iterable[str] | None = None) -> list[Path]:
        """Write files of a version (all, or those named) below a folder; returns their paths, in that order.

        No link is followed below the folder and no file replaced. Raises: FileMissing, CheckoutRefused, StoreFull.
        """
        tree = self.tree(version)
        wanted = tree.files() if paths is None else [tree.find(path) for path in paths]
        return check_out(tree, wanted, folder)

    def stream(self, version: Version, path: str) -> Iterator[bytes]:
        """The bytes of one file, each chunk checked before it is given. Raises (as it is read): FileMissing."""
        tree = self.tree(version)
        yield from tree.stream(tree.find(path))

    def read(self, version: Version, path: str, *, limit: int) -> bytes:
        """The bytes of one small file. Raises: FileMissing; TooLarge for more than `limit` bytes."""
        tree = self.tree(version)
        file = tree.find(path)
        if file.size > limit:
            raise TooLarge(f"{path}: {file.size} bytes, at most {limit} are read here", next_step="stream it")
        return b"".join(tree.stream(file))

    def compare(self, before: Version, after: Version) -> Iterator[Change]:
        """Every path that differs between two versions of one key domain; equal subtrees are skipped unread."""
        if (before.domain, before.location) != (after.domain, after.location):
            raise Conflict("versions of different key domains or locations have digests that cannot be compared")
        old = self.tree(before)
        return differences(old, Tree(old.reader, str(after.content)))

    def tree(self, version: Version) -> Tree:
        """The tree of a version. Raises: ContentErased; FileMissing where it has no content."""
        if version.state == "erased":
            raise ContentErased(f"v{version.number}: its bytes were given up after it was retired")
        if version.content is None or version.domain is None or version.location is None:
            raise FileMissing(f"v{version.number}: it has no files")
        return Tree(self.readers.reader(version.domain, version.location), version.content)

    # upkeep

    def verify(self, progress: Progress = lambda _what, _done, _total: None) -> Report:
        """Read every pack and every tree; all that is wrong is named. Raises only where the metadata is away."""
        return checking.verify(self.readers, progress)

    def survey(self, *, grace: timedelta = timedelta(0)) -> Garbage:
        """What garbage collection would take. Changes nothing.

        Args:
            grace: how long a retired version keeps its bytes, so that it can be restored.
        """
        return collecting.survey(self.readers, grace)

    def forget(self, unit: Unit, versions: catalog.Catalog, garbage: Garbage) -> Garbage:
        """Drop the rows of what is still garbage and mark the emptied versions as erased. The caller says the entry.

        Returns: what `remove` may take once the unit is committed.
        """
        return collecting.forget(unit, versions, garbage)

    def remove(self, garbage: Garbage) -> Collected:
        """Remove the packs of committed `forget`, packs of dead uploads, and what interrupted puts left behind.

        Safe to interrupt and to repeat: the next survey finds what is left.
        """
        return collecting.remove(self.readers, garbage)


class ContentUpload:
    """Files on their way into one key domain. For one thread and one process; made by `Contents.upload`."""

    def __init__(self, contents: Contents, upload: Upload) -> None:
        self._contents, self._upload = contents, upload
        self.is_finished = False

    def add_file(self, path: str, stream: BinaryIO, *, sha256: bool = False) -> FileEntry:
        """Read a stream to its end into the tree. See `objects.Upload.add_file`."""
        return self._upload.add_file(path, stream, sha256=sha256)

    def keep(self, version: Version, paths: Sequence[str]) -> None:
        """Take files of an earlier version of the same domain and location into the tree; no byte is moved.

        Raises: FileMissing, ContentErased, ContentUnknown.
        """
        tree = self._contents.tree(version)
        if tree.reader.keys.domain != self._upload.domain:
            raise ContentUnknown(
                f"v{version.number} is of key domain {version.domain}, this upload of {self._upload.domain}",
                next_step="add the files themselves",
            )
        self._upload.keep([tree.find(path) for path in paths])

    def finish(self) -> Stored:
        """Store the manifest; all is in the location, synced, when this returns."""
        stored = self._upload.finish()
        self.is_finished = True
        return stored


class _Renewal:
    """Keeps the row of a long upload from expiring; told after each pack."""

    def __init__(self, database: Database, upload: str) -> None:
        self._database, self._upload = database, upload
        self._last = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last < RENEW_EVERY_S:
            return
        with self._database.write() as tx:
            rows.renew_upload(tx, self._upload)
        self._last = time.monotonic()
