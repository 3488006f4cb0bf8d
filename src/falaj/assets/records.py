"""What the operations on assets answer: plain views of rows, with names in place of ids where a person reads them."""

from __future__ import annotations

from typing import Any

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the answers."""


class RefView(View, frozen=True, kw_only=True):
    """A ref as it stands."""

    name: str
    version: int
    moved_at: str
    guarded_by: tuple[str, ...] = ()


class VersionView(View, frozen=True, kw_only=True):
    """One version. `payload` is the kind's record in plain values; `by` the name of who added it."""

    kind: str
    name: str
    version: int
    state: str
    created_at: str
    by: str
    digest: str
    size_bytes: int
    stored_bytes: int
    run: str | None
    refs: tuple[str, ...]
    payload: Any


class AssetView(View, frozen=True, kw_only=True):
    """An asset: its refs, and the version asked for (or that `main` or the only ref holds)."""

    kind: str
    name: str
    created_at: str
    versions: int
    refs: tuple[RefView, ...]
    shown: VersionView | None


class AssetRow(View, frozen=True, kw_only=True):
    """A line of a list."""

    kind: str
    name: str
    versions: int
    refs: dict[str, int]


class Page(View, frozen=True, kw_only=True):
    """A page of assets; `next` is the key to go on after, None at the end."""

    items: tuple[AssetRow, ...]
    next: str | None


class MoveView(View, frozen=True, kw_only=True):
    """A line of a ref's history. `verdicts`: ids of those that let it move, for `falaj gate evidence`."""

    ref: str
    version: int
    previous: int | None
    sort: str
    at: str
    by: str
    entry: int | None
    reason: str = ""
    verdicts: tuple[str, ...] = ()


class LogView(View, frozen=True, kw_only=True):
    """The history of an asset: the moves of its refs (newest first), and its versions (newest first)."""

    kind: str
    name: str
    moves: tuple[MoveView, ...]
    versions: tuple[VersionView, ...]


class MoveResult(View, frozen=True, kw_only=True):
    """What moving a ref came to.

    Attributes:
        deployment, revision: that follows the ref, and by which routing all its traffic goes to the version now.
    """

    ref: str
    version: int
    previous: int | None
    sort: str
    entry_id: str
    deployment: str = ""
    revision: int | None = None
    entry: int | None = None


class LineageNode(View, frozen=True, kw_only=True):
    """One version in a lineage. `depth` 0 is where one asked."""

    kind: str
    name: str
    version: int
    depth: int
    by: str
    created_at: str
    run: str | None
    run_sort: str = ""
    code: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    proposed_by: str = ""
    refs: tuple[str, ...] = ()
    digest: str = ""


class Lineage(View, frozen=True, kw_only=True):
    """What a version came from, or what came from it."""

    thing: str
    direction: str
    nodes: tuple[LineageNode, ...]


class AppliedFile(View, frozen=True, kw_only=True):
    """What applying one file came to: "created", "changed", "unchanged", or "proposed" (waits for another person)."""

    path: str
    kind: str
    name: str
    outcome: str
    version: int
    previous: int | None
    proposal: str | None = None


class Applied(View, frozen=True, kw_only=True):
    """What `falaj apply` came to."""

    files: tuple[AppliedFile, ...]
    entry_id: str | None
    entry: int | None = None


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to be applied: its path below the project folder, and its text."""

    path: str
    text: str


class ProposalView(View, frozen=True, kw_only=True):
    """A proposal, and what it still waits for.

    Attributes:
        state: open, rollout (approved, and moving step by step), moved, withdrawn; stale where what it rests on has
            changed since, so that nobody can approve it any more: `stale` says what.
        verdicts: what gates found on its version, for `falaj gate show`.
        rollout: id of the rollout that its approval began; `share` of 10,000 that the version answers now.
    """

    id: str
    thing: str
    version: int
    holder: int | None
    by: str
    at: str
    state: str
    reason: str
    waits_for: tuple[str, ...]
    approved_by: tuple[str, ...]
    verdicts: tuple[str, ...] = ()
    stale: str = ""
    rollout: str | None = None
    share: int = 0
    next_step: str = ""


class Done(View, frozen=True, kw_only=True):
    """A plain yes, with its entry."""

    thing: str
    entry_id: str
    entry: int | None = None
    note: str = ""
