"""The folder of one deployment: what its writer and its inference server agree on.

    <revision>.json            a signed document, see `bundle`
    models/<version>/<path>    the files of its models
    current                    the revision that is in force, in digits; replaced by rename, so it is never half there
    served                     the last document that a server here took up, so that none goes back after a restart
    log/                       predictions, see `predictions`

One writer at a time; any number of readers. Every file is written beside its place and renamed, so none is ever seen
half written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from falaj.core.bundle import MAX_DOCUMENT, MAX_FILE, Bundle, BundleDamaged, BundleFile, BundleRefused
from falaj.core.errors import Unavailable
from falaj.core.ids import new_id
from falaj.core.names import tree_path

_REVISION: Final = re.compile(rb"([1-9][0-9]{0,17})\n")
_DOCUMENT: Final = re.compile(r"([1-9][0-9]{0,17})\.json")
_DRAFT_S: Final = 60.0
_HINT: Final = "write the bundle again from the deployment"

Stamp = tuple[int, int, int]


class BundleFolder:
    """One such folder.

    Args:
        root: need not be there yet for a writer.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"
        self._current = root / "current"

    # what both ask

    def stamp(self) -> Stamp | None:
        """Changes whenever `current` was replaced; None while there is none. Cheap: one `stat`."""
        return _stamp(self._current)

    def stamps(self, revision: int) -> tuple[Stamp | None, Stamp | None]:
        """`stamp`, and the same of a document: both stay as they are as long as nobody wrote."""
        return self.stamp(), _stamp(self._document(revision))

    def revision(self) -> int:
        """The revision in force. Raises: Unavailable where there is none; BundleDamaged."""
        try:
            data = self._current.read_bytes()
        except OSError as error:
            raise Unavailable(f"{self._current}: {error.strerror}", next_step="deploy something first") from error
        match = _REVISION.fullmatch(data)
        if match is None:
            raise BundleDamaged(f"{self._current}: not the number of a revision", next_step=_HINT)
        return int(match[1])

    def document(self, revision: int) -> bytes:
        """The bytes of a document, unverified. Raises: BundleDamaged where it is missing or too large."""
        return self._read(self._document(revision), MAX_DOCUMENT)

    def file(self, version: str, file: BundleFile) -> bytes:
        """The bytes of a model's file, checked. Raises: BundleDamaged; BundleRefused for a path that leads out."""
        data = self._read(self._model_file(version, file), MAX_FILE)
        if len(data) != file.size_bytes or "sha256:" + hashlib.sha256(data).hexdigest() != file.sha256:
            raise BundleDamaged(f"models/{version}/{file.path}: not the bytes that were signed", next_step=_HINT)
        return data

    def opened(self, version: str, file: BundleFile) -> BinaryIO:
        """A model's file as it lies there, unchecked, for whoever copies it. Raises: BundleDamaged, BundleRefused."""
        path = self._model_file(version, file)
        try:
            return path.open("rb")
        except OSError as error:
            raise BundleDamaged(f"{path}: {error.strerror}", next_step=_HINT) from error

    # what the writer does

    def place(self, version: str, file: BundleFile, pieces: Iterable[bytes]) -> None:
        """Put a model's file in its place; one that is there and right is left alone.

        Raises: BundleDamaged where the pieces are not the file; nothing of it is left then.
        """
        target = self._model_file(version, file)
        if target.is_file() and self._is_right(version, file):
            return
        hashed, size = hashlib.sha256(), 0
        temporary = self._temporary(target)
        try:
            with temporary.open("xb") as out:
                for piece in pieces:
                    hashed.update(piece)
                    size += len(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            if size != file.size_bytes or "sha256:" + hashed.hexdigest() != file.sha256:
                raise BundleDamaged(f"models/{version}/{file.path}: not the bytes that were signed", next_step=_HINT)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(target.parent)

    def publish(self, revision: int, document: bytes) -> None:
        """Put a document in force: every file of its models is in its place before. Doing it again changes nothing.

        Servers see it before it is synced, since a rollback is in a hurry; it is synced when this returns. A machine
        that falls in between may forget it: publish again what should be in force whenever a writer starts.
        """
        for path, data in ((self._document(revision), document), (self._current, b"%d\n" % revision)):
            self._write(path, data, sync=False)
        for path in (self._document(revision), self._current, self.root):
            _sync(path)

    def prune(self, bundle: Bundle, *, keep: int = 2) -> None:
        """Remove documents older than the `keep` before the one in force, models that it does not hold, drafts.

        A server that is still busy with an older document has its models in memory. What is half written was left by a
        writer that is no more, since there is one at a time; servers write `served`, which is left alone for a minute.
        """
        for draft in self.root.rglob(".*"):
            with suppress(FileNotFoundError):
                if not draft.name.startswith(".served.") or time.time() - draft.stat().st_mtime > _DRAFT_S:
                    draft.unlink()
        for path in self.root.glob("*.json"):
            match = _DOCUMENT.fullmatch(path.name)
            if match and int(match[1]) < bundle.revision - keep:
                path.unlink(missing_ok=True)
        for folder in (self.root / "models").glob("*"):
            if folder.name not in bundle.models:
                shutil.rmtree(folder, ignore_errors=True)

    # what the server remembers

    def remember(self, document: bytes) -> None:
        """Keep what was taken up. Best effort by design: a folder that cannot be written to can still be served."""
        self._write(self.root / "served", document)

    def remembered(self) -> bytes | None:
        """What a server took up last, unverified."""
        path = self.root / "served"
        return self._read(path, MAX_DOCUMENT) if path.is_file() else None

    def _document(self, revision: int) -> Path:
        return self.root / f"{revision}.json"

    def _model_file(self, version: str, file: BundleFile) -> Path:
        if not version.isdecimal() or tree_path(file.path) != file.path:
            raise BundleRefused(f"models/{version[:20]}: the path of a file leads elsewhere", next_step=_HINT)
        return self.root / "models" / version / file.path

    def _is_right(self, version: str, file: BundleFile) -> bool:
        try:
            self.file(version, file)
        except BundleDamaged:
            return False
        return True

    def _read(self, path: Path, most: int) -> bytes:
        try:
            with path.open("rb") as stream:
                data = stream.read(most + 1)
        except OSError as error:
            raise BundleDamaged(f"{path}: {error.strerror}", next_step=_HINT) from error
        if len(data) > most:
            raise BundleDamaged(f"{path}: more than {most:,} bytes", next_step=_HINT)
        return data

    def _write(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        temporary = self._temporary(path)
        try:
            with temporary.open("xb") as out:
                out.write(data)
                out.flush()
                if sync:
                    os.fsync(out.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if sync:
            _sync(path.parent)

    def _temporary(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f".{path.name}.{new_id()}")


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _sync(path: Path) -> None:
    """Sync a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
