"""Files on their way into and out of versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from falaj.cli import target
from falaj.core.errors import Unavailable
from falaj.session import Progress, Session, check_files, fetch, staged


def add(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Stage the files and add them as one version."""
    paths = [target.below(options, name) for name in args.pop("paths")]
    check_files(paths)
    return session.call("data.add", {**args, "files": staged(session, paths, progress)}, progress=progress)


def get(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Write files of a version into a folder."""
    into: Path = target.below(options, args.get("into", "."))
    try:
        return fetch(
            session, args["thing"], into, args.get("file", ()), purpose=args.get("purpose", ""), progress=progress
        )
    except OSError as error:
        raise Unavailable(f"{into}: {error.strerror or error}", next_step="make room, or choose another") from error
