"""THE ONE DOOR. Nothing is done or shown but through an operation that is declared here.

    declared operation -> authenticate -> authorise -> validate -> one transaction (effect + entry) -> result

From a declaration come the local Python call, the HTTP route, the client method, the OpenAPI entry, the permission,
the ledger entry and the command. Four sorts, because work has four shapes:

    query      reads one snapshot; pages by key
    command    one transaction: effect and entry; idempotency key; expected version
    transfer   moves bytes, staged by digest or streamed out; a command or query frames it
    job        takes its time: a run that begins, works outside of any transaction, and concludes in one

A refusal (by policy, gate, contract, residency) is an entry of its own. Embedded and behind the server this code is
the same; only the caller differs.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from falaj.access import rules as access_rules
from falaj.access.records import Decision, Principal, Request
from falaj.access.roles import BUILT_IN, Roles
from falaj.access.snapshot import Snapshot
from falaj.access.tokens import Token
from falaj.core.digests import sha256
from falaj.core.encoding import canonical, convert
from falaj.core.entries import What
from falaj.core.errors import Conflict, FalajError, Forbidden, Invalid, Refused
from falaj.core.names import Thing, name
from falaj.core.records import Project, Run
from falaj.store import runs
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.unit import Actor, Unit

Sort = Literal["query", "command", "transfer", "job"]
F = TypeVar("F", bound=Callable[..., Any])
MAX_KEY = 128
EMBEDDED_OWNER = Decision(True, "allowed", "embedded: the operating-system user owns this store")


class NotDeclared(Invalid):
    """No operation of that name."""

    code, status = "no_such_operation", 404


class SamePerson(Forbidden):
    """Proposer and approver are the same person."""

    code = "same_person"


class KeyReused(Conflict):
    """An idempotency key came again with another request."""

    code, status = "idempotency_key_reused", 422


class Faces(msgspec.Struct, frozen=True, kw_only=True):
    """How people reach an operation. A face that makes no sense is left out with its reason.

    Attributes:
        cli: the command, noun verb; "" where `without` has a reason under "cli".
        without: face ("cli", "http", "python") -> the reason that it has none.
    """

    cli: str = ""
    without: Mapping[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One declared operation.

    Attributes:
        on: templates of the resources it touches; each must be allowed.
        what: the event that its entry tells; None for a query.
        roles: the least built-in roles that hold it (see `access.roles`).
        kind: the kind meant where an argument names none.
        params: struct of its arguments.
        returns: type of its result.
    """

    name: str
    sort: Sort
    on: tuple[str, ...]
    what: What | None
    roles: frozenset[str]
    kind: str
    function: Callable[..., Any]
    params: type[msgspec.Struct]
    returns: Any
    faces: Faces
    summary: str
    description: str

    @property
    def needs_project(self) -> bool:
        """Whether it is done inside a project; else it is the store's own."""
        return any("{project}" in template for template in self.on)


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
        """The file staged under this word by this caller. Raises: NotFound."""
        ...


