"""May this principal do this here? Pure rules over a snapshot of bindings: deny by default, and say why.

A request is allowed when every resource it names is covered by the token's scope and by at least one binding that
names the principal or one of its groups, is not expired, gives a role that may do the operation, and has no
condition that fails. Bindings only ever allow: adding one never takes anything away. A token only narrows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from falaj.access import conditions, scopes
from falaj.access.records import (
    ANY_ROLE,
    Binding,
    Code,
    Decision,
    Finding,
    Holder,
    Principal,
    Reach,
    Request,
    describe,
)
from falaj.access.roles import SEE, with_lower
from falaj.access.snapshot import Snapshot, is_usable
from falaj.core.encoding import moment
from falaj.core.errors import FalajError, Forbidden, NotFound


def decide(request: Request, snapshot: Snapshot) -> Decision:
    """Decide a request; total: what is malformed is refused. Every resource is judged, and all findings are kept."""
    return _decide(request, snapshot, snapshot.roles.judged(request.operation))


def why(request: Request, snapshot: Snapshot) -> tuple[str, ...]:
    """The decision explained line by line, with the bindings that came near and what they lack."""
    able = snapshot.roles.of(request.operation)
    now = moment(request.at)
    lines = list(decide(request, snapshot).lines())
    for resource in dict.fromkeys(request.resources):
        for binding in _covering(request.principal, resource, snapshot):
            if binding.role not in able:
                lines.append(f"  not enough: {describe(binding)}; {binding.role} does not include {request.operation}")
            elif not _is_alive(binding, now):
                lines.append(f"  expired: {describe(binding)}")
    lines.append(f"  {request.operation} needs: {', '.join(sorted(able)) or 'nobody may do it'}")
    return tuple(lines)


def who_can(operation: str, resource: str, snapshot: Snapshot, *, at: datetime) -> tuple[Holder, ...]:
    """Everyone whom a binding lets do the operation to the resource, where its conditions pass.

    Groups are resolved to their known members; a group without any stands for itself. Looks at every binding.
    """
    able, chain, now = snapshot.roles.of(operation), scopes.chain(resource), moment(at)
    out: list[Holder] = []
    for binding in snapshot.bindings():
        if binding.role not in able or binding.scope not in chain or not _is_alive(binding, now):
            continue
        if any(name not in conditions.CONDITIONS for name in binding.conditions):
            continue
        members = [p.id for p in snapshot.members(binding.subject)]
        if members == [binding.subject] or not members:
            out.append(Holder(binding.subject, binding))
        else:
            out.extend(Holder(member, binding, binding.subject) for member in members)
    return tuple(sorted(out, key=lambda h: (h.subject, h.binding.id)))


def reach(request: Request, snapshot: Snapshot) -> tuple[Reach, ...]:
    """Where the principal may do the operation at all; the filter of a list. The request's resources do not matter.

    A resource is allowed exactly when one of these scopes covers it and that scope's conditions pass for it. Only
    the widest are given: none is implied by another.
    """
    able, now = _able(request, snapshot), moment(request.at)
    judged = snapshot.roles.judged(request.operation)
    found: dict[str, set[frozenset[str]]] = {}
    for subject in request.principal.subjects():
        for scope, bindings in snapshot.of(subject).items():
            for binding in bindings:
                if binding.role not in able or not _is_alive(binding, now):
                    continue
                if any(name not in conditions.CONDITIONS for name in binding.conditions):
                    continue
                for narrow in _meet(scope, request.token_scope):
                    found.setdefault(narrow, set()).add(judged.intersection(binding.conditions))
    return tuple(
        Reach(scope, tuple(sorted(names)))
        for scope in sorted(found)
        for names in sorted(found[scope], key=sorted)
        if not _is_implied(scope, names, found)
    )


def is_visible(request: Request, resource: str, snapshot: Snapshot) -> bool:
    """Whether the principal may know that the resource is there, with this token and these attributes.

    Only a classification can hide a thing from somebody who holds a role on it: whoever fails four eyes, purpose or
    residency is told so.
    """
    if resource == scopes.STORE:
        return True
    ask = msgspec.structs.replace(request, operation=SEE, resources=(resource,))
    judged = snapshot.roles.judged(SEE) & snapshot.roles.judged(request.operation)
    return _decide(ask, snapshot, judged).allowed


def roles_on(
    principal: Principal,
    resource: str,
    snapshot: Snapshot,
    at: datetime,
    *,
    token_scope: tuple[str, ...] = (scopes.STORE,),
    token_roles: tuple[str, ...] = (ANY_ROLE,),
    attributes: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Every role that the principal holds on a resource with the token in use, sorted.

    With a role go those below it in viewer, contributor, maintainer, owner. Any other role is held only where a
    binding names it: an owner does not count as an auditor. All conditions of a binding are judged, on `attributes`.
    """
    chain, now = scopes.chain(resource), moment(at)
    if not any(scope in chain for scope in token_scope):
        return ()
    request = Request(principal=principal, operation="", resources=(resource,), at=at, attributes=attributes or {})
    held: set[str] = set()
    for binding in _covering(principal, resource, snapshot):
        if _is_alive(binding, now) and _judged(resource, binding, request, frozenset(conditions.CONDITIONS)).holds:
            held.update(with_lower(binding.role))
    if ANY_ROLE not in token_roles:
        held &= {lower for role in token_roles for lower in with_lower(role)}
    return tuple(sorted(held))


