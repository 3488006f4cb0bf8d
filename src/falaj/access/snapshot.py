"""The snapshot: all bindings in memory, immutable, found by (subject, scope), with the revision they are true at.

A decision costs a few dictionary look-ups, however many bindings there are. The revision is compared inside the
transaction that uses the decision, so a binding that was revoked meanwhile cannot carry a change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import msgspec

from falaj.access import scopes
from falaj.access.records import GROUP, Binding, Principal
from falaj.access.roles import Roles
from falaj.core.errors import Conflict

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")

ByScope = Mapping[str, tuple[Binding, ...]]


class Granted(msgspec.Struct, frozen=True):
    """A binding was granted, or replaced by one of the same id."""

    binding: Binding


class Revoked(msgspec.Struct, frozen=True):
    """A binding was revoked."""

    id: str


class Known(msgspec.Struct, frozen=True):
    """A principal was added, or its groups changed."""

    principal: Principal


Change = Granted | Revoked | Known


class Snapshot:
    """All bindings and principals at one revision. Immutable: `apply` gives a new one and shares what is equal.

    Attributes:
        ignored: ids of bindings whose scope or time is not well formed. They allow nothing; such a row was not
            written through the door.
    """

    __slots__ = ("_bindings", "_index", "_principals", "ignored", "revision", "roles")

    revision: int
    roles: Roles
    ignored: frozenset[str]
    _bindings: dict[str, Binding]
    _principals: dict[str, Principal]
    _index: dict[str, ByScope]

    @classmethod
    def build(
        cls, bindings: Iterable[Binding], principals: Iterable[Principal], roles: Roles, *, revision: int
    ) -> Self:
        """From the stored rows."""
        self = cls()
        self.revision, self.roles = revision, roles
        self._bindings = {b.id: b for b in bindings}
        self._principals = {p.id: p for p in principals}
        self.ignored = frozenset(b.id for b in self._bindings.values() if not is_usable(b))
        index: dict[str, dict[str, tuple[Binding, ...]]] = {}
        for binding in self._bindings.values():
            if binding.id not in self.ignored:
                at = index.setdefault(binding.subject, {})
                at[binding.scope] = (*at.get(binding.scope, ()), binding)
        self._index = {**index}
        return self

    def apply(self, changes: Iterable[Change], *, revision: int) -> Snapshot:
        """The snapshot after the changes of one transaction; equal to building it from the rows after it.

        Raises: Conflict when a revision was missed or an unknown binding is revoked: build it anew.
        """
        if revision != self.revision + 1:
            raise _diverged(f"is at revision {self.revision}, the change is of {revision}")
        new = Snapshot()
        new.revision, new.roles = revision, self.roles
        new._bindings, new._principals, new._index = self._bindings.copy(), self._principals.copy(), self._index.copy()
        ignored = set(self.ignored)
        for change in changes:
            match change:
                case Known(principal):
                    new._principals[principal.id] = principal
                case Granted(binding):
                    new._drop(binding.id, ignored)
                    new._add(binding, ignored)
                case Revoked(binding_id):
                    if binding_id not in new._bindings:
                        raise _diverged(f"has no binding {binding_id}")
                    new._drop(binding_id, ignored)
        new.ignored = frozenset(ignored)
        return new

    def with_roles(self, roles: Roles) -> Snapshot:
        """The same bindings under other roles (custom roles changed); the revision goes up by one."""
        new = self.apply((), revision=self.revision + 1)
        new.roles = roles
        return new

    def of(self, subject: str) -> ByScope:
        """The bindings of one subject, by scope."""
        return self._index.get(subject, {})

    def bindings(self) -> Iterator[Binding]:
        """Every well-formed binding."""
        return (b for b in self._bindings.values() if b.id not in self.ignored)

    def binding(self, binding_id: str) -> Binding | None:
        """A binding by its id."""
        return self._bindings.get(binding_id)

    def principal(self, principal_id: str) -> Principal | None:
        """A principal by its id."""
        return self._principals.get(principal_id)

    def members(self, subject: str) -> tuple[Principal, ...]:
        """The known principals behind a subject: itself, or the members of the group."""
        if not subject.startswith(GROUP):
            one = self._principals.get(subject)
            return (one,) if one else ()
        group = subject[len(GROUP) :]
        return tuple(p for p in self._principals.values() if group in p.groups)

    def __len__(self) -> int:
        return len(self._bindings)

    def _add(self, binding: Binding, ignored: set[str]) -> None:
        self._bindings[binding.id] = binding
        if not is_usable(binding):
            ignored.add(binding.id)
            return
        at = self._index.get(binding.subject, {})
        self._index[binding.subject] = {**at, binding.scope: (*at.get(binding.scope, ()), binding)}

    def _drop(self, binding_id: str, ignored: set[str]) -> None:
        old = self._bindings.pop(binding_id, None)
        if old is None or binding_id in ignored:
            ignored.discard(binding_id)
            return
        at = dict(self._index[old.subject])
        rest = tuple(b for b in at.pop(old.scope) if b.id != binding_id)
        if rest:
            at[old.scope] = rest
        if at:
            self._index[old.subject] = at
        else:
            del self._index[old.subject]


def is_usable(binding: Binding) -> bool:
    """Whether scope and expiry are well formed."""
    return scopes.is_scope(binding.scope) and (
        binding.expires_at is None or _MOMENT.fullmatch(binding.expires_at) is not None
    )


def _diverged(what: str) -> Conflict:
    return Conflict(f"access snapshot {what}", next_step="load it again from the store")
