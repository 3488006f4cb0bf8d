"""Files of a tree written into a folder. No link is followed below it, no file replaced, none left half-written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from falaj.core.errors import Conflict, Unavailable
from falaj.core.ids import new_id
from falaj.core.names import tree_path
from falaj.store.errors import StoreFull
from falaj.store.objects.records import FileEntry
from falaj.store.objects.tree import Tree


class CheckoutRefused(Conflict):
    """A file is there already, or a link stands where a folder belongs."""

    code = "checkout_refused"


def check_out(tree: Tree, files: Iterable[FileEntry], folder: Path) -> list[Path]:
    """Write files of a tree below a folder, which is made where it is missing; returns their paths, in order.

    Raises: CheckoutRefused, StoreFull, Unavailable; files written before stay.
    """
    written = []
    with _failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        parts = tree_path(file.path).split("/")
        with _failures(folder.joinpath(*parts)), _inside(folder, parts[:-1]) as place:
            _write(place, parts[-1], tree.stream(file))
        written.append(folder.joinpath(*parts))
    return written


def _write(place: int, name: str, data: Iterator[bytes]) -> None:
    """The file appears under its name whole, or not at all."""
    temporary = f".{new_id()}.part"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=place)
    try:
        with os.fdopen(handle, "wb", buffering=1 << 20) as file:
            file.writelines(data)
        os.link(temporary, name, src_dir_fd=place, dst_dir_fd=place, follow_symlinks=False)
    finally:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=place)


@contextmanager
def _inside(folder: Path, parts: Sequence[str]) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=handle)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise CheckoutRefused(f"{path}: is there already", next_step="name an empty folder") from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise CheckoutRefused(f"{path}: a link or a file stands in its way", next_step="name another folder") from (
                error
            )
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull(f"{path}: no space left", next_step="free space, then repeat") from error
        raise Unavailable(f"{path}: {error.strerror}", next_step="check the folder's owner and mode") from error
