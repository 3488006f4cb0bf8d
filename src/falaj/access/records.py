"""Records of access: principals, bindings, requests, and decisions that explain themselves.

Principal and Binding are stored rows; their times are `encoding.moment` texts, as everywhere in the ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from falaj.access.scopes import STORE
from falaj.core.errors import Invalid

GROUP = "group:"
ANY_ROLE = "*"

Code = Literal[
    "allowed",
    "unknown_operation",
    "no_resource",
    "token_role",
    "token_scope",
    "no_binding",
    "condition",
    "own_person",
    "unknown_subject",
    "unknown_role",
    "bad_grant",
    "exceeds",
]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts: a person's account, or a service that a person answers for.

    Attributes:
        person: id of the human being behind it; four eyes are counted by it.
        groups: names of groups; a binding reaches them as `group:NAME`.
    """

    id: str
    person: str
    name: str
    sort: Literal["person", "service"] = "person"
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.id or not self.person or self.id.startswith(GROUP):
            raise Invalid("principal: needs an id that is not a group's, and a person")

    def subjects(self) -> tuple[str, ...]:
        """The subjects that a binding may name to reach this principal."""
        return (self.id, *dict.fromkeys(GROUP + g for g in self.groups))


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody holds a role somewhere.

    Attributes:
        subject: id of a principal, or `group:NAME`.
        scope: see `access.scopes`.
        conditions: names of `access.conditions`; all must pass.
        granted_by: id of the principal who granted it.
        expires_at: the first moment at which it no longer holds; None for never.
    """

    id: str
    subject: str
    role: str
    scope: str
    conditions: tuple[str, ...] = ()
    granted_by: str
    created_at: str
    expires_at: str | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal asks to do.

    Attributes:
        resources: everything that the operation touches; each must be allowed.
        attributes: facts for the conditions (see `access.conditions`), found by the door, never by the caller.
        at: now; aware.
        token_scope, token_roles: what the token in use is narrowed to; `("store",)` and `("*",)` narrow nothing,
            and empty ones leave nothing.
    """

    principal: Principal
    operation: str
    resources: tuple[str, ...]
    at: datetime
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)
    token_scope: tuple[str, ...] = (STORE,)
    token_roles: tuple[str, ...] = (ANY_ROLE,)

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise Invalid("request: the time has no zone", next_step="pass an aware time in UTC")


class ConditionResult(msgspec.Struct, frozen=True):
    """One condition, judged."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"condition {self.name} {'passed' if self.passed else 'failed'}: {self.detail}"


class Finding(msgspec.Struct, frozen=True):
    """A binding that matched one resource by subject, role, scope and time, with its conditions judged."""

    resource: str
    binding: Binding
    conditions: tuple[ConditionResult, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether it allows: every condition passed."""
        return all(c.passed for c in self.conditions)


class Decision(msgspec.Struct, frozen=True):
    """The answer, with everything that it was made from.

    Attributes:
        code: why, for machines.
        reason: why, in one sentence.
        findings: every binding that matched, of every resource, in the order they were judged.
    """

    allowed: bool
    code: Code
    reason: str
    findings: tuple[Finding, ...] = ()

    @property
    def bindings(self) -> tuple[str, ...]:
        """Ids of the bindings that matched, each once."""
        return tuple(dict.fromkeys(f.binding.id for f in self.findings))

    @property
    def conditions(self) -> tuple[ConditionResult, ...]:
        """Every condition that was judged."""
        return tuple(c for f in self.findings for c in f.conditions)

    def lines(self) -> tuple[str, ...]:
        """The explanation, for people: the verdict, then each binding with its conditions."""
        out = [f"{'allowed' if self.allowed else 'refused'}  {self.reason}"]
        for finding in self.findings:
            out.append(f"  {finding.resource}: {describe(finding.binding)}")
            out.extend(f"    {condition}" for condition in finding.conditions)
        return tuple(out)


class Holder(msgspec.Struct, frozen=True):
    """One answer to *who can*: a principal (or a group without known members) and the binding that says so."""

    subject: str
    binding: Binding
    via: str = ""


class Reach(msgspec.Struct, frozen=True):
    """A scope on which an operation is allowed while the conditions pass; what a list's filter is made from."""

    scope: str
    conditions: tuple[str, ...] = ()


def describe(binding: Binding) -> str:
    """A binding in words."""
    until = f" until {binding.expires_at}" if binding.expires_at else ""
    return f"binding {binding.id}: {binding.subject} is {binding.role} on {binding.scope}{until}"
