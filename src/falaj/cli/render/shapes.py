"""The shapes that results are told in: joined facts, fields, tables of records. Pure.

A renderer takes a result in plain values and the command's arguments, and returns lines without the margin that the
command line gives them. Every value passes `text.safe` or `text.plain` on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from falaj.cli.text import plain, safe, table

Lines = list[str]
MAX_PRINTED = 12
Renderer = Callable[[Any, Mapping[str, Any]], Lines]
_EMPTY: tuple[Any, ...] = (None, "", [], {}, ())


def joined(*parts: str) -> str:
    """Facts of one line, three spaces apart; empty ones are left out."""
    return "   ".join(part for part in parts if part)


def step(previous: object, version: object) -> str:
    """`v3 → v4`, or `v4` for a first one. Holder 0 and None are both "none yet"."""
    return f"v{safe(version)}" if not previous else f"v{safe(previous)} → v{safe(version)}"


def entry_of(result: Mapping[str, Any]) -> str:
    """`entry 1204`, by its number where it has one already; "" where there is none."""
    if result.get("entry") is not None:
        return f"entry {plain(result['entry'], 'leaf')}"
    return f"entry {safe(result['entry_id'])}" if result.get("entry_id") else ""


def short(thing: object) -> str:
    """An address as people type it: datasets and models need no kind."""
    return safe(str(thing).removeprefix("dataset/").removeprefix("model/"))


def indented(lines: Iterable[str], by: int = 2) -> Lines:
    """Lines further to the right."""
    return [" " * by + line if line else line for line in lines]


def fields(pairs: Iterable[tuple[str, Any]]) -> Lines:
    """Name and value in two columns; values that are absent are left out, records stand below as tables."""
    simple, deep = [], []
    for key, value in pairs:
        if value in _EMPTY:
            continue
        if is_records(value) or (
            isinstance(value, Mapping) and any(isinstance(v, Mapping | list) for v in value.values())
        ):
            deep.append((key, value))
        else:
            simple.append((words(key), plain(value, key)))
    lines = table(simple)
    for key, value in deep:
        lines.append(words(key))
        lines += indented(records(value) if is_records(value) else fields(value.items()))
    return lines


def records(rows: Sequence[Mapping[str, Any]], only: Sequence[str] = ()) -> Lines:
    """Records of one shape as a table, numbers ending together.

    Args:
        only: the fields shown, in order; else every field that any record has.
    """
    known = only or list(dict.fromkeys(k for row in rows for k in row))
    keys = [k for k in known if any(row.get(k) not in _EMPTY for row in rows)]
    body = [[plain(row.get(key), key) for key in keys] for row in rows]
    numeric = [i for i, k in enumerate(keys) if all(isinstance(r.get(k), int | float | None) for r in rows)]
    return table(body, [words(k) for k in keys], right=numeric)


def page(lines: Lines, following: object, flag: str) -> Lines:
    """A list, and how to see what comes after it."""
    return (lines or ["nothing"]) + ([f"more with {flag} {plain(following, 'leaf')}"] if following else [])


def words(key: str) -> str:
    """A field's name as people read it; its value says the unit."""
    return safe(key.removesuffix("_at").removesuffix("_bytes").replace("_", " "))


def is_records(value: Any) -> bool:
    """Whether a value is a list of records."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def told_plain(result: Any, given: Mapping[str, Any]) -> Lines:
    """Any result: fields of a record, or a table of records."""
    if isinstance(result, Mapping):
        if "items" in result:
            return told_rows(result, given)
        return fields(result.items()) or ["nothing"]
    if is_records(result):
        return records(result)
    if isinstance(result, list | tuple):
        return [plain(item) for item in result] or ["nothing"]
    return [] if result is None else [plain(result)]


def told_rows(result: Any, given: Mapping[str, Any]) -> Lines:
    """A page of records, and how to see the next."""
    items = result.get("items", []) if isinstance(result, Mapping) else result
    return page(records(items), result.get("next") if isinstance(result, Mapping) else None, "--after")


def told_done(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A plain yes, with its entry."""
    return [joined(short(result.get("thing", "done")), safe(result.get("note") or ""), entry_of(result))]


def printed_lines(log: Any) -> Lines:
    """The last that a step printed."""
    printed = str(log or "").splitlines()[-MAX_PRINTED:]
    return ["it printed", *indented(safe(line, 300) for line in printed)] if printed else []
