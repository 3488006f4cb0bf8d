"""A folder as a location: temporary file, fsync, link, fsync of the folder.

Every part of a path is opened without following links, so nothing in the folder can lead out of it; only names of our
own form are listed. A temporary file is locked while it is written: `sweep` removes those that nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from falaj.core.errors import Invalid
from falaj.core.ids import new_id
from falaj.store.errors import StoreFull, StoreReadOnly
from falaj.store.objects.errors import BlobMissing, LocationAway
from falaj.store.objects.location import Buffer, Listed, Place, checked_name, checked_prefix

_TEMPORARY = ".tmp"
_WRITE_AT_ONCE = 8 << 20


class FolderLocation:
    """Blobs as files below one folder. Safe to use from several threads and processes.

    Args:
        root: the folder; made where it is missing.
    Raises: LocationAway, StoreReadOnly.
    """

    def __init__(self, root: Path, place: Place) -> None:
        self._place = place
        self._root = Path(root)
        self._durable: set[tuple[str, ...]] = set()
        with self._failures("open"):
            if not self._root.is_dir():
                self._root.mkdir(parents=True, exist_ok=True)
                _sync_folder(self._root.parent)

    @property
    def place(self) -> Place:
        """What it declares of itself."""
        return self._place

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        """Create a file whole and durably; False where the name is taken."""
        *parts, last = checked_name(name).split("/")
        with (
            self._failures(name),
            self._folder(parts, make=True) as folder,
            self._folder([_TEMPORARY], make=True) as tmp,
        ):
            if _exists(last, folder):
                return False
            temporary, handle = _temporary(tmp)
            try:
                _write_all(handle, data)
                os.fsync(handle)
                os.link(temporary, last, src_dir_fd=tmp, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                return False
            finally:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=tmp)
                os.close(handle)
            os.fsync(folder)
            return True

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Raises: BlobMissing."""
        with self._failures(name), self._file(name) as handle:
            found = os.pread(handle, length, offset)
            if len(found) < length and offset + len(found) < os.fstat(handle).st_size:
                return found + self._rest(handle, length - len(found), offset + len(found))
            return found

    def size(self, name: str) -> int:
        """Raises: BlobMissing."""
        with self._failures(name), self._file(name) as handle:
            return os.fstat(handle).st_size

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """All files whose name starts with the prefix, by name; what is not of our own form is left out."""
        with self._failures(checked_prefix(prefix)):
            yield from self._walk([], prefix)

    def delete(self, name: str) -> bool:
        """Remove a file; False where there was none."""
        *parts, last = checked_name(name).split("/")
        try:
            with self._failures(name), self._folder(parts) as folder:
                os.unlink(last, dir_fd=folder)
                os.fsync(folder)
        except BlobMissing:
            return False
        return True

    def sweep(self) -> int:
        """Remove the temporary files that no process is writing."""
        removed = 0
        with suppress(BlobMissing), self._failures(_TEMPORARY), self._folder([_TEMPORARY]) as tmp:
            for name in _names(tmp):
                removed += _sweep_one(name, tmp)
        return removed

    def _walk(self, parts: Sequence[str], prefix: str) -> Iterator[Listed]:
        gone_meanwhile = (FileNotFoundError,) if parts else ()
        with suppress(*gone_meanwhile), self._folder(parts) as folder:
            for name in sorted(_names(folder), key=lambda n: _order(n, folder)):
                path = "/".join([*parts, name])
                if not (path.startswith(prefix) or prefix.startswith(path + "/")) or not _is_name(path):
                    continue
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and path.startswith(prefix):
                        yield Listed(path, found.st_size)
                    elif stat.S_ISDIR(found.st_mode):
                        yield from self._walk([*parts, name], prefix)

    @contextmanager
    def _folder(self, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for depth, part in enumerate(parts):
                if make:
                    self._make(part, handle, tuple(parts[: depth + 1]))
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    def _make(self, part: str, above: int, path: tuple[str, ...]) -> None:
        """Make a folder durably. One that is there may have been made by a process that did not live to sync it."""
        with suppress(FileExistsError):
            os.mkdir(part, 0o700, dir_fd=above)
            self._durable.discard(path)
        if path not in self._durable:
            os.fsync(above)
            self._durable.add(path)

    @contextmanager
    def _file(self, name: str) -> Iterator[int]:
        *parts, last = checked_name(name).split("/")
        with self._folder(parts) as folder:
            handle = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise LocationAway(f"location {self._place.name}: {name} is not a regular file")
                yield handle
            finally:
                os.close(handle)

    def _rest(self, handle: int, length: int, offset: int) -> bytes:
        parts = []
        while length and (part := os.pread(handle, length, offset)):
            parts.append(part)
            length, offset = length - len(part), offset + len(part)
        return b"".join(parts)

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        where = f"location {self._place.name}"
        try:
            yield
        except FileNotFoundError:
            if not self._root.is_dir():
                raise LocationAway(f"{where}: the folder {self._root} is gone", next_step="mount it") from None
            raise BlobMissing(f"{what}: not in {where}") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise LocationAway(f"{where}: {what} is reached by a link, which is not followed") from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(f"{where}: no space left for {what}", next_step="free space, then repeat") from error
            if error.errno == errno.EROFS:
                raise StoreReadOnly(f"{where}: the disk is read-only", next_step="mount it for writing") from error
            raise LocationAway(f"{where}: {what}: {error.strerror}", next_step="check owner and mode") from error


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as found:
        return [entry.name for entry in found]


def _temporary(tmp: int) -> tuple[str, int]:
    """A new file, locked. One that a sweep took before it was locked is left to it."""
    while True:
        name = new_id()
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=tmp)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return name, handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_name(path: str) -> bool:
    try:
        checked_name(path)
    except Invalid:
        return False
    return True


def _order(name: str, folder: int) -> str:
    """Blobs come by their whole name, in which `/` follows a folder's own."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return name + "/"
    return name


def _sweep_one(name: str, tmp: int) -> int:
    with suppress(FileNotFoundError, BlockingIOError):
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=tmp)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=tmp)
            return 1
        finally:
            os.close(handle)
    return 0


def _write_all(handle: int, data: Buffer) -> None:
    with memoryview(data) as view:
        at = 0
        while at < len(view):
            with view[at : at + _WRITE_AT_ONCE] as part:
                at += os.write(handle, part)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
