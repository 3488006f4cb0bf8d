"""The bindings in force: one snapshot in memory, kept true by a revision that each change of access raises."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from falaj.access.records import Principal
from falaj.access.roles import Roles
from falaj.access.rows import BINDING, PRINCIPAL, TOKEN
from falaj.access.snapshot import Snapshot
from falaj.access.tokens import Token, check, parse
from falaj.core.errors import Unauthenticated
from falaj.store.metadata import Database, Transaction
from falaj.store.metadata.queries import queries
from falaj.store.unit import Unit

SQL = queries("ground")
REVISION = "access_revision"


def raise_revision(unit: Unit) -> None:
    """Called in every transaction that changes principals, bindings or tokens."""
    unit.tx.run(SQL["set_meta"], {"key": REVISION, "value": str(_revision(unit.tx) + 1)})


class AccessState:
    """Bindings of one store, as the door reads them. Safe to use from several threads.

    Args:
        token_key: the 32-byte key that token hashes are made with.
    """

    def __init__(self, database: Database, roles: Roles, token_key: bytes) -> None:
        self._database = database
        self._roles = roles
        self._token_key = token_key
        self._snapshot: Snapshot | None = None
        self._lock = threading.Lock()

    def current(self) -> Snapshot:
        """The newest snapshot: a look at the revision, and the rows only where it has risen."""
        with self._database.read() as tx:
            return self.snapshot_of(tx)

    def changed(self, tx: Transaction, token: Token | None, *, since: int) -> Snapshot | None:
        """The snapshot of this transaction where it is newer than revision `since`, else None.

        Raises: Unauthenticated where the token was revoked in between.
        """
        if _revision(tx) == since:
            return None
        if token is not None:
            now = TOKEN.get(tx, token.id)
            if now is None or now.revoked_at is not None:
                raise Unauthenticated(f"token {token.id}: revoked", next_step="falaj login")
        return self.snapshot_of(tx)

    def authenticate(self, text: str, *, single_use: bool = False) -> tuple[Principal, Token]:
        """Who presents this token. Raises: Unauthenticated."""
        presented = parse(text)
        with self._database.read() as tx:
            token = check(
                presented, TOKEN.get(tx, presented.id), self._token_key, datetime.now(UTC), single_use=single_use
            )
            principal = PRINCIPAL.get(tx, token.principal)
        if principal is None or principal.person != token.person:
            raise Unauthenticated("no valid token", next_step="falaj login, or pass a token with the request")
        return principal, token

    def snapshot_of(self, tx: Transaction) -> Snapshot:
        """The snapshot as an open transaction sees it."""
        revision = _revision(tx)
        held = self._snapshot
        if held is not None and held.revision == revision:
            return held
        fresh = Snapshot.build(BINDING.scan(tx), PRINCIPAL.scan(tx), self._roles, revision=revision)
        with self._lock:
            if self._snapshot is None or self._snapshot.revision < revision:
                self._snapshot = fresh
        return fresh


def _revision(tx: Transaction) -> int:
    row = tx.row(SQL["meta"], {"key": REVISION})
    return 0 if row is None else int(row[0])
