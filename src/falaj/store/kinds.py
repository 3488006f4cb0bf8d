"""Kinds: what a room adds to the one catalog is a declaration, never a second registry.

A kind that is stored, versioned, gated and audited is one `Kind(...)` passed to `Kinds.add`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from falaj.core.encoding import canonical
from falaj.core.errors import Damaged, Invalid

P = TypeVar("P", bound=msgspec.Struct)
Scalar = str | int | float | bool | None


def _nothing(_: Any) -> Mapping[str, Scalar]:
    return {}


def _as_it_is(text: str) -> str:
    return text


def _no_refs(_: Any) -> tuple[str, ...]:
    return ()


class Kind(Generic[P]):
    """One kind of asset.

    Args:
        name: `[a-z_]+`, the word that people use.
        payload: the frozen struct of a version's payload.
        schema: number of the payload's form; stored with it. A reader knows every form it ever wrote.
        bare: whether `name@ref` without a kind may mean this kind (datasets, models).
        config: applied from files (`falaj apply`); on a server, a change of a ref that already holds a version
            needs another person's approval.
        project_fields: fields of the payload kept as indexed columns.
        guards: refs (`[kind/]name@ref`) that move only by a verdict on behalf of an asset of this kind.
        seals: refs of datasets that it measures on: no run may use a version that such a ref holds or ever held.
        folder: where files of this kind lie in a project, or the name of its one file; `falaj apply` reads them.
        several: a file may hold several of them, as YAML documents of their own.
        spelled: of an address in another way that people write it, the address as `[kind/]name[@ref|:N]`.
        parse: the asset's name and payload from such a file's text; raises Invalid, naming field and value.
    """

    def __init__(
        self,
        name: str,
        payload: type[P],
        *,
        schema: int = 1,
        bare: bool = False,
        config: bool = False,
        project_fields: Callable[[P], Mapping[str, Scalar]] = _nothing,
        guards: Callable[[P], tuple[str, ...]] = _no_refs,
        seals: Callable[[P], tuple[str, ...]] = _no_refs,
        folder: str = "",
        several: bool = False,
        spelled: Callable[[str], str] = _as_it_is,
        parse: Callable[[str], tuple[str, P]] | None = None,
    ) -> None:
        self.name, self.payload, self.schema = name, payload, schema
        self.bare, self.config = bare, config
        self.project_fields, self.guards, self.seals = project_fields, guards, seals
        self.folder, self.several, self.parse = folder, several, parse
        self.spelled = spelled
        self._decoder = msgspec.json.Decoder(payload)

    @property
    def can_seal(self) -> bool:
        """Whether assets of this kind may seal refs."""
        return self.seals is not _no_refs

    @property
    def can_guard(self) -> bool:
        """Whether assets of this kind may guard refs."""
        return self.guards is not _no_refs

    def encode(self, payload: P) -> bytes:
        """The payload as stored: canonical, with the number of its form."""
        return canonical({"schema": self.schema, "payload": payload})

    def decode(self, data: bytes) -> P:
        """The payload that `encode` wrote. Raises: Damaged."""
        try:
            envelope = msgspec.json.decode(data, type=_Envelope)
            return self._decoder.decode(envelope.payload)
        except msgspec.MsgspecError as error:
            raise Damaged(f"payload of a {self.name}: {error}", next_step="falaj ledger verify") from error


class _Envelope(msgspec.Struct):
    schema: int
    payload: msgspec.Raw


class Kinds:
    """The kinds of one platform."""

    def __init__(self, *kinds: Kind[Any]) -> None:
        self._by_name: dict[str, Kind[Any]] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind[Any]) -> None:
        """Declare one more kind. Raises: Invalid where the name is taken."""
        if kind.name in self._by_name:
            raise Invalid(f"kind {kind.name} is declared twice")
        self._by_name[kind.name] = kind

    def __getitem__(self, name: str) -> Kind[Any]:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(sorted(self._by_name))
            raise Invalid(f"kind {name[:40]!r} is not known", next_step=f"one of: {known}") from None

    def __iter__(self) -> Iterator[Kind[Any]]:
        return iter(self._by_name.values())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name
