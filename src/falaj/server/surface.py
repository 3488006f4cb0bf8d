"""From declared operations to routes, and from requests to their arguments. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as types

from falaj.core.encoding import decode
from falaj.core.errors import Invalid
from falaj.door import MAX_KEY, Operation, Operations
from falaj.server.errors import MethodNotAllowed
from falaj.server.limits import check_depth
from falaj.server.records import Index, Place

P = TypeVar("P", bound=msgspec.Struct)
_TEXT = (
    types.StrType,
    types.EnumType,
    types.LiteralType,
    types.BytesType,
    types.DateTimeType,
    types.DateType,
    types.TimeType,
    types.UUIDType,
    types.DecimalType,
)
_WAIT = re.compile(r"wait=([0-9]{1,6})(?:\s*[,;]|\s*$)")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as it is reached over HTTP.

    Attributes:
        in_project: below `/v1/projects/{project}/`; else straight below `/v1/`.
        texts: arguments that a query string gives as they are; the others are given as JSON.
    """

    operation: Operation
    method: str
    in_project: bool
    texts: frozenset[str]

    @property
    def path(self) -> str:
        """Template of its path."""
        return ("/v1/projects/{project}/" if self.in_project else "/v1/") + self.operation.name


def routes(operations: Operations) -> dict[tuple[bool, str], Route]:
    """Every operation that has an HTTP face, by (in a project?, name)."""
    out = {}
    for operation in operations:
        if "http" in operation.faces.without:
            continue
        in_project = any(template != "store" for template in operation.on)
        fields = types.type_info(operation.params).fields  # type: ignore[attr-defined]
        out[in_project, operation.name] = Route(
            operation=operation,
            method="GET" if operation.sort in ("query", "transfer") else "POST",
            in_project=in_project,
            texts=frozenset(f.name for f in fields if _is_text(f.type)),
        )
    return out


def query_arguments(route: Route, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The arguments in a query string: text as it is, everything else as JSON.

    Raises: Invalid for what is given twice or is not JSON. Unknown names are left for the door to refuse.
    """
    out: dict[str, Any] = {}
    for key, text in pairs:
        if key in out:
            raise Invalid(f"{route.operation.name}: {_shown(key)} is given twice", next_step="give it once")
        if key in route.texts or key not in route.operation.params.__struct_fields__:
            out[key] = text
            continue
        try:
            out[key] = decode(text, object, key)
        except Invalid as error:
            raise Invalid(
                f"{route.operation.name}: {_shown(key)} is not JSON", next_step="numbers, true, false, lists as JSON"
            ) from error
    return out


def body_arguments(params: type[P], body: bytes, depth: int, what: str) -> P:
    """The arguments in a JSON body; an empty body is an empty object. Raises: Invalid."""
    body = body or b"{}"
    value = decode(body, params, what)
    if body.count(b"[") + body.count(b"{") > depth:  # only a free-form argument can nest that deep
        check_depth(body, msgspec.json.decode(body), depth)
    return value


def check_method(route: Route, method: str) -> None:
    """Raises: MethodNotAllowed."""
    if method != route.method:
        raise MethodNotAllowed(method, route.method)


def check_no_query(what: str, query: str) -> None:
    """Arguments of a command are in its body; a query string would end in logs. Raises: Invalid."""
    if query:
        raise Invalid(f"{what}: takes no query string", next_step="put the arguments in the JSON body")


def check_key(key: str) -> None:
    """Raises: Invalid for an idempotency key that is too long or not plain ASCII."""
    if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise Invalid(f"idempotency key: at most {MAX_KEY} printable ASCII characters", next_step="use a random one")


def index(known: Mapping[tuple[bool, str], Route]) -> Index:
    """Every route in short."""
    return Index(operations={r.operation.name: Place(sort=r.operation.sort, path=r.path) for r in known.values()})


def wait_of(prefer: str, most: float) -> float | None:
    """Seconds that a `Prefer` header asks to wait, at most `most`; None where it asks for none."""
    match = _WAIT.search(prefer)
    return min(float(match[1]), most) if match else None


def name_of(params: Mapping[str, str], key: str) -> str:
    """One text of a query string. Raises: Invalid where it is missing."""
    if not params.get(key):
        raise Invalid(f"{key} is missing", next_step=f"add ?{key}=…")
    return params[key]


def _shown(key: str) -> str:
    return ascii(key[:40])


def _is_text(field: types.Type) -> bool:
    if isinstance(field, types.Metadata):
        return _is_text(field.type)
    if isinstance(field, types.UnionType):
        return any(_is_text(t) for t in field.types)
    if isinstance(field, types.LiteralType):
        return any(isinstance(v, str) for v in field.values)
    return isinstance(field, _TEXT)
