"""The tables of access, each declared once, and names for ids."""

from __future__ import annotations

from collections.abc import Iterable

from falaj.access.records import Binding, Principal
from falaj.access.tokens import Token
from falaj.store.metadata import Transaction
from falaj.store.metadata.tables import Table

PRINCIPAL = Table("principal", Principal, ("id",), governed=True)
BINDING = Table("binding", Binding, ("id",), governed=True)
TOKEN = Table("token", Token, ("id",), governed=True)
TABLES = (PRINCIPAL, BINDING, TOKEN)


def names_of(tx: Transaction, ids: Iterable[str]) -> dict[str, str]:
    """The names of principals, by id; an id that is not known has none."""
    found = (PRINCIPAL.get(tx, i) for i in dict.fromkeys(ids))
    return {p.id: p.name for p in found if p}


def principal_named(tx: Transaction, name: str) -> Principal | None:
    """A principal by its name."""
    found = PRINCIPAL.where(tx, "name = :name", {"name": name})
    return found[0] if found else None
