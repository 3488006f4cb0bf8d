"""Residency as the ground asks it: the policies in force against where this host stores and reads."""

from __future__ import annotations

from falaj.compliance.records import Location, Policy
from falaj.compliance.rules import check_residency, check_same_region
from falaj.store.catalog import Catalog
from falaj.store.metadata import Transaction

MAIN = "main"


def policies_in_force(tx: Transaction, catalog: Catalog, project: str) -> list[Policy]:
    """Every policy of the project that its `main` ref holds."""
    found = []
    for asset in catalog.assets(tx, project, "policy", limit=1000):
        held = catalog.ref(tx, asset, "main")
        if held:
            found.append(catalog.payload(asset, catalog.version(tx, asset, held.version)))
    return found


class Residency:
    """Whether bytes of a project may rest and be read here.

    Args:
        region: the region that this host and its location are declared to be in; "" where nobody declared one, which
            every policy refuses.
    """

    def __init__(self, catalog: Catalog, region: str) -> None:
        self._catalog, self.region = catalog, region

    def check(self, tx: Transaction, project: str, what: str) -> None:
        """Raises: ResidencyRefused, also where the project knows this location in another region than this host."""
        check_same_region(self._declared(tx, project), self.region, what)
        check_residency(policies_in_force(tx, self._catalog, project), self.region, what)

    def _declared(self, tx: Transaction, project: str) -> str | None:
        asset = self._catalog.find_asset(tx, project, "location", MAIN)
        held = self._catalog.ref(tx, asset, "main") if asset else None
        if asset is None or held is None:
            return None
        location: Location = self._catalog.payload(asset, self._catalog.version(tx, asset, held.version))
        return location.region
