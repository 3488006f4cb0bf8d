"""Gates: what a version must show before a guarded ref may move to it. Heavy parts (numpy) are in `gates.metrics`."""

from __future__ import annotations

from falaj.gates.records import (
    ApprovalRule,
    BoundRule,
    CheckRule,
    Context,
    Evidence,
    EvidenceSource,
    Finding,
    Gate,
    HolderRule,
    Latency,
    LatencyRule,
    Slice,
    SliceFinding,
    Verdict,
    parse_gate,
)
from falaj.gates.rules import approved, judge

__all__ = [
    "ApprovalRule",
    "BoundRule",
    "CheckRule",
    "Context",
    "Evidence",
    "EvidenceSource",
    "Finding",
    "Gate",
    "HolderRule",
    "Latency",
    "LatencyRule",
    "Slice",
    "SliceFinding",
    "Verdict",
    "approved",
    "judge",
    "parse_gate",
]
