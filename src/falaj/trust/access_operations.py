"""Operations on principals, bindings and tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from falaj.access import rules, scopes, tokens
from falaj.access.records import GROUP, Binding, Principal
from falaj.access.rows import BINDING, PRINCIPAL, TOKEN, names_of, principal_named
from falaj.access.state import raise_revision
from falaj.assets.records import Done
from falaj.assets.rules import page_size
from falaj.core.encoding import moment
from falaj.core.entries import What
from falaj.core.errors import Forbidden, Invalid, NotFound
from falaj.core.ids import new_id
from falaj.core.names import name
from falaj.door import Context, command, query
from falaj.store.unit import Unit
from falaj.trust import records as r
from falaj.trust.rules import span


@command("principal.add", on="store", entry=What.PRINCIPAL_ADDED, role="owner", cli="principal add")
def add_principal(ctx: Context, name: str, service: bool = False, groups: tuple[str, ...] = ()) -> r.PrincipalView:
    """Add a person's account, or a service that you answer for (it counts as you where two persons are needed)."""
    principal = new_principal(
        ctx.unit, name, person=ctx.unit.actor.person if service else None, groups=groups, service=service
    )
    ctx.unit.say(What.PRINCIPAL_ADDED, [principal.id], detail={"name": principal.name})
    return _principal_view(principal)


@query("principal.list", on="store", role="owner", cli="principal list")
def list_principals(ctx: Context, after: str = "", limit: int = 200) -> tuple[r.PrincipalView, ...]:
    """Persons and services, by name."""
    found = PRINCIPAL.where(ctx.tx, "name > :after ORDER BY name", {"after": after}, limit=page_size(limit))
    return tuple(_principal_view(p) for p in found)


@command("access.grant", on="{scope}", entry=What.BINDING_GRANTED, role="owner", cli="access grant")
def grant(
    ctx: Context,
    subject: str,
    role: str,
    scope: str,
    conditions: tuple[str, ...] = (),
    expires_in: str | None = None,
) -> r.BindingView:
    """Give a role to a principal or `group:NAME` on a scope. Nobody grants to themselves, or more than they hold."""
    unit = ctx.unit
    binding = Binding(
        id=new_id(),
        subject=_subject_id(ctx, subject),
        role=role,
        scope=scopes.parse(scope),
        conditions=conditions,
        granted_by=unit.actor.principal,
        created_at=unit.now,
        expires_at=moment(datetime.now(UTC) + span(expires_in)) if expires_in else None,
    )
    if ctx.snapshot is not None:
        request = ctx.door.request(ctx.caller, ctx.operation.name, ctx.resources)
        decision = rules.may_grant(request, binding, ctx.snapshot)
        if not decision.allowed:
            raise Forbidden(decision.reason, next_step="ask another owner", facts={"reason": decision.code})
    else:
        ctx.door.operations.check_role(role)
    unit.add(BINDING, binding)
    raise_revision(unit)
    unit.say(
        What.BINDING_GRANTED, [binding.id, binding.subject], detail={"subject": subject, "role": role, "scope": scope}
    )
    return _binding_view(ctx, binding)


@command("access.revoke", on="{scope}", entry=What.BINDING_REVOKED, role="owner", cli="access revoke")
def revoke(ctx: Context, binding: str, scope: str) -> Done:
    """Take a binding away; it is void from the commit on. `scope` is the binding's own, or one above it."""
    unit = ctx.unit
    found = BINDING.get(unit.tx, binding, lock=True)
    if found is None or not scopes.covers(scope, found.scope):
        raise NotFound(f"binding {binding[:40]}: no such thing, or not for you", next_step="falaj access list")
    if ctx.snapshot is not None and rules.is_last_owner(found.id, ctx.snapshot, at=datetime.now(UTC)):
        raise Forbidden("this is the last owner of the store", next_step="grant the role to somebody else first")
    unit.drop(BINDING, found)
    raise_revision(unit)
    entry = unit.say(What.BINDING_REVOKED, [found.id, found.subject], detail={"role": found.role, "scope": found.scope})
    return Done(thing=found.id, entry_id=entry.id, note="revoked")


