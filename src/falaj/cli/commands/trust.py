"""Scopes as people type them: `model/delay@production` in the project at hand, `store`, or the full form."""

from __future__ import annotations

from typing import Any

from falaj.core.errors import Invalid
from falaj.core.names import Thing
from falaj.session import Progress, Session


def why(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Explain a decision."""
    return session.call("access.why", _scoped(session, args, "resource"))


def who_can(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """List who may."""
    return session.call("access.who_can", _scoped(session, args, "resource"))


def grant(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Give a role."""
    return session.call("access.grant", _scoped(session, args, "scope"))


def revoke(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Take a binding away."""
    return session.call("access.revoke", _scoped(session, args, "scope"))


def bindings(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """List who holds which role."""
    return session.call("access.list", _scoped(session, args, "scope"))


def issue(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Make a token, good for the scopes as they were typed."""
    narrowed = [scope(session.project, text) for text in args.pop("scope", ())]
    return session.call("token.issue", {**args, **({"scope": narrowed} if narrowed else {})})


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


def _scoped(session: Session, args: dict[str, Any], name: str) -> dict[str, Any]:
    return {**args, name: scope(session.project, args.get(name, ""))}
