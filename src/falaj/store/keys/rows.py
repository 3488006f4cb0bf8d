"""Stored keys: wrapped, with their place in the hierarchy; the port to where they rest, and its twin in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from falaj.core.records import Record
from falaj.store.keys.errors import KeyExists, KeyMissing

Purpose = Literal["project", "epoch", "id", "sign", "commit", "ledger", "serving"]
KeyState = Literal["live", "retired", "destroyed"]


class KeyRow(Record, frozen=True, kw_only=True):
    """One key, wrapped.

    Attributes:
        domain: the project's id (purpose project), the key domain (epoch, id), or the project's id or "" for the whole
            store (sign, commit, ledger, serving).
        epoch: counts from 1 within purpose and domain; 0 where there is only ever one.
        parent: id of the key that wraps this one: a project key's, or a root's at the custodian.
        wrapped: AES-256-KWP bytes; None once destroyed.
        fingerprint: 16 hex digits; for signing keys `ed25519:` and the raw public key in hex, so that old signatures
            stay verifiable when the private half is gone.
        algorithm: aes-256 | blake3-keyed | ed25519.
    """

    id: str
    purpose: Purpose
    domain: str
    epoch: int
    parent: str
    wrapped: bytes | None
    fingerprint: str
    algorithm: str
    state: KeyState
    created_at: str
    destroyed_at: str | None = None


class KeyRows(Protocol):
    """Where wrapped keys rest. A change is seen by this port's later calls; durability is its transaction's."""

    def get(self, key_id: str) -> KeyRow:
        """Raises: KeyMissing."""
        ...

    def add(self, row: KeyRow) -> None:
        """Raises: KeyExists where the id, or (purpose, domain, epoch), is taken."""
        ...

    def replace(self, row: KeyRow) -> None:
        """Replace the row of the same id. Raises: KeyMissing."""
        ...

    def list(self, *, purpose: Purpose | None = None, domain: str | None = None) -> Sequence[KeyRow]:
        """All rows that match, oldest epoch first, then by id."""
        ...


class MemoryKeyRows:
    """Keys in memory: for tests, and the contract of the port."""

    def __init__(self) -> None:
        self._rows: dict[str, KeyRow] = {}

    def get(self, key_id: str) -> KeyRow:
        """Raises: KeyMissing."""
        try:
            return self._rows[key_id]
        except KeyError:
            raise KeyMissing(f"key {key_id}: not in this store", next_step="open the store it belongs to") from None

    def add(self, row: KeyRow) -> None:
        """Raises: KeyExists."""
        taken = any((r.purpose, r.domain, r.epoch) == (row.purpose, row.domain, row.epoch) for r in self._rows.values())
        if taken or row.id in self._rows:
            raise KeyExists(f"{row.purpose} key of {row.domain or 'the store'}, epoch {row.epoch}: exists already")
        self._rows[row.id] = row

    def replace(self, row: KeyRow) -> None:
        """Raises: KeyMissing."""
        self.get(row.id)
        self._rows[row.id] = row

    def list(self, *, purpose: Purpose | None = None, domain: str | None = None) -> Sequence[KeyRow]:
        """All rows that match, oldest epoch first, then by id."""
        found = [
            r
            for r in self._rows.values()
            if (purpose is None or r.purpose == purpose) and (domain is None or r.domain == domain)
        ]
        return sorted(found, key=lambda r: (r.epoch, r.id))