@query("access.list", on="{scope}", role="owner", cli="access list")
def list_bindings(ctx: Context, scope: str) -> tuple[r.BindingView, ...]:
    """The bindings on a scope and below it."""
    found = [b for b in BINDING.scan(ctx.tx) if scopes.covers(scope, b.scope)]
    return tuple(_binding_view(ctx, b) for b in sorted(found, key=lambda b: (b.scope, b.subject)))


@query("access.why", on="{resource}", role="viewer", cli="access why")
def why(ctx: Context, operation: str, resource: str, principal: str = "") -> r.Explanation:
    """Why you (or, for those who may list bindings there, another principal) may or may not do an operation."""
    snapshot = ctx.door.bindings()
    if operation not in ctx.door.operations:
        raise Invalid(f"operation {operation[:60]!r} is not declared", next_step="see /v1/openapi.json")
    request = ctx.door.request(ctx.caller, operation, (scopes.parse(resource),))
    if principal:
        if not ctx.decide("access.list", resource).allowed:
            raise Forbidden("only who may list the bindings here asks about others", next_step="ask an owner")
        other = principal_named(ctx.tx, principal)
        if other is None:
            raise NotFound(f"principal {principal[:60]}: no such thing", next_step="falaj principal list")
        request = msgspec.structs.replace(request, principal=other, token_scope=("store",), token_roles=("*",))
    elif ctx.caller.embedded:
        return r.Explanation(allowed=True, code="allowed", lines=("allowed  embedded: you own this store",))
    decision = rules.decide(request, snapshot)
    return r.Explanation(allowed=decision.allowed, code=decision.code, lines=rules.why(request, snapshot))


@query("access.who_can", on="{resource}", role="owner", cli="access who-can")
def who_can(ctx: Context, operation: str, resource: str) -> tuple[r.HolderView, ...]:
    """Everyone who may do an operation to a thing, and the binding that says so."""
    found = rules.who_can(operation, scopes.parse(resource), ctx.door.bindings(), at=datetime.now(UTC))
    names = names_of(ctx.tx, [h.subject for h in found])
    return tuple(
        r.HolderView(
            name=names.get(h.subject, h.subject),
            subject=h.subject,
            role=h.binding.role,
            scope=h.binding.scope,
            binding=h.binding.id,
            via=h.via,
        )
        for h in found
    )


@command("token.issue", on="store", entry=What.TOKEN_ISSUED, role="owner", cli="token issue", shown_once=True)
def issue(
    ctx: Context,
    principal: str,
    scope: tuple[str, ...] = ("store",),
    roles: tuple[str, ...] = ("*",),
    expires_in: str = "90d",
) -> r.TokenIssued:
    """Make a token for a principal. Its text is shown once and stored nowhere."""
    found = principal_named(ctx.tx, principal)
    if found is None:
        raise NotFound(f"principal {principal[:60]}: no such thing", next_step="falaj principal add")
    minted = tokens.mint(
        found,
        key=ctx.door.token_key,
        now=datetime.now(UTC),
        scope=scope,
        roles=roles,
        expires_at=datetime.now(UTC) + span(expires_in),
    )
    _keep_token(ctx.unit, minted.row)
    ctx.unit.say(What.TOKEN_ISSUED, [minted.row.id, found.id], detail={"principal": found.name})
    return r.TokenIssued(token=_token_view(minted.row, found.name), text=minted.reveal())


@command("token.revoke", on="store", entry=What.TOKEN_REVOKED, role="owner", cli="token revoke")
def revoke_token(ctx: Context, token: str) -> Done:
    """Make a token void, from the commit on."""
    found = TOKEN.get(ctx.tx, token, lock=True)
    if found is None:
        raise NotFound(f"token {token[:40]}: no such thing", next_step="falaj token list")
    _keep_token(ctx.unit, tokens.revoke(found, now=datetime.now(UTC)))
    entry = ctx.unit.say(What.TOKEN_REVOKED, [found.id, found.principal])
    return Done(thing=found.id, entry_id=entry.id, note="revoked")


