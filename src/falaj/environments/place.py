"""The folder that environments are built in, once for each digest.

    <place>/<digest>/built.json   what it is; written last, when all of it is on the disk
    <place>/<digest>/lock.txt     the lock, in its one form
    <place>/<digest>/python/      the environment, as `python -m venv` makes one
    <place>/locks/<digest>        held by whoever builds it (alone) or uses it (with others)

One without `built.json` is not there: whoever comes next begins anew. It is built at the place where it is used, since
its programs name their own path. Whoever dies while building leaves the lock free, once what it began has ended too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from falaj.core.encoding import decode
from falaj.core.errors import Conflict, Damaged, NotFound, Unavailable
from falaj.environments import files, interpreters, pip
from falaj.environments.errors import BuildFailed
from falaj.environments.interpreters import Interpreter
from falaj.environments.lock import Lock, Pin, parse

WAIT_S: Final = 3600.0
_LOOK_S: Final = 0.1
_BUILT, _LOCK, _PYTHON, _LOCKS = "built.json", "lock.txt", "python", "locks"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One that was built.

    Attributes:
        digest: `sha256:…` of lock, Python and platform: what names it.
        python: its interpreter.
        version: of Python, as in `3.11`.
        seconds: how long building took.
        size_bytes: of its files.
        used_at: when it was last asked for.
    """

    digest: str
    python: Path
    version: str
    platform: str
    pins: tuple[Pin, ...]
    built_at: str
    seconds: float
    size_bytes: int
    used_at: str = ""

    def is_newer_than(self, seconds: float) -> bool:
        """Whether it was built since a moment, in seconds of `time.time`."""
        return self.built_at >= _now(seconds)


class _Built(msgspec.Struct, frozen=True, kw_only=True):
    """`built.json`."""

    form: int = 1
    digest: str
    version: str
    platform: str
    pins: tuple[Pin, ...]
    built_at: str
    seconds: float
    files: list[files.File]


def built(lock_text: str, place: Path, progress: pip.Progress | None = None, *, python: str = "") -> Environment:
    """The environment of a lock; built now where it is not there.

    Args:
        place: the folder of environments.
        progress: told several times a second what is done, in a few words; what it raises ends the build.
        python: version of Python, as in `3.12`; that of this process where it is empty.
    Raises: LockInvalid, BuildFailed, Damaged, MissingPart, Unavailable.
    """
    return Place(place).build(parse(lock_text), interpreters.find(python), progress)


