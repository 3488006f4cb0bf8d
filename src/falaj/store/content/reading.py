"""Where the bytes of versions are read from: the locations, the keys, the index."""

from __future__ import annotations

from collections.abc import Mapping

from falaj.store.content.rows import SqlIndex
from falaj.store.keys.sql import StoreKeys
from falaj.store.metadata import Database
from falaj.store.objects import Location, Reader
from falaj.store.objects.errors import LocationAway


class Readers:
    """Makes readers for any key domain in any declared location."""

    def __init__(self, database: Database, keys: StoreKeys, locations: Mapping[str, Location]) -> None:
        self.database, self.keys, self.locations = database, keys, dict(locations)

    def reader(self, domain: str, location: str) -> Reader:
        """Reads objects of a domain in a location. Raises: KeyDestroyed, WrongKey, KeyMissing, LocationAway."""
        keys = self.keys.now.domain_keys(domain)
        return Reader(self.location(location), keys, SqlIndex(self.database, domain, location))

    def location(self, name: str) -> Location:
        """A location by its name. Raises: LocationAway."""
        try:
            return self.locations[name]
        except KeyError:
            raise LocationAway(
                f"location {name}: is not declared here", next_step=f"declared are: {', '.join(self.locations)}"
            ) from None
