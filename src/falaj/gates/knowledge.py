"""What the lineage of a candidate, and the evidence, say of when columns are known: contracts and feature services.

late       a column that any contract above the candidate or the evidence declares known only after the decision
declared   a column of a contract with a `decision`: of the evidence, or without any of the data it was trained on
features   a feature of a service in the lineage of the candidate or of the evidence
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from falaj.core.names import Thing
from falaj.core.records import Asset, Version
from falaj.data.contract import from_data
from falaj.data.records import Contract, ContractVersion, DatasetVersion
from falaj.features.kinds import FEATURE_SERVICE, FEATURE_VIEW
from falaj.features.naming import naming
from falaj.features.records import Service, View
from falaj.gates.leakage import Known
from falaj.store import runs
from falaj.store.catalog import Held
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET

MAX_DEPTH: Final = 100
MAX_UPSTREAM: Final = 5_000
Versions = dict[tuple[str, int], tuple[Asset, Version]]


def upstream(ground: Ground, tx: Transaction, version: Version) -> tuple[Versions, str]:
    """Every version that one was made from, near and far; and what is wrong where that is too much to look at."""
    edges = runs.lineage(tx, version, "up", depth=MAX_DEPTH, limit=MAX_UPSTREAM)
    too_much = len(edges) == MAX_UPSTREAM or any(edge.depth == MAX_DEPTH for edge in edges)
    found: Versions = {}
    for edge in edges:
        asset = ASSET.get(tx, edge.asset)
        if asset is not None and (edge.asset, edge.version) != (version.asset, version.number):
            found[edge.asset, edge.version] = (asset, ground.catalog.version(tx, asset, edge.version))
    wide = f"its lineage is deeper than {MAX_DEPTH} steps or wider than {MAX_UPSTREAM:,} versions"
    return found, wide if too_much else ""


class _Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a contract."""

    asset: str
    number: int
    contract: Contract

    @property
    def name(self) -> str:
        """`flights v3`."""
        return f"{self.asset} v{self.number}"


class _Service(msgspec.Struct, frozen=True, kw_only=True):
    """A feature service of the lineage, with what people call it and its views."""

    name: str
    service: Service
    views: dict[str, View]


def known_of(ground: Ground, project: str, candidate: Version, evidence: Held | None, *, scratch: Path) -> Known:
    """All that is known of when columns are known, for the inputs of a candidate.

    Args:
        scratch: an existing folder, for what is asked of DuckDB.
    """
    with ground.database.read() as tx:
        above, incomplete = upstream(ground, tx, candidate)
        if evidence is not None:
            beside, wide = upstream(ground, tx, evidence.version)
            above |= {**beside, (evidence.asset.id, evidence.version.number): (evidence.asset, evidence.version)}
            incomplete = incomplete or wide
        rows = _Rows(ground, tx, project)
        contracts: dict[str, dict[int, _Contract]] = {}
        for asset, version in above.values():
            if asset.kind == "dataset":
                contracts.setdefault(asset.name, {}).update(rows.contracts(asset, version))
        services = [rows.service(a, v, above) for a, v in above.values() if a.kind == FEATURE_SERVICE.name]
        sources = {view.source for one in services for view in one.views.values()}
        in_force = {source: rows.in_force(Thing.parse(source, kind="dataset").name) for source in sources}
    late, declared = _by_contracts(contracts, [evidence.asset.name] if evidence is not None else list(contracts))
    known = _by_services(services, in_force, scratch)
    return msgspec.structs.replace(known, late=late, declared=declared, incomplete=incomplete)


def _by_contracts(
    contracts: Mapping[str, Mapping[int, _Contract]], declaring: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    late: dict[str, str] = {}
    declared: dict[str, str] = {}
    for name, found in contracts.items():
        for one in found.values():
            for column, event in one.contract.known_after.items():
                late.setdefault(column.casefold(), f"known only after {event} (contract {one.name})")
            if name in declaring and one.contract.decision is not None:
                declared |= {each.name.casefold(): f"declared by contract {one.name}" for each in one.contract.columns}
    return late, declared


def _by_services(services: Sequence[_Service], in_force: Mapping[str, _Contract | None], scratch: Path) -> Known:
    features: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    troubles: list[str] = []
    for one in services:
        typed = {name: in_force[view.source] for name, view in one.views.items()}
        contracts = {name: found.contract if found else None for name, found in typed.items()}
        told = naming(one.service, one.views, contracts, scratch=scratch)
        features |= {name.casefold(): f"features of {one.name}" for name in told.names}
        doubtful |= {name.casefold(): why for name, why in told.doubtful.items()}
        troubles += told.troubles
    return Known(features=features, doubtful=doubtful, troubles=tuple(dict.fromkeys(troubles)))


class _Rows:
    """Contracts, services and views as the store has them; each contract is read once."""

    def __init__(self, ground: Ground, tx: Transaction, project: str) -> None:
        self.catalog, self.tx, self.project = ground.catalog, tx, project
        self._read: dict[tuple[str, int], _Contract] = {}

    def contracts(self, asset: Asset, version: Version) -> dict[int, _Contract]:
        """The contract that judged a version of data, and the one in force: a column is late where either says so."""
        payload: DatasetVersion = self.catalog.payload(asset, version)
        found = {}
        if payload.contract is not None:
            held = self.catalog.resolve(self.tx, self.project, Thing.parse(payload.contract))
            found[held.version.number] = self._contract(held.asset, held.version)
        if (now := self.in_force(asset.name)) is not None:
            found[now.number] = now
        return found

    def in_force(self, dataset: str) -> _Contract | None:
        """The contract in force of a dataset."""
        asset = self.catalog.find_asset(self.tx, self.project, "contract", dataset)
        ref = self.catalog.ref(self.tx, asset, "main") if asset else None
        return None if asset is None or ref is None else self._contract(asset, self._version(asset, ref.version))

    def service(self, asset: Asset, version: Version, above: Versions) -> _Service:
        """A service, with its views as they stand beside it in the lineage, else as they are in force."""
        service: Service = self.catalog.payload(asset, version)
        views: dict[str, View] = {}
        for name in service.views:
            held = self.catalog.find_asset(self.tx, self.project, FEATURE_VIEW.name, name)
            if held is None:
                continue
            beside = [v.number for a, v in above.values() if a.id == held.id]
            ref = self.catalog.ref(self.tx, held, "main")
            number = max(beside) if beside else ref.version if ref else None
            if number is not None:
                views[name] = self.catalog.payload(held, self._version(held, number))
        return _Service(name=f"{asset.name} v{version.number}", service=service, views=views)

    def _version(self, asset: Asset, number: int) -> Version:
        return self.catalog.version(self.tx, asset, number)

    def _contract(self, asset: Asset, version: Version) -> _Contract:
        key = (asset.id, version.number)
        if key not in self._read:
            payload: ContractVersion = self.catalog.payload(asset, version)
            contract = from_data(payload.document, name=asset.name)
            self._read[key] = _Contract(asset=asset.name, number=version.number, contract=contract)
        return self._read[key]