def refusal(request: Request, decision: Decision, snapshot: Snapshot) -> FalajError:
    """The error for a refused request: NotFound where the principal may not know of a resource, Forbidden elsewhere.

    Nothing here looks at whether the resource exists, so unknown and forbidden take the same way and the same time.
    """
    for resource in request.resources:
        if not is_visible(request, resource, snapshot):
            return not_found(resource)
    where = ", ".join(request.resources) or "nothing"
    about = f"{request.operation} on "  # most reasons begin with it, and name the one resource that is refused
    return Forbidden(
        decision.reason if decision.reason.startswith(about) else f"{about}{where}: {decision.reason}",
        next_step=f"falaj access why {request.operation} {where}",
        facts={"operation": request.operation, "reason": decision.code, "explanation": list(decision.lines())},
    )


def not_found(resource: str) -> NotFound:
    """The one answer for what is not there and for what is not to be seen."""
    return NotFound(f"{resource}: not found", next_step="check the name, and that you have a role on it")


def may_grant(request: Request, grant: Binding, snapshot: Snapshot) -> Decision:
    """Whether the requesting principal may grant a binding, once the door has allowed granting on its scope.

    Nobody grants to their own person (also not through a service or a group), and nobody grants more than they
    hold: the role's operations must be among those that they hold on the whole scope, by bindings with no further
    conditions and that last as long, and that the token in use is not narrowed from.
    """
    where, granter = f"{grant.role} on {grant.scope}", request.principal
    wrong = _malformed(grant, snapshot, now=moment(request.at))
    if wrong is not None:
        return Decision(False, wrong[0], f"{where}: {wrong[1]}")
    members = snapshot.members(grant.subject)
    if grant.subject in granter.subjects() or any(p.person == granter.person for p in members):
        return Decision(False, "own_person", f"{where}: nobody grants a role to their own person")
    if not members and not grant.subject.startswith("group:"):
        return Decision(False, "unknown_subject", f"{where}: there is no principal {grant.subject}")
    if not any(scopes.covers(t, grant.scope) for t in request.token_scope):
        return Decision(False, "token_scope", f"{where}: outside the scope of the token")
    used = [b for b in _covering(granter, grant.scope, snapshot) if _lends(b, grant, moment(request.at))]
    held = _operations(snapshot, [b.role for b in used])
    if ANY_ROLE not in request.token_roles:
        held &= _operations(snapshot, request.token_roles)
    findings = tuple(Finding(grant.scope, b) for b in used)
    missing = sorted(snapshot.roles.operations(grant.role) - held)
    if missing:
        return Decision(False, "exceeds", f"{where}: more than the granter holds there: {', '.join(missing)}", findings)
    return Decision(True, "allowed", f"{where}: held by the granter", findings)


def owners(snapshot: Snapshot, *, at: datetime) -> tuple[Binding, ...]:
    """The bindings that make somebody owner of the store. While there are none, the first owner may be claimed."""
    now = moment(at)
    return tuple(b for b in snapshot.bindings() if b.role == "owner" and b.scope == scopes.STORE and _is_alive(b, now))


def is_last_owner(binding_id: str, snapshot: Snapshot, *, at: datetime) -> bool:
    """Whether revoking this binding would leave the store without an owner who stays."""
    lasting = {b.id for b in owners(snapshot, at=at) if b.expires_at is None and not b.conditions}
    return lasting == {binding_id}


