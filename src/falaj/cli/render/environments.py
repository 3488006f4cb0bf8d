"""How environments of steps are told: those that are there, those that were built, looked over, removed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.shapes import Lines, entry_of, indented, joined
from falaj.cli.text import counted, plain, safe, size, table

SHORT = 12


def told_environments(result: Any, given: Mapping[str, Any]) -> Lines:
    """The environments on this host, one a line."""
    rows = [
        (
            _digest(one["digest"]),
            f"Python {safe(one['python'])}",
            safe(one["platform"]),
            counted(one["distributions"], "distribution"),
            size(one["size_bytes"]),
            f"used {plain(one['used_at'] or one['built_at'], 'used_at')}",
        )
        for one in result
    ]
    return table(rows) or ["no environments yet"]


def told_built(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What a pipeline's steps run in."""
    head = joined(
        f"{safe(result['pipeline'])} v{result['version']}",
        counted(len(result["environments"]), "environment"),
        f"{result['seconds']:,.1f} s",
        entry_of(result),
    )
    rows = [
        (safe(one["name"]), safe(one["outcome"]), counted(one["distributions"], "distribution"), _digest(one["digest"]))
        for one in result["environments"]
    ]
    return [head, *indented(table(rows))]


def told_checked(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Whether they are what was built."""
    count = counted(result["environments"], "environment")
    head = f"{count} verified" if result["ok"] else f"{counted(len(result['problems']), 'problem')} in {count}"
    return [head, *indented(safe(one, 1000) for one in result["problems"])]


def told_removed(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What is gone, and what stays since a run is in it."""
    head = joined(
        f"removed {counted(len(result['digests']), 'environment')}, {size(result['size_bytes'])}", entry_of(result)
    )
    return [head, *indented(f"in use, stays  {_digest(one)}" for one in result["in_use"])]


def _digest(text: str) -> str:
    return safe(text.removeprefix("sha256:")[:SHORT])
