"""What the edge itself reads and answers, beside the operations' own records."""

from __future__ import annotations

import msgspec

from falaj.door.declared import Sort
from falaj.trust.records import PrincipalView


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first owner's request: the one-time token of the server, and the name to be known by."""

    token: str
    name: str


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The first owner, and a token of their own: shown this once, stored nowhere."""

    principal: PrincipalView
    token: str


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is at work.

    Attributes:
        run: id of its run.
        status: where its result is read.
    """

    run: str
    status: str


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that wait for the operation that names them."""

    staged: str
    name: str
    size: int
    sha256: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an operation is reached: its sort and the template of its path."""

    sort: Sort
    path: str


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """Every operation with its place: what a client needs to know to call them."""

    operations: dict[str, Place]
