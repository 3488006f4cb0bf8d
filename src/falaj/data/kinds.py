"""The kinds of this room: `dataset` and `contract`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from falaj.core.names import name
from falaj.data import checks, contract
from falaj.data.records import ContractVersion, DatasetVersion, contract_version
from falaj.store.kinds import Kind


def parse_contract(text: str) -> tuple[str, ContractVersion]:
    """A contract file: its asset's name, and the payload. Its queries are tried on an empty table.

    Raises: Invalid, naming the field, the line, or the rule.
    """
    parsed, document = contract.parse(text)
    with tempfile.TemporaryDirectory(prefix="falaj-") as scratch:
        checks.try_out(parsed, scratch=Path(scratch))
    return name(parsed.table, "contract"), contract_version(parsed, document)


DATASET = Kind(
    "dataset",
    DatasetVersion,
    bare=True,
    project_fields=lambda v: {"rows": v.rows, "format": v.format, "source": v.source},
)
CONTRACT = Kind(
    "contract",
    ContractVersion,
    config=True,
    folder="contracts",
    parse=parse_contract,
    project_fields=lambda v: {"rules": v.rules, "purpose": v.purpose},
)
