"""A version is added and a ref moves to it, on PostgreSQL, without a ledger: by the same code, and by none of it.

`UnwrittenUnits` runs the catalog as it is, but nothing is digested, no entry is written and nothing is numbered.
`Bare` is plain psycopg: the reads, locks and rows that the change needs whatever keeps it (numbers given one after the
other, the guards looked at, the holder held), and nothing of Falaj.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from falaj.store.ledger.merkle import Frontier
from falaj.store.metadata.tables import Table
from falaj.store.unit import Actor, Unit, Units

FIND = "SELECT id, project, kind, name, created_at FROM asset WHERE project = %s AND kind = %s AND name = %s"
LOCK = "SELECT id, project, kind, name, created_at FROM asset WHERE id = %s FOR UPDATE"
LAST = "SELECT max(number) FROM version WHERE asset = %s"
VERSION = """INSERT INTO version (asset, number, payload, digest, created_at, by, person, content, domain, location,
    size_bytes, stored_bytes, run, state) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
FIELD = "INSERT INTO projection (asset, number, field, text_value, number_value) VALUES (%s, %s, %s, %s, %s)"
HOLDER = "SELECT asset, name, version, revision, moved_at FROM ref WHERE asset = %s AND name = %s FOR UPDATE"
GUARDS = """SELECT gate, project, kind, name, ref, gate_version FROM guard
    WHERE project = %s AND kind = %s AND name = %s AND ref = %s ORDER BY gate"""
REF = """INSERT INTO ref (asset, name, version, revision, moved_at) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (asset, name) DO UPDATE SET version = excluded.version, revision = excluded.revision,
    moved_at = excluded.moved_at"""
MOVE = """INSERT INTO ref_move (asset, ref, revision, version, previous, sort, at, by, person, entry, proposal)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""


class Unwritten(Unit):
    """A unit that changes rows and tells nobody."""

    def _note(self, table: Table[Any], row: Any) -> None:
        pass

    def say(self, *_words: Any, **_more: Any) -> Any:
        """Nothing is said."""

    def finish(self) -> Frontier | None:
        return None


class UnwrittenUnits(Units):
    """Opens them."""

    @contextmanager
    def begin(self, actor: Actor, op: str, project: str = "") -> Iterator[Unit]:
        with self.database.write() as tx:
            yield Unwritten(tx, self.log, actor, op, self.commit_key, project)


class Bare:
    """One writer with a connection of its own; statements are prepared at their first use."""

    def __init__(self, url: str, project: str, name: str, actor: str, person: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._project, self._name, self._actor, self._person = project, name, actor, person

    def change(self, title: str) -> None:
        """One transaction."""
        execute = self._connection.execute
        execute("BEGIN")
        asset = _one(execute(FIND, (self._project, "thing", self._name)))[0]
        execute(LOCK, (asset,)).fetchone()
        number = 1 + (_one(execute(LAST, (asset,)))[0] or 0)
        payload = json.dumps({"payload": {"title": title}, "schema": 1}).encode()
        digest = "sha256:" + hashlib.sha256(payload).hexdigest()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        by = (self._actor, self._person)
        row = (asset, number, payload, digest, now, *by, None, None, None, 0, 0, None, "live")
        execute(VERSION, row)
        execute(FIELD, (asset, number, "title", title, None))
        holder = execute(HOLDER, (asset, "main")).fetchone()
        execute(GUARDS, (self._project, "thing", self._name, "main")).fetchall()
        revision, previous = (holder[3] + 1, holder[2]) if holder else (1, None)
        execute(REF, (asset, "main", number, revision, now))
        entry = f"{time.time_ns() // 1_000_000:012x}{os.urandom(7).hex()}"
        execute(MOVE, (asset, "main", revision, number, previous, "move", now, *by, entry, None))
        execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def _one(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the asset is not there")
    return row
