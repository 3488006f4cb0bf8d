"""Checkpoints kept outside of the database: the one thing that shows a cut tail or an older database put back.

A folder of small files, each a signed note under its size, written whole or not at all. It is worth as much as it is
out of reach of whoever can write to the database: another disk, another machine's mount, a share that others hold.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from falaj.core.errors import Invalid, Unavailable
from falaj.store.ledger.checkpoint import MAX_NOTE_BYTES, parse_checkpoint, parse_note
from falaj.store.ledger.errors import LedgerDamaged
from falaj.store.ledger.log import NEWEST

DIGITS = 20
DAY_S = 86_400
PART = ".part-"
STALE_S = 3_600
"""A note that is being written is there for moments; one this old was left by a process that died."""


class PublishFailed(Unavailable):
    """A checkpoint could not be put outside of the database."""

    code = "publish_failed"


class Publisher:
    """A folder that checkpoints are put into.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def at(cls, address: str, place: Path) -> Publisher:
        """The publisher that a setting names: `file:` and a path, below `place` where it is relative.

        Raises: Invalid for any other kind of address.
        """
        scheme, _, path = address.partition(":")
        if scheme != "file" or not path or "\0" in path:
            raise Invalid(
                f"[ledger] publish = {address[:80]!r}: file: and the path of a folder is expected",
                next_step='for example "file:/mnt/witness/flights"',
            )
        return cls(place / path)

    def publish(self, note: str) -> None:
        """Keep a note. Twice is once.

        Raises: LedgerDamaged where another note of the same size is kept already: two ledgers, or one rewritten;
            CheckpointInvalid for what is no note; PublishFailed.
        """
        size = parse_checkpoint(parse_note(note).text).size
        path = self.folder / f"{size:0{DIGITS}d}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._link(path, note.encode()):
                kept = path.read_text(encoding="utf-8", errors="replace")
                if parse_note(kept).text != parse_note(note).text:
                    raise LedgerDamaged(
                        f"{path}: another checkpoint of {size} entries was published before",
                        next_step="falaj ledger verify; two databases may share this folder",
                    )
            self._thin()
            self._sweep()
        except OSError as error:
            raise PublishFailed(
                f"{path}: {error.strerror or error}", next_step="make the folder for checkpoints writable"
            ) from error

    def newest(self) -> str | None:
        """The note of the greatest size, None where there is none yet. Raises: PublishFailed where it is unreadable."""
        found = (self._read(name) for name in reversed(self._names()))
        return next((note for note in found if note is not None), None)

    def kept(self) -> tuple[str, ...]:
        """Every note, by size. Raises: PublishFailed."""
        found = (self._read(name) for name in self._names())
        return tuple(note for note in found if note is not None)

    def _names(self) -> list[str]:
        try:
            names = [entry.name for entry in os.scandir(self.folder)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PublishFailed(
                f"{self.folder}: {error.strerror}", next_step="make the folder for checkpoints readable"
            ) from error
        return sorted(name for name in names if len(name) == DIGITS and name.isascii() and name.isdigit())

    def _read(self, name: str) -> str | None:
        """A note; None where it was thinned out since it was listed."""
        path = self.folder / name
        try:
            with path.open("rb") as file:
                # A file that is no note at all is left to the check of its signature, which refuses it.
                return file.read(MAX_NOTE_BYTES + 1).decode("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PublishFailed(f"{path}: {error.strerror}", next_step="make the checkpoint readable") from error

    def _link(self, path: Path, body: bytes) -> bool:
        """Write a file that appears whole; False where there is one already."""
        if path.exists():
            return False
        handle, temporary = tempfile.mkstemp(prefix=PART, dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        finally:
            Path(temporary).unlink()
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True

    def _thin(self) -> None:
        """Of notes older than the newest, only the last of each day stays: every later one covers it."""
        older = self._names()[-NEWEST - 2 : -NEWEST]
        with suppress(FileNotFoundError):  # another process thins the same folder
            days = [int((self.folder / name).stat().st_mtime // DAY_S) for name in older]
            if len(days) == 2 and days[0] == days[1]:
                (self.folder / older[0]).unlink()

    def _sweep(self) -> None:
        """Remove what processes left that died while they wrote."""
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):  # another process sweeps the same folder
                if entry.name.startswith(PART) and entry.stat().st_mtime < time.time() - STALE_S:
                    Path(entry.path).unlink()
