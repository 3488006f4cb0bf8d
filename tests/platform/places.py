"""Project folders and platforms for tests, on either database, embedded or served."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from falaj.access import tokens
from falaj.access.rows import PRINCIPAL, principal_named
from falaj.door import Caller
from falaj.platform import Platform
from falaj.store.kinds import Kind

TOML = """\
project = "flights"

[locations.main]
url = "file:objects"
region = "AE-DU"
"""

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {name}
name: {name}
version: 1.0.0
status: active
description: {{purpose: training}}
schema:
  - name: {name}
    properties:
      - {{name: id, logicalType: integer, required: true, unique: true}}
      - {{name: city, logicalType: string, classification: {classification}}}
"""


def make_place(folder: Path, toml: str = TOML) -> Path:
    """A project folder with its `falaj.toml`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "falaj.toml").write_text(toml, encoding="utf-8")
    return folder


@dataclass
class Person:
    """Somebody with a token of their own."""

    platform: Platform
    name: str
    token: str

    @property
    def caller(self) -> Caller:
        return self.platform.authenticate(self.token)

    def call(self, operation: str, /, project: str = "flights", key: str = "", **args: Any) -> Any:
        return self.platform.door.call(operation, args, caller=self.caller, project=project, idempotency_key=key)

    def stage(self, path: Path, project: str = "flights") -> dict[str, str]:
        with path.open("rb") as stream:
            told = self.platform.stage(self.caller, project, path.name, stream, 1 << 30)
        return {"staged": told["staged"], "name": told["name"]}


@dataclass
class Served:
    """A store in server mode, with its owner."""

    platform: Platform
    owner: Person

    def person(self, name: str, *roles: tuple[str, str], groups: Iterable[str] = (), conditions: Any = ()) -> Person:
        """A new person with roles on scopes (role, scope), and a token."""
        self.owner.call("principal.add", project="", name=name, groups=list(groups))
        for role, scope in roles:
            self.owner.call("access.grant", project="", subject=name, role=role, scope=scope, conditions=conditions)
        return self.another_token(name)

    def another_token(self, name: str, **more: Any) -> Person:
        return Person(self.platform, name, self.owner.call("token.issue", project="", principal=name, **more).text)

    def expired(self, name: str) -> str:
        """The text of a token of this person that expired an hour ago."""
        with self.platform.ground.database.read() as tx:
            principal = principal_named(tx, name)
        assert principal is not None
        then = datetime.now(UTC) - timedelta(hours=2)
        minted = tokens.mint(
            principal, key=self.platform.door.token_key, now=then, expires_at=then + timedelta(hours=1)
        )
        with self.platform.ground.database.read() as tx:
            assert PRINCIPAL.get(tx, principal.id)
        return minted.reveal()


def serve(place: Path, database: str = "", kinds: Iterable[Kind[Any]] = ()) -> Served:
    """Make a store, open it as a server does, and let its first owner in."""
    Platform.create(place, "flights", database=database, kinds=kinds).close()
    platform = Platform.open(place, server=True, database=database, kinds=kinds)
    try:
        bootstrap = platform.bootstrap_token()
        assert bootstrap is not None
        _, text = platform.claim(bootstrap, "olga")
    except BaseException:
        platform.close()
        raise
    return Served(platform, Person(platform, "olga", text))


def contract(name: str = "flights", classification: str = "internal") -> dict[str, str]:
    """A small contract, as a file to be applied."""
    return {"path": f"contracts/{name}.yaml", "text": CONTRACT.format(name=name, classification=classification)}


def rows(path: Path, start: int = 0, count: int = 5) -> Path:
    """A small CSV file that keeps the small contract."""
    lines = ["id,city", *(f"{i},Dubai" for i in range(start, start + count))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
