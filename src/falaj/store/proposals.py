"""Lists of proposals: page by page, of those on the things or refs that one may see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from falaj.core.records import Proposal
from falaj.store.catalog import Catalog
from falaj.store.metadata import Transaction
from falaj.store.rows import PROPOSAL

MOST_AMONG: Final = 10_000
LAST_ID: Final = "Z" * 26
"""No id is greater."""


def newest(
    tx: Transaction,
    catalog: Catalog,
    project: str,
    state: str,
    *,
    limit: int,
    among: Iterable[str] | None = None,
    before: str = LAST_ID,
) -> list[Proposal]:
    """The newest proposals in a state, of ids below `before`.

    Args:
        among: only those on assets of these keys, `kind/name`, or on these refs, `kind/name@ref`; None for all.
    """
    clause = "project = :project AND state = :state AND id < :before ORDER BY id DESC"
    params = {"project": project, "state": state, "before": before}
    if among is None:
        return PROPOSAL.where(tx, clause, params, limit=limit)
    whole, single = set[str](), dict[str, str]()
    for key in among:
        base, _, ref = key.partition("@")
        if ref:
            single[key] = base
        else:
            whole.add(base)
    named = catalog.assets(tx, project, "", limit=MOST_AMONG, among={*whole, *single.values()})
    ids = {f"{asset.kind}/{asset.name}": asset.id for asset in named}
    assets = [ids[base] for base in whole & ids.keys()]
    refs = [f"{ids[base]}@{key.partition('@')[2]}" for key, base in single.items() if base in ids]
    found = {p.id: p for p in PROPOSAL.among(tx, "asset", assets, clause, params, limit=limit)}
    found |= {p.id: p for p in PROPOSAL.among(tx, "asset || '@' || ref", refs, clause, params, limit=limit)}
    return sorted(found.values(), key=lambda p: p.id, reverse=True)[:limit]
