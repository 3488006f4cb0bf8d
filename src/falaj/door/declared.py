"""Declaring operations: what each is called, what it touches, who may do it, and how people reach it.

Four sorts, because work has four shapes:

    query      reads one snapshot; pages by key
    command    one transaction: effect and entry; idempotency key; expected version
    transfer   moves bytes, staged by digest or streamed out; a command or query frames it
    job        takes its time: a run that begins, works outside of any transaction, and concludes in one
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from falaj.access.roles import Roles
from falaj.core.entries import What
from falaj.core.errors import Invalid

Sort = Literal["query", "command", "transfer", "job"]
F = TypeVar("F", bound=Callable[..., Any])
MARK = "__falaj_operation__"


class NotDeclared(Invalid):
    """No operation of that name."""

    code, status = "no_such_operation", 404


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
        judged: the conditions of bindings that it is judged by; others do not apply to it.
        shown_once: its result holds a secret, which is kept nowhere: not under an idempotency key either.
        narrows: a list; who may do it on things inside of what it lists, and not on all of that, gets those things.
        params: struct of its arguments.
        returns: type of its result.
    """

    name: str
    sort: Sort
    on: tuple[str, ...]
    what: What | None
    roles: frozenset[str]
    kind: str
    judged: frozenset[str]
    shown_once: bool
    narrows: bool
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
            judged={o.name: o.judged for o in self},
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
                declared = getattr(value, MARK, None)
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
    judged: tuple[str, ...],
    shown_once: bool = False,
    narrows: bool = False,
) -> Callable[[F], F]:
    def mark(function: F) -> F:
        doc = inspect.getdoc(function) or ""
        declared = Operation(
            name=operation,
            sort=sort,
            on=(on,) if isinstance(on, str) else on,
            what=what,
            roles=frozenset({role, *also}),
            kind=kind,
            judged=frozenset(judged),
            shown_once=shown_once,
            narrows=narrows,
            function=function,
            params=_params_of(operation, function),
            returns=typing.get_type_hints(function).get("return", None),
            faces=Faces(cli=cli, without=without or {}),
            summary=doc.partition("\n")[0],
            description=doc,
        )
        vars(function)[MARK] = declared
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
    judged: tuple[str, ...] = (),
    narrows: bool = False,
) -> Callable[[F], F]:
    """Declare a query: reads one snapshot, changes nothing, leaves no entry unless it is refused."""
    return _declare("query", operation, on, role, also, cli, without, None, kind, judged, narrows=narrows)


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
    judged: tuple[str, ...] = (),
    shown_once: bool = False,
) -> Callable[[F], F]:
    """Declare a command: one transaction, effect and entry."""
    return _declare("command", operation, on, role, also, cli, without, entry, kind, judged, shown_once)


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
    judged: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Declare a job: a run that works outside of any transaction and concludes in one."""
    return _declare("job", operation, on, role, also, cli, without, entry, kind, judged)


def transfer(
    operation: str,
    *,
    on: str | tuple[str, ...],
    role: str = "viewer",
    also: tuple[str, ...] = (),
    cli: str = "",
    without: Mapping[str, str] | None = None,
    kind: str = "",
    judged: tuple[str, ...] = (),
    entry: What | None = None,
) -> Callable[[F], F]:
    """Declare a transfer out: the result is an iterator of bytes; each reading is an entry."""
    return _declare("transfer", operation, on, role, also, cli, without, entry or What.CONTENT_READ, kind, judged)


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
