"""What the operations of trust answer."""

from __future__ import annotations

from typing import Any, Literal

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
    """An entry as people read it.

    Attributes:
        leaf: its number, None while it waits for one.
        by, on, project: names where they are known and the caller may see them, else ids.
        changes: how many governed rows it left changed.
        detail: the words beside it that are still kept.
        words: whether those are kept and are those that were written; erased words are lawful, changed ones are not.
    """

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
    words: Literal["none", "kept", "erased", "changed", "hidden"]


class ChangeView(View, frozen=True, kw_only=True):
    """A governed row after an entry: the keyed digest of its state, None where the entry deleted it."""

    table: str
    key: str
    digest: str | None


class EntryShown(EntryView, frozen=True, kw_only=True):
    """One entry in full.

    Attributes:
        person: id of the person behind who did it.
        cause: id of the entry that caused it.
        rows: what it left changed.
        commitment: what it commits its words by.
        body: the leaf, byte for byte.
        signed: whether the newest checkpoint covers it.
    """

    person: str
    cause: str | None
    rows: tuple[ChangeView, ...]
    commitment: str | None
    body: str
    signed: bool


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
    """What a verification found. `ok` is true only where nothing was found and everything asked was looked at.

    Attributes:
        checkpoints: signed heads in the database that hold; kept: those from outside that hold.
        signed: the largest size that such a head covers; entries after it rest on the tree's nodes alone.
        details: entries whose words are still kept.
        versions, bytes_read: versions whose bytes were checked, and the bytes read for it.
        unreadable: packs or versions whose keys were destroyed on purpose, which is lawful.
        unlisted: problems beyond those listed.
    """

    ok: bool
    entries: int
    states: int
    details: int
    pending: int
    checkpoints: int
    kept: int
    signed: int
    root: str
    versions: int
    bytes_read: int
    unreadable: int
    problems: tuple[ProblemView, ...]
    unlisted: int


class Exported(View, frozen=True, kw_only=True):
    """An export of the ledger: the folder and what lies in it."""

    folder: str
    size: int
    root: str


class Proof(View, frozen=True, kw_only=True):
    """An inclusion proof of one leaf under the newest signed checkpoint. Hashes are base64, from the leaf upwards."""

    proof: Literal["inclusion"] = "inclusion"
    leaf: int
    size: int
    root: str
    path: tuple[str, ...]
    body: str
    checkpoint: str


class Consistency(View, frozen=True, kw_only=True):
    """A proof that the ledger of one size is the beginning of that of another. Hashes are base64, as in RFC 6962."""

    proof: Literal["consistency"] = "consistency"
    old: int
    new: int
    old_root: str
    new_root: str
    path: tuple[str, ...]


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
    entry: int | None = None


class Collected(View, frozen=True, kw_only=True):
    """What garbage collection did, or would do.

    Attributes:
        kept_packs: packs that stay; partly_used_bytes: what nothing reaches in them, which goes when they do.
        versions_emptied: retired versions that lost their bytes.
        skipped: key domain -> the reason that nothing of it was taken.
        failed: packs that could not be removed; the next collection tries again.
    """

    packs: int
    bytes: int
    kept_packs: int
    partly_used_bytes: int
    versions_emptied: int
    skipped: dict[str, str]
    failed: tuple[str, ...]
    dry_run: bool
    entry_id: str | None
    entry: int | None = None


class Repaired(View, frozen=True, kw_only=True):
    """What was repaired, and the entry that says so.

    Attributes:
        nodes: nodes of the ledger's tree written anew from the entries.
        columns: entries whose index columns were set back to what their bodies say.
        versions: versions whose declared fields were written anew.
        lost_runs: runs of dead processes of this host.
    """

    nodes: int
    columns: int
    versions: int
    lost_runs: int
    entry_id: str
    entry: int | None = None


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