@query("token.list", on="store", role="owner", cli="token list")
def list_tokens(ctx: Context, principal: str = "", limit: int = 200) -> tuple[r.TokenView, ...]:
    """Tokens, newest first, without their secrets."""
    owner = principal_named(ctx.tx, principal) if principal else None
    clause = "(:principal = '' OR principal = :principal) ORDER BY id DESC"
    found = TOKEN.where(ctx.tx, clause, {"principal": owner.id if owner else principal}, limit=page_size(limit))
    names = names_of(ctx.tx, [t.principal for t in found])
    return tuple(_token_view(t, names.get(t.principal, t.principal)) for t in found)


def claim(unit: Unit, bootstrap: tokens.Token, person: str, key: bytes) -> tuple[Principal, tokens.Minted]:
    """The first owner comes in: uses up the one-time token, makes the person, the binding, and a token of their own.

    Not an operation: nobody is authenticated yet. The platform calls it for a checked one-time token.
    Raises: Conflict where the token was used already.
    """
    held = TOKEN.get(unit.tx, bootstrap.id, lock=True)
    _keep_token(unit, tokens.revoke(held or bootstrap, now=datetime.now(UTC)))
    owner = new_principal(unit, person)
    unit.add(
        BINDING,
        Binding(
            id=new_id(),
            subject=owner.id,
            role="owner",
            scope="store",
            granted_by=unit.actor.principal,
            created_at=unit.now,
        ),
    )
    minted = tokens.mint(owner, key=key, now=datetime.now(UTC), expires_at=datetime.now(UTC) + span("90d"))
    _keep_token(unit, minted.row)
    unit.say(
        What.PRINCIPAL_ADDED, [owner.id, bootstrap.id, minted.row.id], detail={"name": owner.name, "first_owner": True}
    )
    return owner, minted


def new_principal(
    unit: Unit, text: str, *, person: str | None = None, groups: tuple[str, ...] = (), service: bool = False
) -> Principal:
    """Write a principal. The caller says the entry. Raises: InvalidName, Exists."""
    row = Principal(
        id=new_id(),
        person=person or new_id(),
        name=name(text, "principal"),
        sort="service" if service else "person",
        groups=tuple(name(g, "group") for g in groups),
    )
    unit.add(PRINCIPAL, row)
    raise_revision(unit)
    return row


def _keep_token(unit: Unit, row: tokens.Token) -> None:
    unit.put(TOKEN, row)
    raise_revision(unit)


def _subject_id(ctx: Context, subject: str) -> str:
    if subject.startswith(GROUP):
        return GROUP + name(subject[len(GROUP) :], "group")
    found = principal_named(ctx.tx, subject)
    if found is None:
        raise NotFound(f"principal {subject[:60]}: no such thing", next_step="falaj principal add")
    return found.id


def _principal_view(p: Principal) -> r.PrincipalView:
    return r.PrincipalView(id=p.id, name=p.name, person=p.person, sort=p.sort, groups=p.groups)


def _binding_view(ctx: Context, b: Binding) -> r.BindingView:
    names = names_of(ctx.tx, [b.subject, b.granted_by])
    return r.BindingView(
        id=b.id,
        subject=names.get(b.subject, b.subject),
        role=b.role,
        scope=b.scope,
        conditions=b.conditions,
        granted_by=names.get(b.granted_by, b.granted_by),
        created_at=b.created_at,
        expires_at=b.expires_at,
    )


def _token_view(t: tokens.Token, principal: str) -> r.TokenView:
    return r.TokenView(
        id=t.id,
        principal=principal,
        scope=t.scope,
        roles=t.roles,
        created_at=t.created_at,
        expires_at=t.expires_at,
        revoked_at=t.revoked_at,
        single_use=t.single_use,
    )
