"""Wrapped keys in the metadata database: the SQL adapter of the `KeyRows` port.

Reading takes any open transaction; changing needs a unit of work, since keys are governed rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from falaj.store.errors import Exists
from falaj.store.keys.custodian import Custodian
from falaj.store.keys.errors import KeyExists, KeyMissing
from falaj.store.keys.rows import KeyRow, Purpose
from falaj.store.keys.store import KeyStore
from falaj.store.metadata import Database, Transaction
from falaj.store.metadata.tables import Table
from falaj.store.unit import Unit

KEY = Table("wrapped_key", KeyRow, ("id",), governed=True)


class SqlKeyRows:
    """Keys seen by one transaction; changed through its unit where there is one."""

    def __init__(self, tx: Transaction, unit: Unit | None = None) -> None:
        self._tx, self._unit = tx, unit

    def get(self, key_id: str) -> KeyRow:
        """Raises: KeyMissing."""
        row = KEY.get(self._tx, key_id)
        if row is None:
            raise KeyMissing(f"key {key_id}: not in this store", next_step="open the store it belongs to")
        return row

    def add(self, row: KeyRow) -> None:
        """Raises: KeyExists."""
        try:
            self._writing().add(KEY, row)
        except Exists as error:
            raise KeyExists(
                f"{row.purpose} key of {row.domain or 'the store'}, epoch {row.epoch}: exists already"
            ) from error

    def replace(self, row: KeyRow) -> None:
        """Raises: KeyMissing."""
        self.get(row.id)
        self._writing().put(KEY, row)

    def list(self, *, purpose: Purpose | None = None, domain: str | None = None) -> Sequence[KeyRow]:
        """All rows that match, oldest epoch first, then by id."""
        clause = "(:any_purpose = 1 OR purpose = :purpose) AND (:any_domain = 1 OR domain = :domain) ORDER BY epoch, id"
        params = {
            "any_purpose": int(purpose is None),
            "purpose": purpose or "",
            "any_domain": int(domain is None),
            "domain": domain or "",
        }
        return KEY.where(self._tx, clause, params, limit=1_000_000)

    def _writing(self) -> Unit:
        if self._unit is None:
            raise KeyMissing("keys are changed inside a unit of work only")
        return self._unit


class ReadKeyRows:
    """Keys read by a snapshot of their own at each call: for what is not inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key_id: str) -> KeyRow:
        """Raises: KeyMissing."""
        with self._database.read() as tx:
            return SqlKeyRows(tx).get(key_id)

    def add(self, row: KeyRow) -> None:
        """Raises: KeyMissing: not here."""
        raise KeyMissing("keys are changed inside a unit of work only")

    def replace(self, row: KeyRow) -> None:
        """Raises: KeyMissing: not here."""
        raise KeyMissing("keys are changed inside a unit of work only")

    def list(self, *, purpose: Purpose | None = None, domain: str | None = None) -> Sequence[KeyRow]:
        """All rows that match, oldest epoch first, then by id."""
        with self._database.read() as tx:
            return SqlKeyRows(tx).list(purpose=purpose, domain=domain)


class StoreKeys:
    """The key hierarchy of a store: read by any open transaction, changed inside a unit of work.

    Args:
        custodian: holds the roots.
    """

    def __init__(self, custodian: Custodian, database: Database) -> None:
        self.custodian = custodian
        self.now = KeyStore(custodian, ReadKeyRows(database))
        """The keys by a snapshot of its own at each call; never inside an open transaction of the same thread."""

    def begin(self, unit: Unit) -> KeyStore:
        """The keys as a unit of work sees and changes them. The caller says the entry."""
        return self.now.using(SqlKeyRows(unit.tx, unit))

    def reading(self, tx: Transaction) -> KeyStore:
        """The keys as an open transaction sees them."""
        return self.now.using(SqlKeyRows(tx))
