"""Metadata: named SQL over a thin driver port, on SQLite and on PostgreSQL by the same statements and tests."""

from falaj.store.metadata.driver import Database, Transaction
from falaj.store.metadata.open import open_database

__all__ = ["Database", "Transaction", "open_database"]
