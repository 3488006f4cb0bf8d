"""Declared fields of payloads as indexed columns, so that versions stay queryable; made of the payloads at any time."""

from __future__ import annotations

from falaj.core.records import Asset, Version
from falaj.store.kinds import Kinds
from falaj.store.metadata import Transaction
from falaj.store.metadata.queries import queries
from falaj.store.rows import ASSET, VERSION

SQL = queries("catalog")


def project(tx: Transaction, kinds: Kinds, asset: Asset, version: Version) -> None:
    """Write the fields that a version's kind declares."""
    kind = kinds[asset.kind]
    for field, value in kind.project_fields(kind.decode(version.payload)).items():
        is_number = isinstance(value, int | float)
        tx.run(
            SQL["add_projection"],
            {
                "asset": asset.id,
                "number": version.number,
                "field": field,
                "text_value": None if is_number or value is None else str(value),
                "number_value": float(value) if is_number else None,  # type: ignore[arg-type]
            },
        )


def rebuild(tx: Transaction, kinds: Kinds) -> int:
    """Write every declared field anew; returns how many versions were read."""
    tx.run(SQL["clear_projections"])
    assets = {a.id: a for a in ASSET.scan(tx)}
    versions = list(VERSION.scan(tx))
    for version in versions:
        project(tx, kinds, assets[version.asset], version)
    return len(versions)
