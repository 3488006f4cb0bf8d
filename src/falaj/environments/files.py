"""What lies in an environment: every file by size, time and SHA-256, so that a change is seen.

Looking at names, sizes and times takes milliseconds and comes before each use; reading every byte is `verify`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from falaj.core.errors import Damaged
from falaj.environments.lock import Lock, version_key

_SHOWN = 3


class File(msgspec.Struct, frozen=True, array_like=True):
    """A file or link.

    Attributes:
        path: below the environment's folder.
        changed: time of the last change of its bytes, nanoseconds.
        digest: `sha256:…` of its bytes; `link:…` with the place that a link points to.
    """

    path: str
    size: int
    changed: int
    digest: str = ""


def listed(folder: Path) -> list[File]:
    """The files below a folder by name, size and time, sorted by path."""
    return sorted(_walk(folder, ""), key=lambda file: file.path)


def digested(folder: Path, files: Iterable[File]) -> list[File]:
    """The same with their digests: every byte is read."""
    return [msgspec.structs.replace(file, digest=_digest(folder / file.path)) for file in files]


def check(folder: Path, known: list[File], *, whole: bool) -> None:
    """Whether what lies there is what was built.

    Args:
        whole: read every byte; else names, sizes and times are looked at.
    Raises: Damaged, with the first files that differ.
    """
    found = listed(folder)
    if whole:
        found = digested(folder, found)
    before = {file.path: file if whole else _plain(file) for file in known}
    now = {file.path: file for file in found}
    if before == now:
        return
    changed = [f"{path} changed" for path, file in now.items() if path in before and before[path] != file]
    missing = [f"{path} is missing" for path in before if path not in now]
    more = [f"{path} was put there" for path in now if path not in before]
    words = [*changed, *missing, *more]
    rest = f" and {len(words) - _SHOWN:,} more" if len(words) > _SHOWN else ""
    raise Damaged(
        f"environment {folder.parent.name[:12]}: {', '.join(words[:_SHOWN])}{rest}",
        next_step=f"falaj environment remove {folder.parent.name[:12]}, then build it again",
    )


def differences(lock: Lock, libraries: Path) -> list[str]:
    """How the distributions that are installed in a folder differ from the lock; empty where they do not."""
    installed = {
        _name(one.metadata["Name"]): one.version for one in metadata.distributions(path=[str(libraries)]) if one.name
    }
    pinned = {pin.name: pin.version for pin in lock.pins}
    out = [f"{name} {version} is missing" for name, version in pinned.items() if name not in installed]
    out += [f"{name} {version} is not in the lock" for name, version in installed.items() if name not in pinned]
    out += [
        f"{name} is {installed[name]}, not {version}"
        for name, version in pinned.items()
        if name in installed and version_key(installed[name]) != version_key(version)
    ]
    return out


def _plain(file: File) -> File:
    return msgspec.structs.replace(file, digest="")


def _name(text: str) -> str:
    return "-".join(part for part in text.lower().replace("_", "-").replace(".", "-").split("-") if part)


def _walk(folder: Path, below: str) -> Iterator[File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{path}/")
            else:
                about = entry.stat(follow_symlinks=False)
                yield File(path, about.st_size, about.st_mtime_ns)


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"link:{path.readlink()}"
    if not stat.S_ISREG(path.lstat().st_mode):
        return "other:"
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
