"""Model files on their way in."""

from __future__ import annotations

from typing import Any

from falaj.cli import target
from falaj.session import Progress, Session, staged


def register(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Stage the model file and register it."""
    path = target.below(options, args.pop("path"))
    files = staged(session, [path], progress)
    return session.call("model.register", {"inputs": [], **args, "files": files}, progress=progress)
