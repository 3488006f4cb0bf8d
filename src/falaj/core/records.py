"""The shared records: the rows of the ground, as every floor sees them. Frozen; times are `encoding.moment` texts.

Ids are 26 characters (see `ids`), opaque, and never reused. `person` is the human being behind a principal: it is
persons, not tokens, that four eyes are counted by.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

VersionState = Literal["live", "rejected", "retired", "erased"]
RunState = Literal["running", "done", "failed", "lost", "cancelled"]
MoveSort = Literal["move", "promote", "rollback"]
ProposalState = Literal["open", "moved", "withdrawn"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the stored rows."""


class Fact(Record, frozen=True, kw_only=True):
    """Something that holds for the whole store: its id, its mode, who its operating-system users are."""

    key: str
    value: str


class Project(Record, frozen=True, kw_only=True):
    """A namespace with its own keys, policy and residency."""

    id: str
    name: str
    created_at: str


class Asset(Record, frozen=True, kw_only=True):
    """A governed thing: (project, kind, name) with numbered versions and refs."""

    id: str
    project: str
    kind: str
    name: str
    created_at: str


class Version(Record, frozen=True, kw_only=True):
    """One immutable version of an asset.

    Attributes:
        payload: the kind's typed record, canonical JSON.
        content: root of the tree of bytes it names, None for payload alone.
        domain: the key domain that the content is encrypted under.
        location: name of the location where the content rests.
        digest: SHA-256 over kind, name, number, payload and content: what a verdict binds to.
        size_bytes, stored_bytes: of the content; stored counts only what this version added.
    """

    asset: str
    number: int
    payload: bytes
    digest: str
    created_at: str
    by: str
    person: str
    content: str | None = None
    domain: str | None = None
    location: str | None = None
    size_bytes: int = 0
    stored_bytes: int = 0
    run: str | None = None
    state: VersionState = "live"


class Ref(Record, frozen=True, kw_only=True):
    """A name that points at a version; `revision` counts its moves."""

    asset: str
    name: str
    version: int
    revision: int
    moved_at: str


class RefMove(Record, frozen=True, kw_only=True):
    """One move in the history of a ref."""

    asset: str
    ref: str
    revision: int
    version: int
    previous: int | None
    sort: MoveSort
    at: str
    by: str
    person: str
    entry: str
    proposal: str | None = None


class Guard(Record, frozen=True, kw_only=True):
    """A ref that moves only by a verdict of this gate; written from the gate version that is in force."""

    gate: str
    project: str
    kind: str
    name: str
    ref: str
    gate_version: int


class Verdict(Record, frozen=True, kw_only=True):
    """What a gate found on one candidate for one ref, against one holder; used at most once.

    Attributes:
        candidate: digest of the version judged.
        holder: version that held the ref when it was judged, None for none.
        approvals: the approvals still to be given before the ref may move.
        body: the findings, canonical JSON.
        used_by: id of the entry that moved the ref by it.
    """

    id: str
    project: str
    asset: str
    version: int
    ref: str
    candidate: str
    gate: str
    gate_version: int
    holder: int | None
    passed: bool
    body: bytes
    at: str
    by: str
    person: str
    approvals: tuple[str, ...] = ()
    run: str | None = None
    used_by: str | None = None


class Proposal(Record, frozen=True, kw_only=True):
    """Somebody's wish to move a ref, waiting for what it needs."""

    id: str
    project: str
    asset: str
    ref: str
    version: int
    holder: int | None
    verdicts: tuple[str, ...]
    at: str
    by: str
    person: str
    state: ProposalState = "open"
    reason: str = ""


class Approval(Record, frozen=True, kw_only=True):
    """One person's yes to one proposal, with the roles the person held on the ref at that moment."""

    proposal: str
    person: str
    by: str
    roles: tuple[str, ...]
    at: str


class Run(Record, frozen=True, kw_only=True):
    """One activity: who ran what, in which environment, with which params, with which result.

    Attributes:
        sort: the operation or step ("data.add", "train", "gate.judge", "predict", …).
        owner: the process that runs it, `host:pid:start`; by it a lost run is told from a live one.
    """

    id: str
    project: str
    sort: str
    name: str
    state: RunState
    started_at: str
    by: str
    person: str
    owner: str = ""
    ended_at: str | None = None
    params: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    code: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    result: dict[str, Any] = {}
    error: dict[str, Any] | None = None


class RunLink(Record, frozen=True, kw_only=True):
    """A run used or made a version: the edges of lineage."""

    run: str
    direction: Literal["in", "out"]
    asset: str
    version: int
    role: str = ""


class LedgerEntry(Record, frozen=True, kw_only=True):
    """A stored entry; `leaf` is None until it is sequenced."""

    id: str
    leaf: int | None
    project: str
    what: str
    op: str
    at: str
    body: bytes
