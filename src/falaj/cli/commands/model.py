"""Model files on their way in."""

from __future__ import annotations

from typing import Any

from falaj.cli import target
from falaj.session import Progress, Session, staged

TYPES = ("number", "integer", "text", "boolean")


def register(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Stage the files and register them as one version."""
    files = staged(session, [target.below(options, name) for name in args.pop("paths")], progress)
    columns = [column(text) for text in args.pop("columns", ())]
    return session.call("model.register", {**args, "files": files, "columns": columns}, progress=progress)


def column(text: str) -> str | dict[str, str]:
    """`hour:integer` as an input of a model; a name alone stays one. The last colon counts: names may hold some."""
    name, colon, sort = text.rpartition(":")
    return {"name": name, "type": sort} if colon and sort in TYPES else text
