"""Markup that is built, never pasted: what is not `Markup` already is escaped, so a name can never become a tag.

The elements are written as XML wants them too (every tag closed, every attribute quoted), so that a page can be checked
by any XML parser.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})

# What has no glyph or changes how its neighbours are read: control characters, lone surrogates, text direction.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ATTRIBUTE = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*\Z")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def plain(value: object) -> str:
    """A value as text that shows what it is: what would be invisible is shown as the replacement character."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", str(value))


def escaped(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(html.escape(plain(value)))


def joined(*children: object) -> Markup:
    """Children one after the other; None is nothing, and an iterable is its items."""
    return Markup("".join(_flat(children)))


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """One element.

    Args:
        tag: written as it is: always a word of this package's own.
        attributes: `class_` is `class`, `aria_label` is `aria-label`, `viewBox` stays; None and False are left out,
            True is the attribute's own name, as in `hidden="hidden"`.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{joined(*children)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if not _ATTRIBUTE.match(name):
        raise ValueError(f"{name!r} is not the name of an attribute")
    return f' {name}="{html.escape(plain(name if value is True else value))}"'


def _flat(children: Iterable[object]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Iterable) and not isinstance(child, str):
            yield from _flat(child)
        else:
            yield escaped(child)
