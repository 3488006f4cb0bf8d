"""What the operations on gates answer, and the refusal of a gate. Plain views; findings are those of `records`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from falaj.assets.records import ProposalView
from falaj.core.errors import Refused
from falaj.gates.records import Finding, Verdict

SHOWN_SLICES = 20


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the answers."""


class VerdictView(View, frozen=True, kw_only=True):
    """A stored verdict: every finding, what it was measured on, and what it is bound to.

    Attributes:
        thing: the ref it was given for, `model/delay@production`.
        holder: the version that held the ref, None for none.
        passed: whether every rule but the pending approvals passed.
        approvals: roles that must still approve before the ref may move.
        data: the version it was measured on, `flights:9`; "" where nothing was.
        rows, unlabelled: rows measured, and rows left out for want of a label.
        used_by: id of the entry that moved the ref by it, None while unused.
    """

    id: str
    thing: str
    version: int
    candidate: str
    gate: str
    gate_version: int
    holder: int | None
    passed: bool
    findings: tuple[Finding, ...]
    approvals: tuple[str, ...]
    data: str
    rows: int
    unlabelled: int
    at: str
    by: str
    run: str
    used_by: str | None


class FileView(View, frozen=True, kw_only=True):
    """A file of a model, as its signature names it."""

    path: str
    sha256: str
    size_bytes: int


class MovedView(View, frozen=True, kw_only=True):
    """How a version came to hold a ref: who proposed, who approved, and the entry of the move."""

    ref: str
    sort: str
    at: str
    by: str
    entry_id: str
    reason: str = ""
    proposed_by: str = ""
    approved_by: tuple[str, ...] = ()


class PartView(View, frozen=True, kw_only=True):
    """A version that a verdict rests on.

    Attributes:
        role: candidate, holder, gate, evidence, contract or policy.
        state: live, retired or erased: of erased ones the bytes are gone, and the digest stays.
        digest: SHA-256 of `digested`.
        digested: canonical JSON of kind, name, number, payload (base64) and the digest of its content; "" for data,
            whose payload tells of its columns, and for contracts.
        rows, size_bytes: of data.
        files, signature, signed: of a model: its files, the bundle that signs them, and the payload that was signed.
        moved: for a gate or a policy, how it came into force.
    """

    role: str
    thing: str
    version: int
    state: str
    digest: str
    created_at: str
    by: str
    digested: str = ""
    rows: int | None = None
    size_bytes: int = 0
    files: tuple[FileView, ...] = ()
    signature: str = ""
    signed: str = ""
    moved: MovedView | None = None


class ApprovalView(View, frozen=True, kw_only=True):
    """One person's yes, with the roles held at that moment."""

    by: str
    person: str
    roles: tuple[str, ...]
    at: str


class KeyView(View, frozen=True, kw_only=True):
    """A public key that models of the project are signed by; `hint` is how a signature names it."""

    id: str
    state: str
    hint: str
    pem: str


class ProvedView(View, frozen=True, kw_only=True):
    """An entry of the ledger with the proof that it stands under the checkpoint.

    Attributes:
        why: what it shows.
        leaf, path: its number and inclusion path (RFC 6962, base64, from the leaf upwards); None and empty where no
            checkpoint covers it yet.
        body: the leaf, byte for byte.
        salt, words: what its `detail` commits to: BLAKE3 of the words, keyed with the salt (base64); "" where there
            are none, where they were erased, and where they may tell of data.
    """

    why: str
    leaf: int | None
    id: str
    at: str
    what: str
    by: str
    body: str
    path: tuple[str, ...] = ()
    salt: str = ""
    words: str = ""


class Backing(View, frozen=True, kw_only=True):
    """Everything that a verdict rests on. Holds no rows of data.

    Attributes:
        body: the stored verdict, byte for byte; the words beside its entry name its SHA-256.
        parts: the versions concerned, by digest.
        program: what measured, with its versions.
        reason: of the proposal; `proposal` is its id, "" where there was none.
        moved: the move that used the verdict, None where none did.
        keys: public keys by which the signatures of models hold.
        checkpoint, vkey: the signed head that the entries stand under, and the key to check it by.
        missing: in words: what could not be had, such as words that were erased.
    """

    form: Literal["falaj gate evidence 1"] = "falaj gate evidence 1"
    project: str
    verdict: VerdictView
    body: str
    parts: tuple[PartView, ...]
    program: dict[str, str]
    proposal: str
    proposed_by: str
    proposed_at: str
    reason: str
    approvals: tuple[ApprovalView, ...]
    moved: MovedView | None
    keys: tuple[KeyView, ...]
    checkpoint: str
    size: int
    root: str
    vkey: str
    entries: tuple[ProvedView, ...]
    missing: tuple[str, ...]


class Compared(View, frozen=True, kw_only=True):
    """One rule, as it was found then and as it is found now.

    Attributes:
        outcome: "same"; "differs"; "not_compared": times, which differ from one measurement to the next, and approvals.
    """

    rule: str
    outcome: Literal["same", "differs", "not_compared"]
    then: str
    now: str