class Context:
    """What an operation works with. Made by the door alone."""

    def __init__(
        self,
        door: Door,
        operation: Operation,
        caller: Caller,
        project: Project | None,
        resources: tuple[str, ...],
        snapshot: Snapshot | None,
    ) -> None:
        self.door = door
        self.ground: Ground = door.ground
        self.operation = operation
        self.caller = caller
        self.resources = resources
        self.snapshot = snapshot
        self._project = project
        self._tx: Transaction | None = None
        self._unit: Unit | None = None
        self.run: Run | None = None
        self.result: dict[str, Any] = {}
        self.concluded = False
        self.progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None

    @property
    def project(self) -> Project:
        """The project at hand. Raises: Invalid where the operation was called without one."""
        if self._project is None:
            raise Invalid("this operation needs a project", next_step="name the project")
        return self._project

    @property
    def tx(self) -> Transaction:
        """The open transaction of a query or command."""
        if self._unit is not None:
            return self._unit.tx
        if self._tx is None:
            raise Invalid(f"{self.operation.name} has no open transaction")
        return self._tx

    @property
    def unit(self) -> Unit:
        """The open unit of a command."""
        if self._unit is None:
            raise Invalid(f"{self.operation.name} has no open unit of work")
        return self._unit

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A snapshot, for the part of a job that looks."""
        with self.ground.database.read() as tx:
            yield tx

    @contextmanager
    def begin(self) -> Iterator[Unit]:
        """A unit of work, for a part of a job that commits before its end."""
        with self.ground.units.begin(self.caller.actor, self.operation.name, self.project.id) as unit:
            self.door.check_still_allowed(unit.tx, self)
            yield unit

    @contextmanager
    def conclude(self, refusal: FalajError | None = None) -> Iterator[Unit]:
        """The unit that commits a job's effect and ends its run, together. `result` is kept in the run's row.

        Args:
            refusal: where the job is a refusal that leaves something behind (a rejected version, a verdict): the run
                ends as failed, and the caller raises it after the block.
        """
        with self.begin() as unit:
            yield unit
            if self.run is not None:
                error = refusal.as_dict() if refusal else None
                self.run = runs.end(unit, self.run, "failed" if refusal else "done", result=self.result, error=error)
                unit.say(What.RUN_ENDED, [self.run.id])
        self.concluded = True

    def staged(self, word: str) -> Path:
        """The file that was staged under this word by this caller. Raises: NotFound."""
        return self.door.staging.path(word, self.caller)

    def check_residency(self, what: str) -> None:
        """Raises: ResidencyRefused where the project's policies do not let bytes rest or be read on this host."""
        with self.reading() as tx:
            self.ground.residency(tx, self.project.id, what)

    def decide(self, operation: str, resource: str, **attributes: Any) -> Decision:
        """Would this caller be allowed another operation on a resource?"""
        return self.door.decide(
            self.caller, self.door.operations[operation].name, (resource,), self.snapshot, attributes
        )

    def thing(self, text: str) -> Thing:
        """An address with its kind, as the operation means it."""
        return self.door.thing(self.project.name, text, self.operation.kind)

    def roles_on(self, thing: Thing) -> tuple[str, ...]:
        """Every role that the caller holds on a thing."""
        if self.snapshot is None:
            return BUILT_IN
        token = self.caller.token
        narrowed = {"token_scope": token.scope, "token_roles": token.roles} if token else {}
        return access_rules.roles_on(
            self.caller.principal, self.resource(thing), self.snapshot, datetime.now(UTC), **narrowed
        )

    def require_other_person(self, person: str, thing: Thing) -> None:
        """Four eyes. Raises: Forbidden where the caller is that person, whatever token they hold."""
        if self.caller.principal.person == person:
            raise SamePerson(
                f"{thing}: the one who proposes does not approve",
                next_step="ask another person with the role maintainer"
                + (" (embedded, there is one person only: use a server)" if self.caller.embedded else ""),
            )

    def resource(self, thing: Thing) -> str:
        """The thing as a resource of this project."""
        return resource_of(self.project.name, thing)


class Operations:
    """The registry of operations. Registering is declaring; there is no other way in."""

    def __init__(self) -> None:
        self._by_name: dict[str, Operation] = {}

    def __getitem__(self, operation: str) -> Operation:
        try:
            return self._by_name[operation]
        except KeyError:
            raise NotDeclared(
                f"operation {operation[:60]!r} is not declared", next_step="see /v1/openapi.json"
            ) from None

    def __iter__(self) -> Iterator[Operation]:
        return iter(sorted(self._by_name.values(), key=lambda o: o.name))

    def __contains__(self, operation: str) -> bool:
        return operation in self._by_name

    def add(self, operation: Operation) -> None:
        """Register. Raises: Invalid for an operation without `on`, without faces, or declared twice."""
        if not operation.on:
            raise Invalid(f"operation {operation.name} names no resource: nothing could decide on it")
        if not operation.faces.cli and "cli" not in operation.faces.without:
            raise Invalid(f"operation {operation.name} has no command and no reason for having none")
        if operation.sort != "query" and operation.what is None:
            raise Invalid(f"operation {operation.name} changes things and tells no event")
        if operation.name in self._by_name:
            raise Invalid(f"operation {operation.name} is declared twice")
        self._by_name[operation.name] = operation

    def roles(self) -> Roles:
        """Every role as the named set of its operations."""
        return Roles(
            {o.name: o.roles for o in self},
            changing={o.name for o in self if o.sort in {"command", "job"}},
        )

    def check_role(self, role: str) -> None:
        """Raises: Invalid for a role that gives nothing."""
        roles = self.roles()
        if not roles.operations(role):
            raise Invalid(f"role {role[:40]!r}: there is no such role", next_step=f"one of {', '.join(roles.names())}")

    def include(self, *modules: Any) -> None:
        """Register what `@query`, `@command`, `@transfer` and `@job` marked in these modules."""
        for module in modules:
            for value in vars(module).values():
                declared = getattr(value, "__falaj_operation__", None)
                if declared is not None and value.__module__ == module.__name__:
                    self.add(declared)