def _decide(request: Request, snapshot: Snapshot, judged: frozenset[str]) -> Decision:
    operation = request.operation
    if not snapshot.roles.of(operation):
        return Decision(False, "unknown_operation", f"{operation}: nobody may do it")
    if not request.resources:
        return Decision(False, "no_resource", f"{operation}: names nothing")
    able = _able(request, snapshot)
    if not able:
        return Decision(False, "token_role", f"{operation}: outside the roles of the token")
    subjects, now = request.principal.subjects(), ""
    findings: list[Finding] = []
    refused: tuple[Code, str] | None = None
    for resource in request.resources:
        chain = scopes.chain(resource)
        mine: list[Finding] = []
        for subject in subjects:
            held = snapshot.of(subject)
            for scope in chain if held else ():
                for binding in held.get(scope, ()):
                    if binding.expires_at is not None:
                        now = now or moment(request.at)
                    if binding.role in able and _is_alive(binding, now):
                        mine.append(_judged(resource, binding, request, judged))
        refused = refused or _fault(request, resource, chain, mine)
        findings += mine
    if refused is not None:
        return Decision(False, *refused, tuple(findings))
    by = next(f.binding for f in findings if f.holds)
    return Decision(True, "allowed", f"{operation} as {by.role} on {by.scope}", tuple(findings))


def _fault(request: Request, resource: str, chain: tuple[str, ...], found: list[Finding]) -> tuple[Code, str] | None:
    what = f"{request.operation} on {resource}"
    if not any(scope in chain for scope in request.token_scope):
        return "token_scope", f"{what}: outside the scope of the token"
    if not found:
        return "no_binding", f"{what}: no binding gives a role that may do it"
    if not any(f.holds for f in found):
        failed = dict.fromkeys(str(c) for f in found for c in f.conditions if not c.passed)
        return "condition", f"{what}: {'; '.join(failed)}"
    return None


def _judged(resource: str, binding: Binding, request: Request, judged: frozenset[str]) -> Finding:
    if not binding.conditions:
        return Finding(resource, binding)
    return Finding(resource, binding, tuple(conditions.judge(name, request, judged) for name in binding.conditions))


def _able(request: Request, snapshot: Snapshot) -> frozenset[str]:
    """The roles that may do the operation; none where the token's roles may not."""
    able = snapshot.roles.of(request.operation)
    if ANY_ROLE in request.token_roles or not able.isdisjoint(request.token_roles):
        return able
    return frozenset()


def _covering(principal: Principal, resource: str, snapshot: Snapshot) -> Iterator[Binding]:
    chain = scopes.chain(resource)
    for subject in principal.subjects():
        held = snapshot.of(subject)
        for scope in chain:
            yield from held.get(scope, ())


def _is_alive(binding: Binding, now: str) -> bool:
    return binding.expires_at is None or now < binding.expires_at


def _meet(scope: str, token_scope: tuple[str, ...]) -> tuple[str, ...]:
    """The narrower of the scope and each of the token's, where they overlap."""
    chain = scopes.chain(scope)
    return tuple(scope if t in chain else t for t in token_scope if t in chain or scope in scopes.chain(t))


def _is_implied(scope: str, names: frozenset[str], found: dict[str, set[frozenset[str]]]) -> bool:
    return any(
        other <= names and (above, other) != (scope, names)
        for above in scopes.chain(scope)
        for other in found.get(above, ())
    )


def _malformed(grant: Binding, snapshot: Snapshot, *, now: str) -> tuple[Code, str] | None:
    if not snapshot.roles.operations(grant.role):
        return "unknown_role", "there is no such role"
    if not is_usable(grant):
        return "bad_grant", "the scope or the expiry is not well formed"
    unknown = sorted(set(grant.conditions) - conditions.CONDITIONS.keys())
    if unknown:
        return "bad_grant", f"unknown conditions {', '.join(unknown)}"
    if not _is_alive(grant, now):
        return "bad_grant", f"would be expired since {grant.expires_at}"
    return None


def _lends(held: Binding, grant: Binding, now: str) -> bool:
    """Whether what `held` gives may be handed on by `grant`: still alive, no stricter, no shorter."""
    lasts = held.expires_at is None or (grant.expires_at is not None and grant.expires_at <= held.expires_at)
    return _is_alive(held, now) and lasts and set(held.conditions) <= set(grant.conditions)


def _operations(snapshot: Snapshot, roles: tuple[str, ...] | list[str]) -> set[str]:
    return {operation for role in roles for operation in snapshot.roles.operations(role)}
