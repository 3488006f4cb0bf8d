"""The ground as one value: what the door and the rooms stand on. Opened by the platform."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from falaj.core.encoding import decode, moment, parse_moment
from falaj.core.errors import MissingPart
from falaj.core.records import Project
from falaj.store.catalog import Catalog
from falaj.store.content import Contents
from falaj.store.keys.sql import StoreKeys
from falaj.store.kinds import Kinds
from falaj.store.ledger.checkpoint import Signer
from falaj.store.ledger.log import Heads, Log
from falaj.store.ledger.publish import Publisher
from falaj.store.metadata import Database, Transaction
from falaj.store.metadata.queries import queries
from falaj.store.rows import PROJECT
from falaj.store.unit import Units

SQL = queries("ground")
LEDGER = queries("ledger")
KEYS_KEPT = timedelta(days=1)
FORGET_EVERY = 256


class Ground:
    """One open store.

    Args:
        keys: the key hierarchy under the custodian's root.
        contents: the objects, by location and key domain.
        signer: signs checkpoints of the ledger.
        scratch: a private folder for what lies there only while it is worked on.
        four_eyes: a server, where persons can be told apart.

    `residency` is set by the platform: raises where the project's policies do not let bytes rest or be read here.
    """

    def __init__(
        self,
        database: Database,
        kinds: Kinds,
        log: Log,
        units: Units,
        keys: StoreKeys,
        contents: Contents,
        signer: Signer,
        *,
        scratch: Path,
        four_eyes: bool = False,
    ) -> None:
        self.database = database
        self.kinds = kinds
        self.catalog = Catalog(kinds, four_eyes=four_eyes)
        self.log = log
        self.units = units
        self.keys = keys
        self.contents = contents
        self.signer = signer
        self.scratch = scratch
        self.four_eyes = four_eyes
        self._remembered = itertools.count()
        self.residency: Callable[[Transaction, str, str], None] = lambda _tx, _project, _what: None
        self.publisher: Publisher | None = None
        self._ports: dict[str, Callable[[], object]] = {}
        self.heads = Heads(log, database, signer, self._publish)

    def fill(self, port: str, adapter: Callable[[], object]) -> None:
        """Put something behind a port of the rooms; it is made when it is first asked for."""
        self._ports[port] = cache(adapter)

    def port(self, port: str) -> Any:
        """What the platform put behind a port. Raises: MissingPart where it put nothing."""
        if port not in self._ports:
            raise MissingPart(f"{port}: nothing does this here", next_step="open the store by the platform")
        return self._ports[port]()

    def publish_to(self, publisher: Publisher) -> None:
        """From now on signed heads are kept there too, and none is signed that does not continue what lies there."""
        self.publisher = publisher
        self.log.kept = publisher.newest

    def project_by_name(self, tx: Transaction, project: str) -> Project | None:
        """A project by its name, None where there is none."""
        rows = PROJECT.where(tx, "name = :name", {"name": project})
        return rows[0] if rows else None

    def remembered(self, tx: Transaction, principal: str, key: str) -> tuple[str, bytes] | None:
        """The request digest and response kept under an idempotency key."""
        row = tx.row(SQL["remembered"], {"principal": principal, "key": key})
        return None if row is None else (str(row[0]), bytes(row[1]))

    def remember(
        self, tx: Transaction, principal: str, key: str, op: str, request: str, response: bytes, at: str
    ) -> None:
        """Keep the answer to a request under its idempotency key for a day, in the transaction of its effect."""
        if next(self._remembered) % FORGET_EVERY == 0:
            tx.run(SQL["forget_old"], {"before": moment(parse_moment(at) - KEYS_KEPT)})
        tx.run(
            SQL["remember"],
            {"principal": principal, "key": key, "op": op, "request": request, "response": response, "at": at},
        )

    def answer(self, tx: Transaction, principal: str, key: str, response: bytes) -> None:
        """Put the answer under a key that is kept already."""
        tx.run(SQL["answer"], {"principal": principal, "key": key, "response": response})

    def forget(self, tx: Transaction, principal: str, key: str) -> None:
        """Free an idempotency key."""
        tx.run(SQL["forget"], {"principal": principal, "key": key})

    def detail(self, tx: Transaction, entry_id: str) -> dict[str, Any]:
        """The words beside an entry; empty where there are none, or where they were erased."""
        row = tx.row(LEDGER["detail"], {"entry": entry_id})
        return {} if row is None else decode(bytes(row[1]), dict[str, Any], "detail")

    def close(self) -> None:
        """Close the database."""
        self.heads.close()
        self.database.close()

    def _publish(self, note: str) -> None:
        if self.publisher is not None:
            self.publisher.publish(note)
