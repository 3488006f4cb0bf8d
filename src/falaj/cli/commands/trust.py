"""Scopes as people type them: `model/delay@production` in the project at hand, `store`, or the full form."""

from __future__ import annotations

from typing import Any

from falaj.core.errors import Invalid
from falaj.core.names import Thing
from falaj.session import Progress, Session


def on_resource(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """An operation of access on a `resource`."""
    operation = {"who-can": "access.who_can"}.get(args.pop("verb", ""), "access.why")
    return session.call(
        operation, {**args, "resource": scope(session.project, args.get("resource", ""))}, progress=progress
    )


def scope(project: str, text: str) -> str:
    """The full form of a scope.

    Raises: Invalid for an address without its kind, which a binding must name.
    """
    if not text:
        return f"project:{project}"
    if text == "store" or text.startswith(("project:", "asset:", "ref:")):
        return text
    thing = Thing.parse(text)
    if not thing.kind or thing.version:
        raise Invalid(
            f"scope {text[:60]!r}: kind/name or kind/name@ref is expected", next_step="such as model/delay@production"
        )
    return f"{'ref' if thing.ref else 'asset'}:{project}/{thing}"
