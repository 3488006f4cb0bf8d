"""Scopes as people type them: `model/delay@production` in the project at hand, `store`, or the full form."""

from __future__ import annotations

from falaj.core.errors import Invalid
from falaj.core.names import Thing


def scope(project: str, text: str) -> str:
    """The full form of a scope; the project's own for no text.

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
