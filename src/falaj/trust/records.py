"""What the operations of trust answer."""

from __future__ import annotations

from typing import Any

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the answers."""


class PrincipalView(View, frozen=True, kw_only=True):
    """A person's account, or a service that a person answers for."""

    id: str
    name: str
    person: str
    sort: str
    groups: tuple[str, ...]


class BindingView(View, frozen=True, kw_only=True):
    """Somebody holds a role somewhere."""

    id: str
    subject: str
    role: str
    scope: str
    conditions: tuple[str, ...]
    granted_by: str
    created_at: str
    expires_at: str | None


class TokenView(View, frozen=True, kw_only=True):
    """A token without its secret."""

    id: str
    principal: str
    scope: tuple[str, ...]
    roles: tuple[str, ...]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    single_use: bool


class TokenIssued(View, frozen=True, kw_only=True):
    """A fresh token. `text` is shown this once and stored nowhere."""

    token: TokenView
    text: str


class Explanation(View, frozen=True, kw_only=True):
    """Why a decision is as it is."""

    allowed: bool
    code: str
    lines: tuple[str, ...]


class HolderView(View, frozen=True, kw_only=True):
    """Who can, and by which binding."""

    name: str
    subject: str
    role: str
    scope: str
    binding: str
    via: str


class EntryView(View, frozen=True, kw_only=True):
    """An entry as people read it. `detail` is what the erasable side table still holds."""

    leaf: int | None
    id: str
    at: str
    what: str
    op: str
    by: str
    project: str
    on: tuple[str, ...]
    changes: int
    detail: dict[str, Any]


class EntryPage(View, frozen=True, kw_only=True):
    """A page of the ledger, newest first; `next` is the leaf to go on before, None at the end."""

    items: tuple[EntryView, ...]
    next: int | None
    pending: int


class ProblemView(View, frozen=True, kw_only=True):
    """Something that verification found."""

    sort: str
    where: str
    message: str
    next_step: str


class Verified(View, frozen=True, kw_only=True):
    """What a verification found. `ok` is true only where nothing was found and everything asked was looked at."""

    ok: bool
    entries: int
    states: int
    pending: int
    checkpoints: int
    root: str
    versions: int
    bytes_read: int
    problems: tuple[ProblemView, ...]


class Exported(View, frozen=True, kw_only=True):
    """An export of the ledger: the folder and what lies in it."""

    folder: str
    size: int
    root: str


class Proof(View, frozen=True, kw_only=True):
    """An inclusion proof of one leaf under the newest signed checkpoint."""

    leaf: int
    size: int
    root: str
    path: tuple[str, ...]
    body: str
    checkpoint: str


class KeyView(View, frozen=True, kw_only=True):
    """A key without its bytes."""

    id: str
    purpose: str
    domain: str
    epoch: int
    state: str
    algorithm: str
    fingerprint: str
    created_at: str
    destroyed_at: str | None


class KeyReceipt(View, frozen=True, kw_only=True):
    """What was done to keys, with the entry that proves it."""

    action: str
    keys: tuple[KeyView, ...]
    note: str
    entry_id: str


class Collected(View, frozen=True, kw_only=True):
    """What garbage collection did, or would do."""

    packs: int
    bytes: int
    kept_packs: int
    partly_used_bytes: int
    versions_emptied: int
    dry_run: bool
    entry_id: str | None


class Status(View, frozen=True, kw_only=True):
    """How the store is: what `falaj doctor` looks at."""

    version: str
    schema: int
    database: str
    mode: str
    entries: int
    pending: int
    checkpoint: int
    projects: int
    notes: tuple[str, ...]
