"""Verdicts of the gate, kept for the report as `gate.show` tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from examples.flights.report import story as s

if TYPE_CHECKING:
    from examples.flights.year.play import Play


def keep_verdict(play: Play, verdict: str, about: str, came: str, *, entry: int | None = None) -> None:
    """Keep a verdict.

    Args:
        about: what the candidate is, in words.
        came: what followed, in words; `came_of` may say it later.
    """
    told = play.cast["risk"].call("gate.show", verdict=verdict)
    known = set(s.Finding.__struct_fields__)
    findings = [
        {
            **{key: value for key, value in one.items() if key in known and key != "slices"},
            "slices": [
                {key: part[key] for key in ("value", "state", "observed", "rows")} for part in one.get("slices") or ()
            ],
        }
        for one in told["findings"]
    ]
    play.teller.verdicts.append(
        s.Verdict(
            id=told["id"],
            at=told["at"],
            month=play.teller.month,
            ref=told["thing"].removeprefix("model/"),
            version=told["version"],
            gate=told["gate"],
            gate_version=told["gate_version"],
            holder=told["holder"],
            passed=told["passed"],
            findings=tuple(msgspec.convert(findings, list[s.Finding])),
            approvals=tuple(told["approvals"]),
            data=told["data"],
            rows=told["rows"],
            unlabelled=told["unlabelled"],
            by=told["by"],
            about=about,
            came=came,
            entry=entry,
        )
    )


def came_of(play: Play, version: int, came: str) -> None:
    """Say what followed the newest verdict on a version."""
    kept = play.teller.verdicts
    for place in range(len(kept) - 1, -1, -1):
        if kept[place].version == version:
            kept[place] = msgspec.structs.replace(kept[place], came=came)
            return
