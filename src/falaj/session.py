"""A session: how a face (command line, Python, a test) calls operations, whether embedded or over HTTP.

Beside the port stand the two ways of bytes that every face needs: files in by `staged`, files out by `fetch`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from falaj.core.errors import Conflict, Damaged, Invalid, NotFound
from falaj.core.names import name, tree_path

Progress = Callable[[str, int, int], None]


class Session(Protocol):
    """Operations of one project, by name, in plain values."""

    project: str

    def call(
        self,
        operation: str,
        args: Mapping[str, Any] = {},
        *,
        idempotency_key: str = "",
        progress: Progress | None = None,
    ) -> Any:
        """Do one operation; a job is waited for. Returns plain values (dict, list). Raises: FalajError."""
        ...

    def stage(self, path: Path) -> dict[str, Any]:
        """Bring a file's bytes to where an operation can name them: {"staged", "name", "size"}."""
        ...

    def stream(self, operation: str, args: Mapping[str, Any] = {}) -> Iterator[bytes]:
        """The bytes of a transfer."""
        ...

    def close(self) -> None:
        """End the session."""
        ...


def encoded(args: Any) -> bytes:
    """Arguments as JSON: what may go through either kind of session. Paths become text, any mapping an object.

    Raises: Invalid for what is no plain value: other types, NaN, halves of characters, endless nesting.
    """
    try:
        return json.dumps(args, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"arguments: {error}", next_step="give plain values") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a plain value")


class FileThere(Conflict):
    """A file would be written over."""

    code = "file_there"


def staged(session: Session, paths: Sequence[Path], progress: Progress | None = None) -> list[dict[str, str]]:
    """Bring files to where an operation can name them; what the operation takes as its `files`.

    Raises: Invalid for what is no file, cannot be read, or has another's name.
    """
    check_files(paths)
    out = []
    for at, path in enumerate(paths):
        if progress is not None:
            progress("sending", at, len(paths))
        try:
            one = session.stage(path)
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror or error}", next_step="give a file that you may read") from error
        out.append({"staged": str(one["staged"]), "name": str(one["name"])})
    if progress is not None:
        progress("sending", len(paths), len(paths))
    return out


def check_files(paths: Iterable[Path]) -> None:
    """Raises: Invalid for what is no file, and for two files of one name; InvalidName."""
    seen: dict[str, Path] = {}
    for path in paths:
        name(path.name, "file name")
        if not path.is_file():
            wrong = "not a file" if path.exists() else "no such file"
            raise Invalid(f"{path}: {wrong}", next_step="give files that you may read, not folders")
        if path.name in seen:
            raise Invalid(f"{seen[path.name]} and {path}: two files of one name", next_step="rename one of them")
        seen[path.name] = path


def fetch(
    session: Session,
    thing: str,
    into: Path,
    only: Sequence[str] = (),
    *,
    purpose: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the files of a dataset's version below a folder, which is made where it is missing.

    Each file appears whole or not at all, none is written over, and no link in the folder is followed out of it.

    Args:
        thing: a ref is looked up once, so that all files are of one version.
        only: paths inside the version; default: all of them.
        purpose: what the data is read for, where a binding asks for it.
    Returns: what `data.files` says of those written, and the folder as "into".
    Raises: NotFound for a path that the version does not have; FileThere; Damaged for bytes that end early.
    """
    listed = session.call("data.files", {"thing": thing})
    wanted = [f for f in listed["files"] if not only or f["path"] in only]
    if missing := sorted(set(only) - {f["path"] for f in wanted}):
        raise NotFound(
            f"{thing} (v{listed['version']}) has no file {missing[0]!r}", next_step=f"falaj data files {thing}"
        )
    targets = [_below(into, tree_path(f["path"])) for f in wanted]
    for target in targets:
        if target.exists() or target.is_symlink():
            raise FileThere(f"{target} is there already", next_step="choose an empty folder")
    total, done = sum(f["size_bytes"] for f in wanted), 0
    for file, target in zip(wanted, targets, strict=True):
        if progress is not None:
            progress("writing", done, total)
        asked = {"thing": f"{listed['thing']}:{listed['version']}", "path": file["path"], "purpose": purpose}
        _write(session.stream("data.get", asked), target, file["size_bytes"])
        done += file["size_bytes"]
    return {**listed, "files": wanted, "into": str(into)}


def _below(root: Path, path: str) -> Path:
    """Where a path of a version lies below a folder. Raises: Invalid where a link leads out of it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = target.parent.resolve(strict=True).is_relative_to(root.resolve(strict=True))
    except OSError as error:
        raise Invalid(f"{root}: {error.strerror}", next_step="give a folder that you may write to") from error
    if not inside:
        raise Invalid(f"{target}: a link leads out of {root}", next_step="choose an empty folder")
    return target


def _write(pieces: Iterator[bytes], target: Path, size: int) -> None:
    """The bytes as a new file, by way of another name beside it: it gets its own once it is complete."""
    draft = target.with_name(f".falaj-{secrets.token_hex(8)}.part")
    try:
        written = 0
        with draft.open("xb") as file:
            for piece in pieces:
                file.write(piece)
                written += len(piece)
        if written != size:
            raise Damaged(f"{target.name}: {written:,} bytes came, {size:,} are due", next_step="get it again")
        target.hardlink_to(draft)  # unlike a rename, this never replaces a file that came meanwhile
    except FileExistsError:
        raise FileThere(f"{target} is there already", next_step="choose an empty folder") from None
    finally:
        draft.unlink(missing_ok=True)
