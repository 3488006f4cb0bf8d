"""What the operations on runs answer."""

from __future__ import annotations

from typing import Any

import msgspec


class RunLinkView(msgspec.Struct, frozen=True, kw_only=True):
    """A version that a run used ("in") or made ("out")."""

    direction: str
    thing: str
    role: str


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run as people read it. `state` is "lost" where the process that ran it is gone."""

    id: str
    sort: str
    name: str
    state: str
    started_at: str
    ended_at: str | None
    by: str
    params: dict[str, Any]
    metrics: dict[str, float]
    code: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any]
    error: dict[str, Any] | None
    links: tuple[RunLinkView, ...] = ()


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs, newest first; `next` is the id to go on before, None at the end."""

    items: tuple[RunView, ...]
    next: str | None
