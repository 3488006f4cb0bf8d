"""YAML files read strictly, with the line of every field, so that an error can name the place.

Only what JSON can say is read: no tags, anchors, aliases or merge keys, no dates by luck, no `yes` that becomes true,
no key twice. So a document has one meaning, is small, and turns into canonical data without loss.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from math import isfinite
from typing import Any, Final, NoReturn, Self

import msgspec
import yaml

from falaj.core.errors import Invalid, TooLarge
from falaj.core.names import printable

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 24
MAX_TEXT: Final = 16 * 1024

Plain = bool | int | float | str | list[Any] | dict[str, Any] | None
Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


class Document(msgspec.Struct, frozen=True):
    """Plain data with the line (from 1) at which each of its parts starts."""

    data: Plain
    lines: dict[Path, int]
    name: str


def read(text: str | bytes, *, name: str) -> Document:
    """Read one YAML document.

    Args:
        name: what to call the file in messages.
    Raises: TooLarge over 256 KiB; Invalid with the line for anything that is not plain, strict YAML.
    """
    size = len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else len(text)
    if size > MAX_BYTES:
        raise TooLarge(f"{name}: {size:,} bytes; at most {MAX_BYTES:,} are read", next_step="shorten the file")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Invalid(f"{name}: byte {error.start} is not UTF-8", next_step="save the file as UTF-8") from error
    builder = _Builder(name)
    try:
        data = builder.document(iter(yaml.parse(text, Loader=yaml.SafeLoader)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise Invalid(f"{name}{where}: not YAML: {problem}", next_step="check indentation and quotes there") from error
    return Document(data, builder.lines, name)


def plain(data: object, *, name: str) -> Document:
    """The same kind of document from data that came without a file (JSON, a stored payload); it has no lines.

    Raises: Invalid for anything that JSON cannot say or that is nested too deeply.
    """
    _check_plain(data, name, 0)
    return Document(data, {}, name)  # type: ignore[arg-type]


def _check_plain(value: object, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Invalid(f"{name}: nested deeper than {MAX_DEPTH} levels", next_step="flatten it")
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise Invalid(f"{name}: key {str(key)[:40]!r} is not text", next_step="quote the key")
            _check_plain(key, name, depth)
            _check_plain(part, name, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _check_plain(part, name, depth + 1)
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise Invalid(f"{name}: half a character (a lone surrogate)", next_step="send the character itself")
    elif isinstance(value, float):
        if not isfinite(value):
            raise Invalid(f"{name}: {value} is not a number that can be stored")
    elif value is not None and not isinstance(value, bool | int):
        raise Invalid(f"{name}: {type(value).__name__} is not plain data", next_step="use text, numbers, lists, maps")


class _Builder:
    """Builds plain data from parser events, so that depth and size are bounded before anything is built."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}

    def document(self, events: Iterator[Any]) -> Plain:
        data: Plain = None
        seen = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                seen += 1
                if seen > 1:
                    self._refuse(event, "a second document starts here", "keep one contract in a file")
                data = self._value(next(events), events, ())
        if not seen:
            raise Invalid(f"{self.name}: the file is empty", next_step="see examples/flights/contracts/flights.yaml")
        return data

    def _value(self, event: Any, events: Iterator[Any], path: Path) -> Plain:
        self.lines[path] = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse(event, "anchors and aliases are not read", "write the value out")
        if len(path) > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if event.tag is not None:
            self._refuse(event, f"tag {event.tag[:40]!r} is not read", "leave the tag out")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._value(event, events, (*path, len(items))))
            return items
        fields: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.value == "<<":
                self._refuse(event, "a key must be plain text", "write key: value")
            key, line = self._text(event), _line(event)
            if key in fields:
                self._refuse(event, f"key {printable(key)} stands here a second time", "keep one of them")
            fields[key] = self._value(next(events), events, (*path, key))
            self.lines[(*path, key)] = line
        return fields

    def _text(self, event: Any) -> str:
        """The text of a scalar. Escapes may spell a character as two surrogates, as JSON does; one alone is refused."""
        text = str(event.value)
        try:
            return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refuse(event, "half a character (a lone surrogate)", "write the character itself")

    def _scalar(self, event: Any) -> Plain:
        text = self._text(event)
        if event.tag is not None:
            self._refuse(event, f"tag {event.tag[:40]!r} is not read", "leave the tag out")
        if len(text) > MAX_TEXT:
            self._refuse(event, f"text of {len(text):,} characters", f"keep it below {MAX_TEXT:,}")
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            if abs(number := float(text)) == float("inf"):
                self._refuse(event, f"{text} is too large for a number", "quote it, or write a smaller one")
            return number
        return text

    def _refuse(self, event: Any, what: str, next_step: str) -> NoReturn:
        raise Invalid(f"{self.name} line {_line(event)}: {what}", next_step=next_step)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class View:
    """One part of a document, read field by field; every complaint names the field and its line.

    `hint` is the next step of a complaint that has none of its own.
    """

    hint = "see the Open Data Contract Standard v3.1"

    def __init__(self, document: Document, path: Path = (), value: Any = ...) -> None:
        self.document, self.path = document, path
        self.value: Any = document.data if value is ... else value

    def refuse(self, what: str, next_step: str = "", *, field: str | None = None) -> NoReturn:
        path = self.path if field is None else (*self.path, field)
        line = self.document.lines.get(path) or self.document.lines.get(self.path)
        where = "".join(f"[{p}]" if isinstance(p, int) else f".{_plainly(p)}" for p in path).lstrip(".")
        place = self.document.name + (f" line {line}" if line else "") + (f": {where}" if where else "")
        raise Invalid(f"{place}: {what}", next_step=next_step or self.hint)

    def only(self, fields: frozenset[str]) -> Self:
        """This part is a map with no other fields than these."""
        if not isinstance(self.value, dict):
            self.refuse(f"expected fields, got {_kind(self.value)}")
        for field in self.value:
            if field not in fields:
                self.refuse("unknown field", f"known here: {', '.join(sorted(fields))}", field=field)
        return self

    def has(self, field: str) -> bool:
        return self.value.get(field) is not None

    def at(self, field: str) -> Self:
        return type(self)(self.document, (*self.path, field), self.value.get(field))

    def items(self, field: str, *, least: int = 0, most: int) -> list[Self]:
        """The parts of a list; absent is empty."""
        value = self.value.get(field)
        if value is None:
            value = []
        if not isinstance(value, list):
            self.refuse(f"expected a list, got {_kind(value)}", field=field)
        if not least <= len(value) <= most:
            self.refuse(f"{len(value)} items; {least} to {most} are read", field=field)
        return [type(self)(self.document, (*self.path, field, i), item) for i, item in enumerate(value)]

    def text(self, field: str, *, default: str | None = None, one_of: Collection[str] = ()) -> str:
        value = self.value.get(field)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.refuse(f"expected text, got {_kind(value)}", field=field)
        if one_of and value not in one_of:
            self.refuse(f"{printable(value)} is not one of {', '.join(one_of)}", field=field)
        return value

    def flag(self, field: str) -> bool:
        value = self.value.get(field, False)
        if not isinstance(value, bool):
            self.refuse(f"expected true or false, got {_kind(value)}", field=field)
        return value

    def number(self, field: str) -> int | float:
        value = self.value.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"expected a number, got {_kind(value)}", field=field)
        return value


def _plainly(text: str) -> str:
    return text if text.isascii() and text.isalnum() else printable(text)


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return {dict: "fields", list: "a list", str: "text", bool: "true/false"}.get(type(value), "a number")
