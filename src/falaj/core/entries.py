"""The entry vocabulary: what the ledger can say happened. One word an event, `noun.past_participle`.

An entry holds only opaque ids, words of this vocabulary, digests and keyed commitments: nothing personal and
nothing that would have to be erased. Names, reasons and refused values stand in the erasable side table that
`detail` commits to.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class What(StrEnum):
    """Every event that an entry can tell. A member, once released, is never renamed."""

    STORE_CREATED = "store.created"
    STORE_SERVED = "store.served"
    STORE_REPAIRED = "store.repaired"
    PROJECT_CREATED = "project.created"
    PRINCIPAL_ADDED = "principal.added"
    TOKEN_ISSUED = "token.issued"  # noqa: S105  a word of the vocabulary
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    BINDING_GRANTED = "binding.granted"
    BINDING_REVOKED = "binding.revoked"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_DESTROYED = "key.destroyed"
    CONTENT_READ = "content.read"
    VERSION_ADDED = "version.added"
    VERSION_RETIRED = "version.retired"
    VERSION_RESTORED = "version.restored"
    REF_MOVED = "ref.moved"
    REF_ROLLED_BACK = "ref.rolled_back"
    REF_PROPOSED = "ref.proposed"
    REF_APPROVED = "ref.approved"
    PROPOSAL_WITHDRAWN = "proposal.withdrawn"
    VERDICT_GIVEN = "verdict.given"
    VERDICT_CHECKED = "verdict.checked"
    ROLLOUT_STARTED = "rollout.started"
    ROLLOUT_ADVANCED = "rollout.advanced"
    ROLLOUT_PAUSED = "rollout.paused"
    ROLLOUT_RESUMED = "rollout.resumed"
    ROLLOUT_ENDED = "rollout.ended"
    ROLLOUT_FAILED = "rollout.failed"
    ROLLOUT_ABORTED = "rollout.aborted"
    PREDICTIONS_COLLECTED = "predictions.collected"
    REPORT_MADE = "report.made"
    DRIFT_FOUND = "drift.found"
    SCORE_FELL = "score.fell"
    PREDICTIONS_EXPIRED = "predictions.expired"
    RUN_STARTED = "run.started"
    RUN_ENDED = "run.ended"
    RUN_CANCELLED = "run.cancelled"
    ENVIRONMENT_BUILT = "environment.built"
    ENVIRONMENT_REMOVED = "environment.removed"
    STEP_STARTED = "step.started"
    STEP_ENDED = "step.ended"
    TRIGGER_CAUSED = "trigger.caused"
    TRIGGER_FIRED = "trigger.fired"
    TRIGGER_STARTED = "trigger.started"
    TRIGGER_CONTINUED = "trigger.continued"
    TRIGGER_ENDED = "trigger.ended"
    OBJECTS_COLLECTED = "objects.collected"
    REQUEST_REFUSED = "request.refused"
    REQUESTS_UNAUTHENTICATED = "requests.unauthenticated"


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One governed row after the entry: its table, its key, and the keyed digest of its state; None = deleted."""

    table: str
    key: str
    digest: str | None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf of the ledger. Its canonical bytes (`encoding.canonical`) are the leaf.

    Attributes:
        id: 26 characters, sorts by time within one writer; unique.
        at: `encoding.moment` of the writer's clock.
        what: the event.
        op: the operation of the door that made it.
        by: id of the principal (a person's token or a service).
        person: id of the person behind the principal.
        project: id of the project, "" for the store itself.
        on: ids of the things concerned, most important first.
        changes: every governed row that the transaction left changed.
        detail: keyed commitment to the side table's row, None where there is none.
        cause: id of the entry that caused this one (trigger, retry), None otherwise.
    """

    id: str
    at: str
    what: What
    op: str
    by: str
    person: str
    project: str = ""
    on: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    detail: str | None = None
    cause: str | None = None
    v: int = 1
