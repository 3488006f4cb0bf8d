"""Writing the prediction log: into the page cache before an answer goes out, to the disk soon after.

A line that was written outlives the process, whatever ends it. What the machine's own fall can take is what was
written in the last tenth of a second. The event loop never waits for a disk: syncing and sealing are done by a thread.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from falaj.core import predictions
from falaj.core.ids import new_id
from falaj.serving.errors import NotLogged

SYNC_S: Final = 0.1
_END: Final = None


class PredictionLog:
    """The segments of one server. Everything but the thread belongs to the event loop.

    Args:
        say: told an event and its facts.
    """

    def __init__(self, folder: Path, *, segment_bytes: int, segment_s: float, say: Callable[..., None]) -> None:
        self._folder = folder
        self._most, self._longest = segment_bytes, segment_s
        self._say = say
        self._handle, self._size, self._since = -1, 0, 0.0
        self._path = folder
        self._dirty = False
        self._finished: queue.SimpleQueue[tuple[int, Path] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._keep, name="prediction log", daemon=True)

    def start(self) -> None:
        """Seal what dead servers left, and begin. A folder that takes no writing is told at the first prediction."""
        with suppress(OSError):
            predictions.seal_left(self._folder)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Append whole lines, all or none. Raises: NotLogged."""
        try:
            if self._handle < 0:
                self._open()
            self._append(lines)
        except OSError as error:
            raise NotLogged(
                f"the prediction log cannot be written to: {error.strerror}",
                next_step="make room, or give the server a folder that it may write to",
            ) from error
        self._dirty = True
        if self._size >= self._most:
            self.rotate()

    def tick(self) -> None:
        """Seal what is old enough, or what somebody asked to be sealed."""
        if predictions.take_ask(self._folder) or (self._size and time.monotonic() - self._since > self._longest):
            self.rotate()

    def rotate(self) -> None:
        """End the segment at hand; the next line begins another."""
        if self._handle >= 0:
            self._finished.put((self._handle, self._path))
            self._handle, self._size = -1, 0

    def close(self) -> None:
        """Seal, and wait for the disk."""
        self.rotate()
        self._finished.put(_END)
        self._thread.join()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = self._folder / f"{new_id()}{predictions.OPEN}"
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if path.exists():  # nobody took it for a dead server's before it was locked
                break
            os.close(handle)
        self._handle, self._path, self._size, self._since = handle, path, 0, time.monotonic()

    def _append(self, lines: bytes) -> None:
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size += len(lines)

    def _keep(self) -> None:
        while True:
            try:
                done: Any = self._finished.get(timeout=SYNC_S)
            except queue.Empty:
                self._sync()
                continue
            if done is _END:
                return
            handle, path = done
            try:
                if predictions.seal(handle, path) is not None:
                    self._say("sealed", segment=path.stem)
            except OSError as error:
                self._say("not_sealed", "error", segment=path.stem, message=str(error.strerror))
            finally:
                os.close(handle)

    def _sync(self) -> None:
        # Only this thread closes handles, so the one that is read here is open.
        handle, dirty = self._handle, self._dirty
        if not dirty or handle < 0:
            return
        self._dirty = False
        try:
            os.fdatasync(handle)
        except OSError as error:
            self._dirty = True
            self._say("not_synced", "error", message=str(error.strerror))
