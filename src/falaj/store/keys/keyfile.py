"""The key file: a custodian that is one small file, either mode 0600 or protected by a passphrase.

The file is created once (link, never overwrite) and replaced whole (temporary file, fsync, rename, fsync of the
folder), so it is never half-written. With a passphrase, Argon2id makes the key that wraps each root; its cost is
written in the file.
"""

from __future__ import annotations

import fcntl
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from falaj.core.encoding import moment
from falaj.core.errors import Invalid, MissingPart, Unavailable
from falaj.core.ids import new_id
from falaj.store.keys.errors import (
    KeyExists,
    KeyFileDamaged,
    KeyFileExposed,
    KeyInUse,
    KeyMissing,
    KeyRowDamaged,
    WrongKey,
    WrongPassphrase,
)
from falaj.store.keys.material import KEY_SIZE, Secret, fresh_secret, unwrap, wrap

MAX_FILE = 1 << 20
_ROOT = b"falaj key file root 1\x00"


class Argon(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a passphrase: memory in KiB; the salt is per file."""

    salt: bytes
    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 65536


class _Root(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    key: bytes
    created_at: str


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    falaj: Literal["key file"] = "key file"
    v: Literal[1] = 1
    argon2id: Argon | None = None
    roots: tuple[_Root, ...]


class KeyFile:
    """A custodian in a file. Make one with `create` or `open`; both read the file once.

    Not for use by several threads while it rotates. Its `repr` shows the path and root ids only.
    """

    def __init__(self, path: Path, file: _File, lock: Secret | None, roots: dict[str, Secret]) -> None:
        self._path, self._file, self._lock, self._roots = path, file, lock, roots

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r}, roots={list(self._roots)})"

    @classmethod
    def create(cls, path: Path, *, passphrase: str | None = None, cost: Argon | None = None) -> KeyFile:
        """Make a new key file with one root, durably; never over an existing file.

        Args:
            cost: of the passphrase; the default takes about 0.1 s and 64 MiB.
        Raises: KeyExists; Invalid for an empty passphrase; Unavailable where the folder cannot be written.
        """
        argon = None if passphrase is None else cost or Argon(salt=os.urandom(16))
        lock = None if passphrase is None or argon is None else _stretch(passphrase, argon)
        root, key = new_id(), fresh_secret()
        file = _File(argon2id=argon, roots=(_sealed(root, key, lock),))
        try:
            _write(path, file, replace=False)
        except FileExistsError:
            raise KeyExists(f"key file {path}: exists already", next_step="open it, or name another path") from None
        except OSError as error:
            raise Unavailable(f"key file {path}: {error.strerror}", next_step="check the folder") from error
        return cls(path, file, lock, {root: key})

    @classmethod
    def open(cls, path: Path, *, passphrase: str | None = None) -> KeyFile:
        """Open a key file.

        Raises: KeyMissing, KeyFileExposed, KeyFileDamaged, WrongPassphrase, Unavailable.
        """
        file = _read(path)
        if file.argon2id is None:
            return cls(path, file, None, {r.id: Secret(r.key) for r in file.roots})
        if passphrase is None:
            raise WrongPassphrase(f"key file {path}: needs its passphrase", next_step="give the passphrase")
        lock = _stretch(passphrase, file.argon2id)
        try:
            roots = {r.id: unwrap(lock, r.key, _ROOT + r.id.encode(), what=f"root {r.id}") for r in file.roots}
        except KeyRowDamaged:
            raise WrongPassphrase(
                f"key file {path}: the passphrase does not open it", next_step="give the passphrase it was made with"
            ) from None
        return cls(path, file, lock, roots)

    @property
    def current(self) -> str:
        """Id of the root that wraps now."""
        return self._file.roots[-1].id

    @property
    def roots(self) -> tuple[str, ...]:
        """Ids of all roots held, oldest first."""
        return tuple(r.id for r in self._file.roots)

    def wrap(self, key: Secret, context: bytes) -> bytes:
        """Wrap under the current root, bound to the context."""
        return wrap(self._roots[self.current], key, context)

    def unwrap(self, root: str, wrapped: bytes, context: bytes, *, what: str) -> Secret:
        """Raises: WrongKey, KeyRowDamaged."""
        if root not in self._roots:
            raise WrongKey(
                f"{what}: wrapped by root {root}, which key file {self._path} does not hold",
                next_step="open the store with the key file it was made with",
            )
        return unwrap(self._roots[root], wrapped, context, what=what)

    def rotate(self) -> str:
        """Add a new root, durably, and make it the current one."""
        root, key = new_id(), fresh_secret()
        with self._alone():
            self._replace((*self._file.roots, _sealed(root, key, self._lock)))
        self._roots[root] = key
        return root

    def forget(self, root: str) -> None:
        """Destroy an earlier root. Raises: KeyInUse, WrongKey."""
        with self._alone():
            if root == self.current:
                raise KeyInUse(f"root {root} is the current one", next_step="rotate first")
            if root not in self._roots:
                raise WrongKey(f"root {root} is not in key file {self._path}")
            self._replace(tuple(r for r in self._file.roots if r.id != root))
        del self._roots[root]

    def change_passphrase(self, passphrase: str | None, *, cost: Argon | None = None) -> None:
        """Protect the same roots by another passphrase, or by none. The file is replaced whole."""
        argon = None if passphrase is None else cost or Argon(salt=os.urandom(16))
        lock = None if passphrase is None or argon is None else _stretch(passphrase, argon)
        with self._alone():
            roots = tuple(_sealed(r.id, self._roots[r.id], lock, r.created_at) for r in self._file.roots)
            file = _File(argon2id=argon, roots=roots)
            _write(self._path, file, replace=True)
        self._file, self._lock = file, lock

    def _replace(self, roots: tuple[_Root, ...]) -> None:
        file = msgspec.structs.replace(self._file, roots=roots)
        _write(self._path, file, replace=True)
        self._file = file

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time replaces the file, and only the file that it read."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if _read(self._path) != self._file:
                raise KeyInUse(f"key file {self._path}: changed since it was opened", next_step="open it again")
            yield
        finally:
            os.close(folder)


def _sealed(root: str, key: Secret, lock: Secret | None, created_at: str | None = None) -> _Root:
    raw = key.raw if lock is None else wrap(lock, key, _ROOT + root.encode())
    return _Root(id=root, key=raw, created_at=created_at or moment(datetime.now(UTC)))


def _stretch(passphrase: str, cost: Argon) -> Secret:
    if not passphrase:
        raise Invalid("passphrase: empty", next_step="give at least one character; a sentence is better")
    if not (8 <= len(cost.salt) <= 64 and 1 <= cost.iterations <= 64 and 1 <= cost.lanes <= 64):
        raise KeyFileDamaged("key file: the passphrase's cost is out of range", next_step="restore it from a backup")
    if not 8 * cost.lanes <= cost.memory_kib <= 1 << 20:
        raise KeyFileDamaged("key file: the passphrase's memory is out of range", next_step="restore it from a backup")
    text = unicodedata.normalize("NFC", passphrase).encode()
    try:
        stretcher = Argon2id(
            salt=cost.salt, length=KEY_SIZE, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
        )
        return Secret(stretcher.derive(text))
    except UnsupportedAlgorithm as error:
        raise MissingPart(
            "Argon2id: this build of cryptography lacks it", next_step="pip install --upgrade cryptography"
        ) from error


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise KeyMissing(f"key file {path}: not there", next_step="restore it from a backup") from None
    except OSError as error:
        raise Unavailable(f"key file {path}: {error.strerror}", next_step="check its owner and mode") from error
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise KeyFileDamaged(f"key file {path}: not a key file", next_step="restore it from a backup") from None
    size = KEY_SIZE if file.argon2id is None else KEY_SIZE + 8
    if not file.roots or any(len(r.key) != size for r in file.roots):
        raise KeyFileDamaged(f"key file {path}: a root key has the wrong size", next_step="restore it from a backup")
    if mode & (0o077 if file.argon2id is None else 0o022):
        raise KeyFileExposed(
            f"key file {path}: mode {mode & 0o777:04o} lets others reach it", next_step=f"chmod 600 {path}"
        )
    return file


def _write(path: Path, file: _File, *, replace: bool) -> None:
    temporary = path.with_name(f".{path.name}.{new_id()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            temporary.rename(path)
        else:
            os.link(temporary, path)
            temporary.unlink()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
