"""Deciding: who asks, what a call touches in words of access, and whether the bindings of this instant allow it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from falaj.access import rules as access_rules
from falaj.access import scopes
from falaj.access.records import Decision, Principal, Request
from falaj.access.snapshot import Snapshot
from falaj.access.tokens import Token
from falaj.core.errors import Invalid
from falaj.core.names import Thing, name, printable
from falaj.door.declared import Operation, Operations
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.metadata.tables import Table
from falaj.store.rows import ASSET, PROPOSAL, VERDICT
from falaj.store.unit import Actor

EMBEDDED_OWNER = Decision(True, "allowed", "embedded: the operating-system user owns this store")
# `asset:{project}/{thing}` or `ref:{project}/{model=model}`: the address in an argument, and the kind it means.
_FIELD = re.compile(r"\{(\w+)\}")
_ADDRESS = re.compile(r"(asset|ref):\{project\}/\{(?P<field>\w+)(?:=(?P<kind>\w+))?\}")
# What is about a move of one ref, and is decided as that ref is.
_OF_REF: Mapping[str, Table[Any]] = {"proposal": PROPOSAL, "verdict": VERDICT}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller. `embedded`: the operating-system user who owns the store."""

    principal: Principal
    token: Token | None = None
    embedded: bool = False

    @property
    def actor(self) -> Actor:
        """As units of work know it."""
        return Actor(self.principal.id, self.principal.person, self.principal.name)


class Staging(Protocol):
    """Bytes that came before the operation that names them."""

    def path(self, word: str, caller: Caller) -> Path:
        """The file staged under this word by this caller. Raises: NotFound; Conflict where it changed since."""
        ...

    def done(self, words: Iterable[str]) -> None:
        """Forget what an operation has used."""
        ...


Facts = Callable[[Operation, msgspec.Struct, Caller, str, tuple[str, ...]], Mapping[str, Any]]
"""What conditions are judged on: of an operation, its arguments, its caller, the project's name, the resources."""


class Bindings(Protocol):
    """Where the door gets the bindings from."""

    def current(self) -> Snapshot:
        """The newest snapshot."""
        ...

    def changed(self, tx: Transaction, token: Token | None, *, since: int) -> Snapshot | None:
        """The snapshot of this transaction where it is newer than revision `since`, else None.

        Raises: Unauthenticated where the token was revoked.
        """
        ...


def resource_of(project: str, thing: Thing, *, whole: bool = False) -> str:
    """`asset:P/kind/name`, or `ref:P/kind/name@ref` where the thing names a ref and not the `whole` asset is meant."""
    base = f"{project}/{thing.kind}/{thing.name}"
    return f"ref:{base}@{thing.ref}" if thing.ref and not whole else f"asset:{base}"