def _declare(
    sort: Sort,
    operation: str,
    on: str | tuple[str, ...],
    role: str,
    also: tuple[str, ...],
    cli: str,
    without: Mapping[str, str] | None,
    what: What | None,
    kind: str,
) -> Callable[[F], F]:
    def mark(function: F) -> F:
        doc = inspect.getdoc(function) or ""
        setattr(
            function,
            "__falaj_operation__",
            Operation(
                name=operation,
                sort=sort,
                on=(on,) if isinstance(on, str) else on,
                what=what,
                roles=frozenset({role, *also}),
                kind=kind,
                function=function,
                params=_params_of(operation, function),
                returns=typing.get_type_hints(function).get("return", None),
                faces=Faces(cli=cli, without=without or {}),
                summary=doc.partition("\n")[0],
                description=doc,
            ),
        )
        return function

    return mark


def query(
    operation: str,
    *,
    on: str | tuple[str, ...],
    role: str = "viewer",
    also: tuple[str, ...] = ("auditor",),
    cli: str = "",
    without: Mapping[str, str] | None = None,
    kind: str = "",
) -> Callable[[F], F]:
    """Declare a query: reads one snapshot, changes nothing, leaves no entry unless it is refused."""
    return _declare("query", operation, on, role, also, cli, without, None, kind)


def command(
    operation: str,
    *,
    on: str | tuple[str, ...],
    entry: What,
    role: str,
    also: tuple[str, ...] = (),
    cli: str = "",
    without: Mapping[str, str] | None = None,
    kind: str = "",
) -> Callable[[F], F]:
    """Declare a command: one transaction, effect and entry."""
    return _declare("command", operation, on, role, also, cli, without, entry, kind)


def job(
    operation: str,
    *,
    on: str | tuple[str, ...],
    entry: What,
    role: str,
    also: tuple[str, ...] = (),
    cli: str = "",
    without: Mapping[str, str] | None = None,
    kind: str = "",
) -> Callable[[F], F]:
    """Declare a job: a run that works outside of any transaction and concludes in one."""
    return _declare("job", operation, on, role, also, cli, without, entry, kind)


def transfer(
    operation: str,
    *,
    on: str | tuple[str, ...],
    role: str = "viewer",
    also: tuple[str, ...] = (),
    cli: str = "",
    without: Mapping[str, str] | None = None,
    kind: str = "",
    entry: What | None = None,
) -> Callable[[F], F]:
    """Declare a transfer out: the result is an iterator of bytes; each reading is an entry."""
    return _declare("transfer", operation, on, role, also, cli, without, entry or What.CONTENT_READ, kind)


def _params_of(operation: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        hint = hints[parameter.name]
        if parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, parameter.default))
    title = "".join(part.capitalize() for part in operation.replace("_", ".").split("."))
    return msgspec.defstruct(
        title, fields, kw_only=True, frozen=True, forbid_unknown_fields=True, module=function.__module__
    )


def resource_of(project: str, thing: Thing) -> str:
    """`asset:P/kind/name`, or `ref:P/kind/name@ref`."""
    base = f"{project}/{thing.kind}/{thing.name}"
    return f"ref:{base}@{thing.ref}" if thing.ref else f"asset:{base}"


