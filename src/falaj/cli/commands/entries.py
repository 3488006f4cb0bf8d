"""Entries by their number, wherever they stand; checkpoints that were kept elsewhere."""

from __future__ import annotations

from typing import Any

from falaj.cli import target
from falaj.cli.commands.config import read_text
from falaj.core.errors import NotFound
from falaj.session import Progress, Session


def show(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """One entry of the project, or else of the store."""
    return _found(session, "ledger.show", args)


def proof(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """The proof of one entry of the project, or else of the store."""
    return _found(session, "ledger.proof", args)


def verify(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Check the ledger, also against checkpoints in files."""
    kept = [read_text(target.below(options, name)) for name in args.pop("kept", ())]
    return session.call("ledger.verify", {**args, "kept": kept}, progress=progress)


def _found(session: Session, operation: str, args: dict[str, Any]) -> Any:
    try:
        return session.call(operation, {**args, "scope": f"project:{session.project}"})
    except NotFound:
        return session.call(operation, {**args, "scope": "store"})
