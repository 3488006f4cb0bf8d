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
    verdicts: tuple[str, ...]
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
            next_step="promote a version that passes",
            facts={
                "ref": thing,
                "version": version,
                "holder": refusing[first].holder,
                "verdict": first,
                "verdicts": list(verdicts),
                "findings": told(f for v in refusing.values() for f in v.findings),
            },
        )


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
