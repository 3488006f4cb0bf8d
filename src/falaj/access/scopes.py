"""Scopes: where a binding holds, and what an operation is done to. One form of text for both, one order: *covers*.

    store                          everything
    project:P                      a project and all in it
    asset:P/kind/name              an asset, its versions and its refs
    ref:P/kind/name@ref            one ref
    sort:P/id[/part…]              any other thing of a project: run:P/ID, run:P/ID/step, token:P/ID

A scope covers itself and all below it. Each part is a name (`core.names`), which holds no `/`, `@` or `:`, so the
text has one reading only; and coverage is decided by equality with one of the resource's own ancestors, never by
comparing prefixes. Text that is not in this form covers nothing and is covered by nothing.
"""

from __future__ import annotations

import re

from falaj.core import names
from falaj.core.errors import InvalidName

STORE = "store"
MAX_PARTS = 8

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,126}[A-Za-z0-9_+-])?"
_WORD = r"[a-z][a-z_]{0,31}"
_ASCII = re.compile(
    rf"project:{_NAME}|asset:{_NAME}/{_WORD}/{_NAME}|ref:{_NAME}/{_WORD}/{_NAME}@{_NAME}"
    rf"|(?!(?:store|project|asset|ref):){_WORD}:{_NAME}(?:/{_NAME}){{1,{MAX_PARTS - 1}}}"
)
_IS_WORD = re.compile(_WORD)


def parse(text: object) -> str:
    """A scope or resource as it came in from outside, in its one canonical form (names in NFC).

    Raises: InvalidName, with the form that was expected.
    """
    if text == STORE:
        return STORE
    if isinstance(text, str) and len(text) <= names.MAX_PATH:
        sort, colon, path = text.partition(":")
        parts = path.split("/")
        if colon and sort == "project" and len(parts) == 1:
            return project(parts[0])
        if colon and sort == "asset" and len(parts) == 3:
            return asset(*parts)
        if colon and sort == "ref" and len(parts) == 3:
            name, _, ref_name = parts[2].partition("@")
            return ref(parts[0], parts[1], name, ref_name)
        if colon and len(parts) > 1:
            return thing(sort, *parts)
    shown = names.printable(text) if isinstance(text, str) else type(text).__name__
    raise InvalidName(
        f"scope {shown}: not a scope",
        next_step="write store, project:P, asset:P/kind/name, ref:P/kind/name@ref or run:P/ID",
    )


def project(name: str) -> str:
    """The scope of a project. Raises: InvalidName."""
    return f"project:{names.name(name, 'project')}"


def asset(project_name: str, kind: str, name: str) -> str:
    """The scope of an asset. Raises: InvalidName."""
    return f"asset:{names.name(project_name, 'project')}/{_word(kind, 'kind')}/{names.name(name)}"


def ref(project_name: str, kind: str, name: str, ref_name: str) -> str:
    """The scope of a ref. Raises: InvalidName."""
    return f"ref:{asset(project_name, kind, name)[6:]}@{names.name(ref_name, 'ref')}"


def thing(sort: str, project_name: str, *path: str) -> str:
    """The scope of any other thing of a project, such as `thing("run", "flights", run_id)`. Raises: InvalidName."""
    if _word(sort, "sort of scope") in ("store", "project", "asset", "ref") or not 1 <= len(path) < MAX_PARTS:
        raise InvalidName(
            f"scope {names.printable(sort)}: a sort of its own with 1 to {MAX_PARTS - 1} parts after the project",
            next_step="for example run:flights/01J9ZK3V5T8Q6M4N2P0R1S7W9X",
        )
    text = f"{sort}:{'/'.join((names.name(project_name, 'project'), *(names.name(p, 'part') for p in path)))}"
    if len(text) > names.MAX_PATH:
        raise InvalidName(f"scope: {len(text)} characters, at most {names.MAX_PATH}", next_step="shorten its parts")
    return text


def is_scope(text: object) -> bool:
    """Whether the text is a scope in canonical form."""
    if not isinstance(text, str) or len(text) > names.MAX_PATH:
        return False
    if text == STORE or _ASCII.fullmatch(text) is not None:
        return True
    if text.isascii():
        return False
    try:
        return parse(text) == text
    except InvalidName:
        return False


def chain(resource: str) -> tuple[str, ...]:
    """The scopes that cover a resource: itself first, `store` last; empty for text that is not a scope."""
    if resource == STORE:
        return (STORE,)
    if not is_scope(resource):
        return ()
    sort, _, path = resource.partition(":")
    if sort == "project":
        return (resource, STORE)
    top = "project:" + path.partition("/")[0]
    if sort == "asset":
        return (resource, top, STORE)
    if sort == "ref":
        return (resource, "asset:" + path.partition("@")[0], top, STORE)
    above = [resource]
    while path.count("/") > 1:
        path = path.rpartition("/")[0]
        above.append(f"{sort}:{path}")
    return (*above, top, STORE)


def covers(scope: str, resource: str) -> bool:
    """Whether a scope covers a resource: a partial order with `store` on top."""
    return scope in chain(resource)


def project_of(resource: str) -> str:
    """Name of the project that a resource lies in, "" for the store itself."""
    return resource.partition(":")[2].partition("/")[0]


def _word(text: str, what: str) -> str:
    if not _IS_WORD.fullmatch(text):
        raise InvalidName(
            f"{what} {names.printable(text)}: small letters and _, at most 32", next_step="for example model"
        )
    return text