def _filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its arguments, each of which must be a name. Raises: InvalidName."""
    for field in _FIELD.findall(template):
        if template == "{" + field + "}":
            return scopes.parse(values[field])
        if field != "project":
            name(values[field], field)
    return template.format_map(values)


class Deciding:
    """Decisions over one ground.

    `facts` is set by the platform: what the conditions of bindings are judged on, found for one call.

    Args:
        operations: every declared operation.
        bindings: where the bindings in force come from.
        staging: where bytes wait that were sent before the operation that names them.
        token_key: the 32-byte key that token hashes are made with.
    """

    def __init__(
        self, ground: Ground, operations: Operations, bindings: Bindings, staging: Staging, token_key: bytes
    ) -> None:
        self.ground = ground
        self.operations = operations
        self.staging = staging
        self._bindings = bindings
        self.token_key = token_key
        self.facts: Facts = lambda *_: {}

    def decide(
        self,
        caller: Caller,
        operation: str,
        resources: tuple[str, ...],
        snapshot: Snapshot | None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide by a snapshot. The answer carries what decided it. Embedded, the owner of the store is asking."""
        if caller.embedded or snapshot is None:
            return EMBEDDED_OWNER
        return access_rules.decide(self.request(caller, operation, resources, attributes), snapshot)

    def request(
        self,
        caller: Caller,
        operation: str,
        resources: tuple[str, ...],
        attributes: Mapping[str, Any] | None = None,
    ) -> Request:
        """The caller's question, narrowed to what the token in use is good for."""
        asked = Request(
            principal=caller.principal,
            operation=operation,
            resources=resources,
            attributes=attributes or {},
            at=datetime.now(UTC),
        )
        if caller.token is None:
            return asked
        return msgspec.structs.replace(asked, token_scope=caller.token.scope, token_roles=caller.token.roles)

    def parts(
        self, caller: Caller, operation: Operation, resources: tuple[str, ...], snapshot: Snapshot | None
    ) -> tuple[str, ...]:
        """The scopes inside the one resource of a list where the caller may do it; none where it narrows nothing.

        A binding counts only where no condition of it bears on the operation: a list has nothing to judge them on.
        """
        if not operation.narrows or snapshot is None:
            return ()
        found = access_rules.reach(self.request(caller, operation.name, resources), snapshot)
        return tuple(r.scope for r in found if not r.conditions and scopes.covers(resources[0], r.scope))

    def check_still_allowed(
        self,
        tx: Transaction,
        caller: Caller,
        operation: str,
        resources: tuple[str, ...],
        snapshot: Snapshot | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """Inside a writing transaction: what was decided still holds by the bindings and the token of this instant.

        Raises: Unauthenticated, NotFound, Forbidden: as if it were asked now.
        """
        if caller.embedded or snapshot is None:
            return
        fresh = self._bindings.changed(tx, caller.token, since=snapshot.revision)
        if fresh is not None:
            decision = self.decide(caller, operation, resources, fresh, attributes)
            if not decision.allowed:
                raise access_rules.refusal(self.request(caller, operation, resources, attributes), decision, fresh)

    def bindings(self) -> Snapshot:
        """The bindings in force, for explanations."""
        return self._bindings.current()

    def snapshot(self, caller: Caller) -> Snapshot | None:
        """The bindings in force; None where the caller owns the store and none are asked."""
        return None if caller.embedded else self._bindings.current()

    def resources(self, operation: Operation, params: msgspec.Struct, project: str) -> tuple[str, ...]:
        """What a call touches, from the operation's templates and the call's arguments.

        Raises: InvalidName for an argument that is no address.
        """
        values: dict[str, str] = {"project": project}
        for field in operation.params.__struct_fields__:
            value = getattr(params, field)
            if isinstance(value, str):
                values[field] = value
        out: list[str] = []
        for template in operation.on:
            address = _ADDRESS.fullmatch(template)
            if address is None:
                out.append(self._as_ref(project, _filled(template, values)))
                continue
            given = getattr(params, address["field"])
            for text in [given] if isinstance(given, str) else given:
                thing = self.thing(project, text, address["kind"] or operation.kind)
                out.append(resource_of(project, thing, whole=address[1] == "asset"))
        return tuple(dict.fromkeys(out))

    def _as_ref(self, project: str, resource: str) -> str:
        """For a proposal or a verdict the ref that it is about: a role on that ref is enough, and one elsewhere none.

        Where the project has none of that id the resource stays, so that it is refused as anything unknown is.
        """
        sort, _, path = resource.partition(":")
        if (table := _OF_REF.get(sort)) is None:
            return resource
        with self.ground.database.read() as tx:
            row = table.get(tx, path.rpartition("/")[2])
            asset = ASSET.get(tx, row.asset) if row else None
            owner = self.ground.project_by_name(tx, project)
        if row is None or asset is None or owner is None or row.project != owner.id:
            return resource
        return resource_of(project, Thing(asset.name, asset.kind, row.ref))

    def thing(self, project: str, text: str, kind: str) -> Thing:
        """An address with its kind: as named, else the kind meant, else looked up among those that may be bare.

        Raises: InvalidName; Invalid where the address names another kind than the one meant.
        """
        thing = Thing.parse(self.ground.kinds[kind].spelled(text) if kind else text, kind=kind or None)
        if kind and thing.kind != kind:
            raise Invalid(f"{printable(text)}: a {kind} is expected", next_step=f"such as {kind}/{thing.name}")
        if thing.kind:
            _ = self.ground.kinds[thing.kind]
            return thing
        with self.ground.database.read() as tx:
            row = self.ground.project_by_name(tx, project)
            return self.ground.catalog.kind_of(tx, row.id if row else "", thing, "model")
