"""Staged files: bytes that are here before the operation that names them.

Sent over HTTP, a file lies in the store's `staging/` until it is used or a day has passed. Embedded, it stays where it
is and only its word is kept; whoever changes it between judging and storing is refused. What a killed process left in
`scratch/`, where data lies in the clear while it is worked on, goes after a day as well.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from falaj.core.errors import Conflict, Invalid, NotFound, TooLarge
from falaj.core.ids import is_id, new_id
from falaj.door import Caller
from falaj.store.errors import StoreFull

KEPT_S = 24 * 3600
_PIECE = 1 << 20
_PLAIN = re.compile(r"[0-9A-Z]{26}\.part|[0-9A-Z]{26}")


class FileChanged(Conflict):
    """A file changed, or vanished, after it was named."""

    code = "file_changed"


class _State(NamedTuple):
    """What tells whether a file is still the same."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> _State:
        found = path.stat()
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class _Kept(NamedTuple):
    path: Path
    state: _State
    principal: str
    ours: bool


class StagedFiles:
    """The staged files of one process. Safe to use from several threads.

    Args:
        folder: for what is sent; private to the store's user.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def path(self, word: str, caller: Caller) -> Path:
        """The file staged under this word by this caller. Raises: NotFound, FileChanged."""
        with self._lock:
            kept = self._kept.get(word)
        if kept is None or kept.principal != caller.principal.id:
            raise NotFound(
                f"staged file {word[:40]!r}: no such thing, or not for you", next_step="send the file, then name it"
            )
        try:
            same = _State.of(kept.path) == kept.state
        except OSError:
            same = False
        if not same:
            raise FileChanged(f"{kept.path.name}: it changed while it was read", next_step="add it again")
        return kept.path

    def name(self, path: Path, caller: Caller) -> dict[str, Any]:
        """A word for a file of this machine, which stays where it is. Raises: NotFound, Invalid."""
        try:
            real = Path(os.path.realpath(path, strict=True))  # `resolve` tells loops of links by another error
            if not real.is_file():
                raise Invalid(f"{path}: not a regular file", next_step="give a file")
            with real.open("rb"):
                state = _State.of(real)
        except FileNotFoundError:
            raise NotFound(f"{path}: no such file", next_step="give the path of a file") from None
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror}", next_step="give a file that you may read") from error
        return self._keep(_Kept(real, state, caller.principal.id, ours=False), path.name, "")

    def take(self, stream: BinaryIO, file_name: str, caller: Caller, limit: int) -> dict[str, Any]:
        """Keep the bytes of a stream.

        Returns: {"staged", "name", "size", "sha256"}.
        Raises: TooLarge past `limit` bytes, StoreFull; nothing is left behind then.
        """
        word = new_id()
        part = self._folder / f"{word}.part"
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("xb") as file:
                while piece := stream.read(_PIECE):
                    size += len(piece)
                    if size > limit:
                        raise TooLarge(f"{file_name}: more than {limit:,} bytes", next_step="send it in parts")
                    digest.update(piece)
                    file.write(piece)
            path = part.rename(self._folder / word)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StoreFull(f"{file_name}: {error.strerror}", next_step="free space, then send it again") from error
            raise
        kept = _Kept(path, _State.of(path), caller.principal.id, ours=True)
        return self._keep(kept, file_name, "sha256:" + digest.hexdigest(), word)

    def done(self, words: Iterable[str]) -> None:
        """Forget files that an operation has used; what was sent here is removed."""
        for word in words:
            with self._lock:
                kept = self._kept.pop(word, None)
            if kept is not None and kept.ours:
                kept.path.unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove what was sent and named by nobody within a day; returns how many files."""
        removed, oldest = 0, time.time() - KEPT_S
        with self._lock:
            known = {kept.path for kept in self._kept.values()}
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if _PLAIN.fullmatch(path.name) and path not in known and path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
        return removed

    def _keep(self, kept: _Kept, file_name: str, digest: str, word: str = "") -> dict[str, Any]:
        word = word or new_id()
        assert is_id(word)  # noqa: S101  made here
        with self._lock:
            self._kept[word] = kept
        told: dict[str, Any] = {"staged": word, "name": os.path.basename(file_name), "size": kept.state.size}  # noqa: PTH119  a name, not a path
        return {**told, "sha256": digest} if digest else told


def sweep_scratch(folder: Path) -> int:
    """Remove folders that nobody has worked in for a day; returns how many."""
    removed, oldest = 0, time.time() - KEPT_S
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink() and max(_times(path)) < oldest:
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
    return removed


def _times(folder: Path) -> Iterable[float]:
    yield folder.stat().st_mtime
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            yield path.lstat().st_mtime
