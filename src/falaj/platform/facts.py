"""The facts that conditions of access are judged on. Found here, in the store and on this host, never told by a caller.

    proposer_person              of the proposal at hand
    classification, clearance    the highest class of the dataset's columns; the highest group `clearance-CLASS`
    country, countries           where this host is; where the project's policies let bytes be
    purpose, purposes            what the caller reads for (an argument); what the dataset's contract declares

What cannot be found is left out, and a condition on it fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from falaj.access.conditions import CLASSES
from falaj.compliance.residency import policies_in_force
from falaj.core.names import Thing
from falaj.data.contract import from_data
from falaj.data.records import ContractVersion
from falaj.door import Caller, Operation
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.rows import PROPOSAL

CLEARANCE = "clearance-"
UNSAID = "internal"  # the class of a column whose contract gives none


class Facts:
    """Gathers the facts for one decision.

    Args:
        region: the region that this host is declared to be in.
    """

    def __init__(self, ground: Ground, region: str) -> None:
        self._ground, self._region = ground, region

    def __call__(
        self, operation: Operation, params: msgspec.Struct, caller: Caller, project: str, resources: tuple[str, ...]
    ) -> dict[str, Any]:
        """As `Deciding.facts`: only what the operation's conditions ask for."""
        facts: dict[str, Any] = {}
        judged = operation.judged
        with self._ground.database.read() as tx:
            row = self._ground.project_by_name(tx, project)
            if row is None:
                return facts
            if "four_eyes" in judged:
                proposal = PROPOSAL.get(tx, str(getattr(params, "proposal", "")))
                if proposal is not None and proposal.project == row.id:
                    facts["proposer_person"] = proposal.person
            if "residency" in judged:
                policies = policies_in_force(tx, self._ground.catalog, row.id)
                facts["country"] = self._region.partition("-")[0]
                facts["countries"] = sorted({place.partition("-")[0] for p in policies for place in p.allow})
            if judged & {"classification", "purpose"}:
                contracts = [c for r in resources if (c := self._contract(tx, row.id, r)) is not None]
                facts["clearance"] = _highest(
                    g.removeprefix(CLEARANCE) for g in caller.principal.groups if g.startswith(CLEARANCE)
                )
                facts["classification"] = _highest(c for found in contracts for c in _classes(found))
                facts["purpose"] = getattr(params, "purpose", "")
                facts["purposes"] = [c.purpose for c in contracts if c.purpose]
        return {name: value for name, value in facts.items() if value}

    def _contract(self, tx: Transaction, project: str, resource: str) -> ContractVersion | None:
        """The contract in force of the dataset that a resource is of."""
        _, _, path = resource.partition(":")
        parts = path.split("/")
        if len(parts) != 3 or parts[1] != "dataset":
            return None
        asset_name = Thing.parse(parts[2]).name
        asset = self._ground.catalog.find_asset(tx, project, "contract", asset_name)
        held = self._ground.catalog.ref(tx, asset, "main") if asset else None
        if asset is None or held is None:
            return None
        found: ContractVersion = self._ground.catalog.payload(
            asset, self._ground.catalog.version(tx, asset, held.version)
        )
        return found


def _classes(contract: ContractVersion) -> Iterable[str]:
    columns = from_data(contract.document, name=contract.table).columns
    return [column.classification or UNSAID for column in columns]


def _highest(classes: Iterable[str]) -> str:
    """The highest class; "" for none, and an unknown word as it is, which no clearance reaches."""
    found = sorted(set(classes), key=lambda c: CLASSES.index(c) if c in CLASSES else len(CLASSES))
    return found[-1] if found else ""
