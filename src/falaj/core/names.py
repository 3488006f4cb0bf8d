"""Names: one type, one parser, for everything a person or a client may call by a word.

A name is never a path and never an address: bytes are reached by digest, places by declared location. So a name
is Unicode in NFC, at most 128 characters, of letters, digits, marks, and `. _ - +` inside; it starts with a letter
or a digit and holds no separators, spaces, controls, format or bidirectional marks.

Forms:
    name                        an asset in the project at hand; the kind follows from the context
    name@ref                    a ref of it            `delay@production`
    name:N                      a version by number    `delay:7`
    kind/name, kind/name@ref    where the bare name would be ambiguous   `contract/flights@main`
"""

from __future__ import annotations

import re
import unicodedata
from typing import Self

import msgspec

from falaj.core.errors import InvalidName

MAX_NAME = 128
MAX_PATH = 1024
_INSIDE = frozenset("._-+")
_OUTSIDE = re.compile(r"(?P<kind>[a-z][a-z_]{0,31})/")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def name(text: object, what: str = "name") -> str:
    """Parse one name; returns it in NFC.

    Args:
        text: what came in; anything but a `str` is refused.
        what: the word for it in the message ("project", "ref", …).
    Raises: InvalidName, with the first offending character and the rule.
    """
    if not isinstance(text, str):
        raise InvalidName(f"{what}: expected text, got {type(text).__name__}", next_step="give a name")
    normal = unicodedata.normalize("NFC", text)
    if not normal or len(normal) > MAX_NAME:
        raise InvalidName(
            f"{what}: {len(normal)} characters; a name has 1 to {MAX_NAME}", next_step="choose a name of that length"
        )
    if not _is_word(normal[0]) or normal.endswith("."):
        raise InvalidName(
            f"{what} {printable(normal)}: starts with a letter or a digit and does not end in a dot",
            next_step="choose a name such as flights or 2013-06",
        )
    for char in normal:
        if not (_is_word(char) or char in _INSIDE):
            raise InvalidName(
                f"{what} {printable(normal)}: U+{ord(char):04X} is not allowed",
                next_step="use letters, digits and . _ - + (no spaces, separators, controls or direction marks)",
            )
    return normal


def tree_path(text: object) -> str:
    """Parse the path of an entry inside a version: names joined by `/`, none of them hidden, `.` or `..`.

    Raises: InvalidName.
    """
    if not isinstance(text, str) or not text or len(text) > MAX_PATH:
        raise InvalidName(f"path: text of 1 to {MAX_PATH} characters is expected", next_step="shorten the path")
    return "/".join(name(part, "path part") for part in text.split("/"))


def printable(text: str) -> str:
    """Text quoted for a message: controls, marks and anything that could reorder a terminal line are escaped."""
    return ascii(text[:80]) if any(not (c.isprintable() and _is_plain(c)) for c in text) else repr(text[:80])


def _is_word(char: str) -> bool:
    return (char.isascii() and char.isalnum()) or unicodedata.category(char) in {
        "Lu",
        "Ll",
        "Lo",
        "Lt",
        "Mn",
        "Mc",
        "Nd",
    }


def _is_plain(char: str) -> bool:
    return unicodedata.category(char) not in {"Cf", "Cc", "Co", "Cs", "Cn"}


class Thing(msgspec.Struct, frozen=True):
    """A parsed address of a governed thing: an asset, one of its refs, or one of its versions."""

    name: str
    kind: str | None = None
    ref: str | None = None
    version: int | None = None

    @classmethod
    def parse(cls, text: object, *, kind: str | None = None) -> Self:
        """Parse `[kind/]name[@ref|:N]`.

        Args:
            kind: the kind meant where the text names none.
        Raises: InvalidName.
        """
        if not isinstance(text, str) or not text or len(text) > 3 * MAX_NAME:
            raise InvalidName("expected [kind/]name[@ref|:version]", next_step="for example delay@production")
        if match := _OUTSIDE.match(text):
            kind, text = match["kind"], text[match.end() :]
        if "@" in text:
            asset, _, ref = text.partition("@")
            return cls(name(asset), kind, name(ref, "ref"))
        if ":" in text:
            asset, _, number = text.partition(":")
            if not _VERSION.fullmatch(number):
                raise InvalidName(
                    f"version {printable(number)}: a whole number from 1", next_step="for example delay:7"
                )
            return cls(name(asset), kind, None, int(number))
        return cls(name(text), kind)

    def __str__(self) -> str:
        where = f"@{self.ref}" if self.ref else f":{self.version}" if self.version else ""
        return (f"{self.kind}/" if self.kind else "") + self.name + where
