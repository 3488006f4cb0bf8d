"""Files on their way into and out of versions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from falaj.core.errors import Invalid
from falaj.session import Progress, Session


def add(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Stage the files and add them as one version."""
    paths = files_below(options, args.pop("paths"))
    return session.call("data.add", {**args, "files": staged(session, paths, progress)}, progress=progress)


def files_below(options: dict[str, Any], names: Iterable[str]) -> list[Path]:
    """Paths as typed, below the folder of `-C`. Raises: Invalid for what is no file, and for two of one name."""
    paths = [Path(options.get("folder", "."), name) for name in names]
    seen: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise Invalid(f"{path}: no such file", next_step="give a file that you may read")
        if not path.is_file():
            raise Invalid(f"{path}: not a file", next_step="give files, not folders")
        if path.name in seen:
            raise Invalid(f"{seen[path.name]} and {path}: two files of one name", next_step="rename one of them")
        seen[path.name] = path
    return paths


def staged(session: Session, paths: list[Path], progress: Progress) -> list[dict[str, str]]:
    """Bring the files' bytes to where an operation can name them. Raises: Invalid for an unreadable one."""
    out = []
    for at, path in enumerate(paths):
        progress("sending", at, len(paths))
        try:
            one = session.stage(path)
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror or error}", next_step="give a file that you may read") from error
        out.append({"staged": one["staged"], "name": one["name"]})
    progress("sending", len(paths), len(paths))
    return out
