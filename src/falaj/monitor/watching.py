"""When a deployment is looked at next by itself. Read from rows alone, so that every process comes to the same."""

from __future__ import annotations

from datetime import datetime

import msgspec

from falaj.core.records import Asset
from falaj.deploy.following import in_force
from falaj.monitor import rules
from falaj.monitor.kinds import REPORT
from falaj.store.catalog import Catalog
from falaj.store.metadata import Transaction
from falaj.store.rollouts import ROUTING


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The next report of a deployment.

    Attributes:
        newest: number of the report before it, 0 for none.
        labels: whether the deployment says where outcomes come from.
    """

    due_at: datetime
    newest: int
    labels: bool


def plan(tx: Transaction, catalog: Catalog, asset: Asset) -> Plan | None:
    """The next report that a deployment asks for; None where only a person does, or nothing was ever served."""
    found = in_force(tx, catalog, asset)
    watch = found.deployment.watch if found else None
    if found is None or watch is None or watch.every_s is None:
        return None
    first = ROUTING.get(tx, asset.id, 1)
    reports = catalog.find_asset(tx, asset.project, REPORT.name, asset.name)
    last = next(iter(catalog.versions(tx, reports, limit=1)), None) if reports else None
    due = rules.due_at(watch.every_s, first.at if first else None, last.created_at if last else None)
    if due is None:
        return None
    return Plan(due_at=due, newest=last.number if last else 0, labels=found.deployment.labels is not None)