class Place:
    """Environments of one folder. For any number of threads and processes.

    Args:
        folder: is made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, digest: str, *, whole: bool = False) -> Environment | None:
        """An environment by its digest, None where it is not built.

        Args:
            whole: read every byte of it; else names, versions, sizes and times are compared.
        Raises: Damaged where it is no longer what was built.
        """
        folder = self._folder(digest)
        record = self._read(folder)
        if record is None:
            return None
        if record.digest != digest or Lock(record.pins).digest(record.version, record.platform) != digest:
            raise Damaged(f"environment {folder.name[:12]}: {_BUILT} is not of this environment")
        files.check(folder / _PYTHON, record.files, whole=whole)
        if differs := files.differences(Lock(record.pins), _libraries(folder, record.version)):
            raise Damaged(f"environment {folder.name[:12]}: {', '.join(differs[:3])}")
        return self._environment(record)

    def build(self, lock: Lock, interpreter: Interpreter, progress: pip.Progress | None = None) -> Environment:
        """See `built`. Of several at once one builds, the others wait for it."""
        say = progress or (lambda words: None)
        digest = lock.digest(interpreter.python, interpreter.platform)
        if (found := self.find(digest)) is not None:
            self._touch(digest)
            return found
        with self._alone(digest, say) as held:
            if (found := self.find(digest)) is not None:
                return found
            folder = self._folder(digest)
            try:
                self._build(folder, lock, interpreter, digest, held, say)
            except BaseException:
                _drop(folder)
                raise
        found = self.find(digest)
        if found is None:
            raise Damaged(f"environment {digest[7:19]} was removed while it was built")
        return found

    @contextmanager
    def used(self, digest: str) -> Iterator[int]:
        """While it is used nobody removes it: by whoever has the open file that is handed out. Raises: NotFound."""
        handle = self._open(digest)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if not (self._folder(digest) / _BUILT).is_file():
                raise NotFound(f"environment {digest[7:19]} is not built", next_step="falaj environment build")
            os.utime(handle)
            yield handle
        finally:
            os.close(handle)

    def remove(self, digest: str) -> int:
        """Remove it; returns the bytes that it took. Raises: NotFound, Conflict where it is in use."""
        folder = self._folder(digest)
        if not folder.is_dir():
            raise NotFound(f"environment {folder.name[:12]} is not here", next_step="falaj environment list")
        handle = self._open(digest)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = sum(file.size for file in files.listed(folder))
            _drop(folder)
        except BlockingIOError as error:
            raise Conflict(
                f"environment {folder.name[:12]} is in use", next_step="wait for its runs, or cancel them"
            ) from error
        finally:
            os.close(handle)
        return size

    def digests(self) -> list[str]:
        """What has a folder here, sorted, whether it was built to its end or not."""
        with suppress(FileNotFoundError):
            return sorted(f"sha256:{one.name}" for one in self.folder.iterdir() if one.name != _LOCKS)
        return []

    def all(self) -> list[Environment]:
        """Those that were built, the one last used first; one that is damaged is among them while it can be read."""
        found = []
        for digest in self.digests():
            with suppress(Damaged):
                if (record := self._read(self._folder(digest))) is not None:
                    found.append(self._environment(record))
        return sorted(found, key=lambda one: one.used_at, reverse=True)

    # inside

    def _build(
        self, folder: Path, lock: Lock, interpreter: Interpreter, digest: str, held: int, say: pip.Progress
    ) -> None:
        started = time.monotonic()
        _drop(folder)  # what somebody left who did not come to the end
        try:
            folder.mkdir(mode=0o700, parents=True)
            (folder / _LOCK).write_text(lock.text, encoding="utf-8")
            say(f"Python {interpreter.python}, {len(lock.pins)} distributions")
            words = [interpreter.path, "-I", "-m", "venv", "--without-pip", str(folder / _PYTHON)]
            pip.run(words, folder, held, lambda line: say("making it"), "venv")
            pip.install(folder / _PYTHON / "bin" / "python", folder / _LOCK, len(lock.pins), held, say)
            if differs := files.differences(lock, _libraries(folder, interpreter.python)):
                raise BuildFailed(
                    f"pip installed something else than the lock names: {', '.join(differs[:3])}",
                    next_step="python -m pip config list shows what else pip was told",
                )
            say("checking")
            known = files.digested(folder / _PYTHON, files.listed(folder / _PYTHON))
            record = _Built(
                digest=digest,
                version=interpreter.python,
                platform=interpreter.platform,
                pins=lock.pins,
                built_at=_now(time.time()),
                seconds=round(time.monotonic() - started, 3),
                files=known,
            )
            os.sync()  # one for all: an environment has thousands of files
            _write(folder / _BUILT, msgspec.json.encode(record))
        except OSError as error:
            raise BuildFailed(f"environment {folder.name[:12]}: {error.strerror or error}") from error

    def _folder(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def _read(self, folder: Path) -> _Built | None:
        try:
            data = (folder / _BUILT).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return decode(data, _Built, _BUILT)
        except Exception as error:
            raise Damaged(f"environment {folder.name[:12]}: {_BUILT} cannot be read") from error

    def _environment(self, record: _Built) -> Environment:
        folder = self._folder(record.digest)
        used = ""
        with suppress(OSError):
            used = _now((self.folder / _LOCKS / folder.name).stat().st_mtime)
        return Environment(
            digest=record.digest,
            python=folder / _PYTHON / "bin" / "python",
            version=record.version,
            platform=record.platform,
            pins=record.pins,
            built_at=record.built_at,
            seconds=record.seconds,
            size_bytes=sum(file.size for file in record.files),
            used_at=used,
        )

    def _open(self, digest: str) -> int:
        try:
            (self.folder / _LOCKS).mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(
                self.folder / _LOCKS / self._folder(digest).name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise Unavailable(f"{self.folder}: {error.strerror}") from error

    def _touch(self, digest: str) -> None:
        with suppress(OSError):
            os.utime(self.folder / _LOCKS / self._folder(digest).name)

    @contextmanager
    def _alone(self, digest: str, say: pip.Progress) -> Iterator[int]:
        handle, until = self._open(digest), time.monotonic() + WAIT_S
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise Unavailable(f"environment {digest[7:19]}: another build of it does not end") from None
                    say("another process builds it")
                    time.sleep(_LOOK_S)
            os.utime(handle)
            yield handle
        finally:
            os.close(handle)


def _libraries(folder: Path, version: str) -> Path:
    return folder / _PYTHON / "lib" / f"python{version}" / "site-packages"


def _drop(folder: Path) -> None:
    """Remove a folder; what says that it is whole goes first."""
    (folder / _BUILT).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".part")
    with draft.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _now(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
