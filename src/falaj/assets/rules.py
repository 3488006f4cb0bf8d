"""Pure rules shared by the rooms: which kind a file is of, what an address must say, how large a page may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from falaj.core.errors import Invalid
from falaj.core.names import Thing, printable
from falaj.store.kinds import Kind

MAX_PAGE = 500
MAX_DOCUMENTS: Final = 100
_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)


def kind_of_file(path: str, kinds: Iterable[Kind[Any]]) -> Kind[Any]:
    """The kind that a project file defines, by its folder (`contracts/flights.yaml`) or its name (`triggers.yaml`).

    Raises: Invalid, with the folders that are known.
    """
    head = path.replace("\\", "/").split("/")[0]
    known = {k.folder: k for k in kinds if k.folder}
    if head in known and known[head].parse is not None:
        return known[head]
    raise Invalid(
        f"{printable(path)}: no kind is defined in such a file",
        next_step=f"files are read from: {', '.join(sorted(known))}",
    )


def read_file(path: str, text: str, kind: Kind[Any]) -> Iterator[tuple[str, Any]]:
    """The name and payload of every asset that a project file defines.

    Raises: Invalid, with the file's path; also where it defines one twice.
    """
    assert kind.parse is not None  # noqa: S101  `kind_of_file` gives only kinds that parse
    seen: set[str] = set()
    for part in documents(text, path) if kind.several else [text]:
        try:
            named, payload = kind.parse(part)
            if named in seen:
                raise Invalid(f"{kind.name} {named} stands here a second time", next_step="keep one of them")
        except Invalid as error:
            error.args = (f"{path}: {error.message}",)
            error.message = error.args[0]
            raise
        seen.add(named)
        yield named, payload


def documents(text: str, path: str) -> list[str]:
    """The YAML documents of a text, each behind as many empty lines as stand before it: its lines keep their numbers.

    Raises: Invalid where there is none, or too many.
    """
    starts = [match.end() for match in _SEPARATOR.finditer(text)]
    ends = [match.start() for match in _SEPARATOR.finditer(text)]
    pieces = [(start, text[start:end]) for start, end in zip([0, *starts], [*ends, len(text)], strict=True)]
    found = ["\n" * text.count("\n", 0, start) + piece for start, piece in pieces if _says_something(piece)]
    if not 1 <= len(found) <= MAX_DOCUMENTS:
        raise Invalid(f"{printable(path)}: {len(found)} documents, 1 to {MAX_DOCUMENTS} are read in one file")
    return found


def _says_something(text: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def with_ref(thing: Thing) -> Thing:
    """Raises: Invalid where the address names no ref."""
    if not thing.ref:
        raise Invalid(f"{thing}: a ref is needed", next_step=f"for example {thing.name}@production")
    return thing


def words(thing: Thing, reason: str = "") -> dict[str, str]:
    """What the side table keeps beside an entry about a thing."""
    return {"thing": str(thing), **({"reason": reason[:1000]} if reason else {})}


def page_size(limit: int) -> int:
    """Raises: Invalid for a page that is none or too large."""
    if not 1 <= limit <= MAX_PAGE:
        raise Invalid(f"limit {limit}: 1 to {MAX_PAGE}", next_step="ask for a smaller page")
    return limit
