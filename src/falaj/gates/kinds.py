"""The kind of this room: `gate`. While its `main` holds a version, that version guards refs and seals its evidence."""

from __future__ import annotations

from falaj.gates import table
from falaj.gates.records import Gate, parse_gate
from falaj.store.kinds import Kind


def parse(text: str) -> tuple[str, Gate]:
    """A gate file: its asset's name, and the payload. Label and condition are tried as SQL.

    Raises: Invalid, naming the line, the field or the rule.
    """
    gate = parse_gate(text)
    if gate.evidence is not None:
        table.check_expressions(gate.evidence)
    return gate.name, gate


GATE = Kind(
    "gate",
    Gate,
    config=True,
    folder="gates",
    parse=parse,
    guards=lambda gate: gate.guards,
    seals=lambda gate: (gate.evidence.data,) if gate.evidence else (),
    project_fields=lambda gate: {"rules": len(gate.rules), "evidence": gate.evidence.data if gate.evidence else None},
)
