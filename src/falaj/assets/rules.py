"""Pure rules shared by the rooms: which kind a file is of, what an address must say, how large a page may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from falaj.core.errors import Invalid
from falaj.core.names import Thing, printable
from falaj.store.kinds import Kind

MAX_PAGE = 500


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