class Remeasured(View, frozen=True, kw_only=True):
    """What measuring once more came to.

    Attributes:
        measured: whether what the verdict was measured on is all there; where it is not, `missing` says what is gone.
        same: every rule that can be compared was found as it was.
        program: what was another version then: name -> (then, now).
    """

    verdict: str
    thing: str
    version: int
    measured: bool
    same: bool
    rules: tuple[Compared, ...]
    program: dict[str, tuple[str, str]]
    missing: tuple[str, ...]
    run: str
    entry_id: str
    entry: int | None = None


class Judgement(View, frozen=True, kw_only=True):
    """What every gate of a ref found on one version; nothing moved."""

    thing: str
    version: int
    holder: int | None
    passed: bool
    verdicts: tuple[VerdictView, ...]
    run: str
    entry_id: str
    entry: int | None = None


class Promotion(View, frozen=True, kw_only=True):
    """What a promotion came to, when no gate refused it.

    Attributes:
        sort: "promote" and "move" moved the ref (with and without a gate); "proposed": it waits for other persons;
            "rollout": it is deployed, and moves step by step; "unchanged": the version held the ref already.
        previous: the version that held the ref before.
        gates: `production v3`, each that judged.
        verdicts: their ids.
        proposal: id of the proposal that waits, None where none does.
        rollout: id of the rollout that began, None where none did; `share` of 10,000 that the version answers now.
    """

    ref: str
    version: int
    previous: int | None
    sort: Literal["promote", "move", "proposed", "rollout", "unchanged"]
    gates: tuple[str, ...]
    findings: tuple[Finding, ...]
    verdicts: tuple[str, ...]
    run: str
    entry_id: str
    proposal: str | None = None
    waits_for: tuple[str, ...] = ()
    rollout: str | None = None
    share: int = 0
    next_step: str = ""
    entry: int | None = None


class Proposed(ProposalView, frozen=True, kw_only=True):
    """A proposal, with what the gates found on its version."""

    gates: tuple[str, ...]
    findings: tuple[Finding, ...]
    run: str
    entry_id: str
    entry: int | None = None


class GateRefused(Refused):
    """A candidate did not pass the gates of the ref it was proposed for. The verdicts stay stored.

    Args:
        verdicts: by their ids, every one that was given.
    """

    code = "gate_refused"

    def __init__(self, thing: str, version: int, verdicts: Mapping[str, Verdict]) -> None:
        refusing = {i: v for i, v in verdicts.items() if not v.passed}
        failed = sum(len(v.failed) for v in refusing.values())
        rules = sum(len(v.findings) for v in refusing.values())
        gates = " and ".join(f"{v.gate} v{v.gate_version}" for v in refusing.values())
        first = next(iter(refusing))
        super().__init__(
            f"gate {gates}: {failed} of {rules} rules failed",
            next_step=what_next(thing, version, [f for v in refusing.values() for f in v.failed]),
            facts={
                "ref": thing,
                "version": version,
                "holder": refusing[first].holder,
                "verdict": first,
                "verdicts": list(verdicts),
                "findings": told(f for v in refusing.values() for f in v.findings),
            },
        )


_BY_RULE: Mapping[str, str] = {
    "check no_leakage": "train without the columns that are named, or declare when they are known (docs/gates.md)",
    "check lineage_complete": "register it from a run that names its data, code and environment, none of it evidence",
    "check signature": "register the model again from its run",
    "check format": "register the model again, in a form that holds no code",
    "latency_p99": "make the model quicker, or judge it where less else runs",
}


def what_next(thing: str, version: int, failed: Sequence[Finding]) -> str:
    """What a person does about a refusal: by what failed first, beginning with what was not measured."""
    if any(f.observed is None and f.note.startswith("not measured") for f in failed):
        return f"put right what was not measured, then falaj promote {thing} {version}"
    if all(f.rule.startswith("approval ") for f in failed):
        return "use a server, or write embedded: waive beside the approval in the gate"
    if any(f.observed is not None and f.title not in _BY_RULE for f in failed):
        return "promote a version that passes"
    steps = [_BY_RULE[f.title] for f in failed if f.title in _BY_RULE]
    return "; ".join(dict.fromkeys(steps)) or "promote a version that passes"


def told(findings: Any) -> list[dict[str, Any]]:
    """Findings in plain values, with the slices that failed and no others: the stored verdict has them all."""
    return [
        msgspec.to_builtins(
            msgspec.structs.replace(f, slices=tuple(s for s in f.slices if s.state == "failed")[:SHOWN_SLICES])
        )
        for f in findings
    ]


def all_findings(verdicts: Sequence[Verdict]) -> tuple[Finding, ...]:
    """The findings of several verdicts, gate after gate."""
    return tuple(finding for verdict in verdicts for finding in verdict.findings)
