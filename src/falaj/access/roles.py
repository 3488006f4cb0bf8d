"""Roles: named sets of operations.

viewer ⊂ contributor ⊂ maintainer ⊂ owner. The auditor stands beside them: reads all that a viewer reads, the ledger
and the bindings too, and changes nothing. An owner may also do what an auditor may, so that somebody can grant it.
An operation names the least roles that may do it; custom roles are named sets of operations given as data.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from falaj.access.conditions import CONDITIONS
from falaj.access.records import ANY_ROLE
from falaj.core import names
from falaj.core.errors import Invalid

SEE = "see"
"""The question whether a principal may know that a thing is there; every built-in role may see."""

BUILT_IN = ("viewer", "contributor", "maintainer", "owner", "auditor")
_ABOVE: Mapping[str, tuple[str, ...]] = {
    "viewer": ("viewer", "contributor", "maintainer", "owner", "auditor"),
    "contributor": ("contributor", "maintainer", "owner"),
    "maintainer": ("maintainer", "owner"),
    "owner": ("owner",),
    "auditor": ("auditor", "owner"),
}
_LADDER = ("viewer", "contributor", "maintainer", "owner")
_ALL = frozenset(CONDITIONS)
_NONE: frozenset[str] = frozenset()


class Roles:
    """Which role may do which operation. Immutable.

    Args:
        registry: by operation, the least built-in roles that may do it; an empty set is nobody.
        changing: operations that change something; an auditor has none of them.
        judged: by operation, the conditions it is judged by; an operation that is not named is judged by all.
        custom: by name, the operations of a custom role; an operation that does not exist (any more) gives nothing.
    Raises: Invalid for an unknown role or condition, a changing operation declared for auditors, or a custom role
        with the name of a built-in one.
    """

    __slots__ = ("_judged", "_operations", "_roles")

    def __init__(
        self,
        registry: Mapping[str, Set[str]],
        *,
        changing: Set[str] = _NONE,
        judged: Mapping[str, Set[str]] | None = None,
        custom: Mapping[str, Set[str]] | None = None,
    ) -> None:
        holders: dict[str, set[str]] = {SEE: set(_ABOVE["viewer"])}
        for operation, least in registry.items():
            holders[operation] = _holders(operation, least, operation in changing)
        for role, operations in (custom or {}).items():
            if role in BUILT_IN or role == ANY_ROLE:
                raise Invalid(f"role {role}: is built in", next_step="choose another name")
            for operation in operations & holders.keys():
                holders[operation].add(role)
        self._roles = {operation: frozenset(roles) for operation, roles in holders.items()}
        # Only a classification hides; whoever fails four eyes, purpose or residency is told so.
        self._judged = {SEE: frozenset({"classification"})}
        self._judged |= {operation: _checked(operation, c) for operation, c in (judged or {}).items()}
        by_role: dict[str, set[str]] = {role: set() for role in (*BUILT_IN, *(custom or {}))}
        for operation, roles in holders.items():
            for role in roles:
                by_role[role].add(operation)
        self._operations = {role: frozenset(operations) for role, operations in by_role.items()}

    def of(self, operation: str) -> frozenset[str]:
        """The roles that may do an operation; none for one that does not exist."""
        return self._roles.get(operation, _NONE)

    def operations(self, role: str) -> frozenset[str]:
        """The operations of a role; none for one that does not exist."""
        return self._operations.get(role, _NONE)

    def judged(self, operation: str) -> frozenset[str]:
        """The conditions that an operation is judged by."""
        return self._judged.get(operation, _ALL)

    def names(self) -> tuple[str, ...]:
        """All roles, sorted."""
        return tuple(sorted(self._operations))

    def __contains__(self, operation: object) -> bool:
        return operation in self._roles


def with_lower(role: str) -> tuple[str, ...]:
    """A role and those below it on the ladder from viewer to owner."""
    return _LADDER[: _LADDER.index(role) + 1] if role in _LADDER else (role,)


def custom_role(name: str, operations: Set[str], registry: Mapping[str, Set[str]]) -> frozenset[str]:
    """Check a custom role as it is applied, before it becomes data.

    Raises: Invalid for the name of a built-in role, no operations, or operations that do not exist.
    """
    unknown = sorted(operations - registry.keys() - {SEE})
    if names.name(name, "role") in BUILT_IN:
        raise Invalid(f"role {name}: is built in", next_step="choose another name")
    if unknown or not operations:
        raise Invalid(
            f"role {name}: {'no operations' if not operations else 'unknown operations ' + ', '.join(unknown)}",
            next_step="name operations of the reference, and `see` where things may be known of",
        )
    return frozenset(operations)


def _holders(operation: str, least: Set[str], changes: bool) -> set[str]:
    unknown = sorted(least - _ABOVE.keys())
    if unknown:
        raise Invalid(f"operation {operation}: unknown roles {', '.join(unknown)}", next_step=", ".join(BUILT_IN))
    if changes and "auditor" in least:
        raise Invalid(f"operation {operation}: changes something and is declared for auditors")
    holders = {above for role in least for above in _ABOVE[role]}
    return holders - {"auditor"} if changes else holders


def _checked(operation: str, conditions: Set[str]) -> frozenset[str]:
    unknown = sorted(conditions - CONDITIONS.keys())
    if unknown:
        raise Invalid(f"operation {operation}: unknown conditions {', '.join(unknown)}")
    return frozenset(conditions)