class Door:
    """The door over one ground.

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

    # the way in

    def call(
        self,
        operation_name: str,
        args: Mapping[str, Any] | msgspec.Struct,
        *,
        caller: Caller,
        project: str = "",
        idempotency_key: str = "",
        progress: Callable[[str, int, int], None] | None = None,
        on_run: Callable[[Run], None] | None = None,
    ) -> Any:
        """Do one operation for an authenticated caller.

        Args:
            args: plain values or the operation's own struct.
            idempotency_key: the same key with the same request gives the first answer again.
            on_run: told the run of a job as soon as it is committed.
        Raises: FalajError; whatever it is, nothing is half-done.
        """
        operation = self.operations[operation_name]
        params = self._validated(operation, args)
        if project:
            name(project, "project")
        resources = self._resources(operation, params, project)
        snapshot = self.snapshot(caller)
        decision = self.decide(caller, operation.name, resources, snapshot)
        if not decision.allowed:
            raise self._denied(operation, caller, project, resources, decision, snapshot)
        row = self._project_row(operation, project)
        context = Context(self, operation, caller, row, resources, snapshot)
        if progress:
            context.progress = progress
        try:
            match operation.sort:
                case "query":
                    return self._query(context, params)
                case "command":
                    return self._command(context, params, idempotency_key)
                case "transfer":
                    return self._transfer(context, params, resources)
                case "job":
                    return self._job(context, params, on_run)
        except (Refused, Forbidden) as refusal:
            if not (operation.sort == "job" and context.run is not None):
                self._tell_refusal(context.caller, operation, row, resources, refusal)
            raise

    def _query(self, context: Context, params: msgspec.Struct) -> Any:
        with self.ground.database.read() as tx:
            context._tx = tx
            return context.operation.function(context, **_fields(params))

    def _command(self, context: Context, params: msgspec.Struct, key: str) -> Any:
        operation, caller = context.operation, context.caller
        if len(key) > MAX_KEY:
            raise Invalid(f"idempotency key: {len(key)} characters, at most {MAX_KEY}")
        request = sha256(canonical([operation.name, context._project and context._project.id, params]))
        owner = context._project.id if context._project else ""
        with self.ground.units.begin(caller.actor, operation.name, owner) as unit:
            self.check_still_allowed(unit.tx, context)
            if key and (earlier := self.ground.remembered(unit.tx, caller.principal.id, key)):
                if earlier[0] != request:
                    raise KeyReused("this idempotency key came with another request before", next_step="use a new key")
                return convert(msgspec.json.decode(earlier[1]), operation.returns)
            context._unit = unit
            result = operation.function(context, **_fields(params))
            if key:
                self.ground.remember(
                    unit.tx, caller.principal.id, key, operation.name, request, canonical(result), unit.now
                )
        return result

    def _transfer(self, context: Context, params: msgspec.Struct, resources: tuple[str, ...]) -> Any:
        with self.ground.database.read() as tx:
            context._tx = tx
            stream = context.operation.function(context, **_fields(params))
        assert context.operation.what is not None  # noqa: S101  `Operations.add` refuses others
        with self.ground.units.begin(context.caller.actor, context.operation.name, context.project.id) as unit:
            unit.say(context.operation.what, [], detail={"resources": list(resources)})
        return stream

    def _job(self, context: Context, params: msgspec.Struct, on_run: Callable[[Run], None] | None) -> Any:
        operation = context.operation
        with context.begin() as unit:
            context.run = runs.start(unit, operation.name, params=_shown(params))
            unit.say(What.RUN_STARTED, [context.run.id])
        if on_run:
            on_run(context.run)
        try:
            result = operation.function(context, **_fields(params))
            if not context.concluded:
                with context.conclude():
                    pass
        except BaseException as error:
            with suppress(FalajError):  # the first error is the one to tell
                self._fail_run(context, error)
            raise
        return result

    def _fail_run(self, context: Context, error: BaseException) -> None:
        if context.run is None or context.concluded:
            return
        ours = error if isinstance(error, FalajError) else None
        told = ours.as_dict() if ours else {"code": "error", "message": type(error).__name__}
        actor = context.caller.actor
        with self.ground.units.begin(actor, context.operation.name, context.project.id) as unit:
            runs.end(unit, context.run, "failed", error=told)
            refused = isinstance(error, Refused | Forbidden)
            unit.say(What.REQUEST_REFUSED if refused else What.RUN_ENDED, [context.run.id], detail=told)
            if ours is not None:
                ours.facts = {**ours.facts, "run": context.run.id, "entry": unit.said[-1].id}

    # deciding

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

    def check_still_allowed(self, tx: Transaction, context: Context) -> None:
        """Inside a writing transaction: what was decided still holds by the bindings and the token of this instant.

        Raises: Unauthenticated, NotFound, Forbidden: as if it were asked now.
        """
        caller, snapshot = context.caller, context.snapshot
        if caller.embedded or snapshot is None:
            return
        fresh = self._bindings.changed(tx, caller.token, since=snapshot.revision)
        if fresh is not None:
            decision = self.decide(caller, context.operation.name, context.resources, fresh)
            if not decision.allowed:
                raise access_rules.refusal(
                    self.request(caller, context.operation.name, context.resources), decision, fresh
                )

    def bindings(self) -> Snapshot:
        """The bindings in force, for explanations."""
        return self._bindings.current()

    def snapshot(self, caller: Caller) -> Snapshot | None:
        """The bindings in force; None where the caller owns the store and none are asked."""
        return None if caller.embedded else self._bindings.current()

    # words and entries

    def _validated(self, operation: Operation, args: Mapping[str, Any] | msgspec.Struct) -> msgspec.Struct:
        if isinstance(args, operation.params):
            return args
        return convert(args if isinstance(args, msgspec.Struct) else dict(args), operation.params, operation.name)

    def _resources(self, operation: Operation, params: msgspec.Struct, project: str) -> tuple[str, ...]:
        values: dict[str, str] = {"project": project}
        for field in operation.params.__struct_fields__:
            value = getattr(params, field)
            if isinstance(value, str):
                values[field] = value
        out = []
        for template in operation.on:
            if "{thing}" in template:
                thing = self.thing(project, values["thing"], operation.kind)
                out.append(
                    resource_of(project, thing)
                    if template.startswith("ref:")
                    else resource_of(project, Thing(thing.name, thing.kind))
                )
            else:
                out.append(template.format_map(values))
        return tuple(out)

    def thing(self, project: str, text: str, kind: str) -> Thing:
        """An address with its kind, looked up where the text names none."""
        thing = Thing.parse(text)
        if thing.kind:
            self.ground.kinds[thing.kind]
            return thing
        with self.ground.database.read() as tx:
            rows = self.ground.project_by_name(tx, project)
            return self.ground.catalog.kind_of(tx, rows.id if rows else "", thing, kind or "model")

    def _project_row(self, operation: Operation, project: str) -> Project | None:
        if not operation.needs_project:
            return None
        if not project:
            raise Invalid(f"{operation.name} needs a project", next_step="name the project")
        with self.ground.database.read() as tx:
            return self.ground.catalog.project(tx, project)

    def _denied(
        self,
        operation: Operation,
        caller: Caller,
        project: str,
        resources: tuple[str, ...],
        decision: Decision,
        snapshot: Snapshot | None,
    ) -> FalajError:
        # Nothing here looks at whether the thing is there: unknown and forbidden are the same words and work.
        assert snapshot is not None  # noqa: S101  the owner of an embedded store is never denied
        error = access_rules.refusal(self.request(caller, operation.name, resources), decision, snapshot)
        with self.ground.database.read() as tx:
            row = self.ground.project_by_name(tx, project)
        self._tell_refusal(caller, operation, row, resources, error, decision.reason)
        return error

    def _tell_refusal(
        self,
        caller: Caller,
        operation: Operation,
        project: Project | None,
        resources: tuple[str, ...],
        error: FalajError,
        reason: str = "",
    ) -> None:
        if self.ground.database.read_only:
            return
        with self.ground.units.begin(caller.actor, operation.name, project.id if project else "") as unit:
            told = {**error.as_dict(), "resources": list(resources)}
            entry = unit.say(What.REQUEST_REFUSED, [], detail={**told, "reason": reason} if reason else told)
        error.facts = {**error.facts, "entry": entry.id}


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


def _fields(params: msgspec.Struct) -> dict[str, Any]:
    return {f: getattr(params, f) for f in params.__struct_fields__}


def _shown(params: msgspec.Struct) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(params)
    return shown
