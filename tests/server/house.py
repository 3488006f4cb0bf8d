"""A whole house: the real platform behind a real server, and persons who come in by HTTP with tokens of their own."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from falaj.access.rows import BINDING, PRINCIPAL, TOKEN
from falaj.client import RemoteSession, claim
from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.platform import Platform
from falaj.server.settings import Limits, Rate, Settings
from falaj.store import rows as stored
from falaj.store.keys.sql import KEY
from falaj.store.metadata.tables import Table
from tests.server.running import Running

PROJECT = "flights"
GOVERNED = [PRINCIPAL, BINDING, TOKEN, KEY] + [
    table
    for table in vars(stored).values()
    if isinstance(table, Table) and table.governed and table not in (stored.RUN, stored.RUN_LINK)
]
OPEN = Rate(1e6, 1e6)  # the limits are tested elsewhere; here they would only slow the tests down
TOML = """\
project = "flights"

[locations.main]
url = "file:objects"
region = "AE-DU"
"""


class House(Running):
    """The server of one store. The first owner, Olga, has come in by the one-time token.

    Args:
        place: the project folder; made where it is missing.
        database: address of the metadata.
    """

    def __init__(self, place: Path, database: str = "", *, toml: str = TOML, **limits: Any) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / "falaj.toml").write_text(toml, encoding="utf-8")
        self.place, self.database = place, database
        Platform.create(place, PROJECT, database=database).close()
        self.platform = Platform.open(place, server=True, database=database)
        self._open: list[RemoteSession] = []
        settings = Settings(
            port=0, limits=Limits(**{"by_address": OPEN, "by_principal": OPEN, "claims": OPEN, **limits})
        )
        super().__init__(self.platform, settings, io.StringIO())
        self.one_time = str(self.platform.bootstrap_token())
        self.tokens = {"olga": claim(self.url, self.one_time, "olga")}
        self.token = self.tokens["olga"]
        self.olga = self.session("olga")

    def session(self, name: str, project: str = PROJECT, token: str = "") -> RemoteSession:
        """A session of a person in a project; closed with the house."""
        self._open.append(RemoteSession(self.url, token or self.tokens[name], project))
        return self._open[-1]

    def person(self, name: str, *roles: tuple[str, str], groups: Iterable[str] = ()) -> RemoteSession:
        """A new person with roles (role, scope) and a token; their session."""
        self.olga.call("principal.add", {"name": name, "groups": list(groups)})
        for role, scope in roles:
            self.olga.call("access.grant", {"subject": name, "role": role, "scope": scope})
        self.tokens[name] = self.new_token(name)
        return self.session(name)

    def new_token(self, name: str, **more: Any) -> str:
        """One more token of a person."""
        return str(self.olga.call("token.issue", {"principal": name, **more})["text"])

    def entries(self, what: str = "", scope: str = "store", limit: int = 200) -> list[dict[str, Any]]:
        """Entries of the ledger, newest first."""
        return list(self.olga.call("ledger.log", {"scope": scope, "what": what, "limit": limit})["items"])

    def refused(self, by: str) -> int:
        """How many entries of refusals this person has."""
        return sum(entry["by"] == by for entry in self.entries("request.refused"))

    def fingerprint(self) -> str:
        """Of every governed row but those of runs: a job that is refused leaves a run that says so."""
        with self.platform.ground.database.read() as tx:
            rows = {table.name: sorted(map(canonical, table.scan(tx))) for table in GOVERNED}
        return sha256(canonical(rows))

    def check_clean(self) -> None:
        """Everything is stored as it was committed, and each state has its entry."""
        found = self.olga.call("store.verify")
        assert found["ok"], found["problems"]

    def close(self) -> None:
        """Stop the server, close the store."""
        for session in self._open:
            session.close()
        self.stop()
        self.platform.close()
