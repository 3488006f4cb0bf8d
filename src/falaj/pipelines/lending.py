"""Runs that are worked on elsewhere: the token that their steps hold, good for the one run and as long as it lasts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from falaj.access import scopes, tokens
from falaj.access.rows import TOKEN
from falaj.access.state import raise_revision
from falaj.core.encoding import moment, parse_moment
from falaj.core.entries import What
from falaj.core.errors import Invalid
from falaj.core.records import Run
from falaj.door import Caller, Context
from falaj.store import runs
from falaj.store.rows import RUN
from falaj.store.unit import Unit
from falaj.trust.rules import span

ROLE: Final = "contributor"
LONGEST: Final = "30d"


def until(expires_in: str, caller: Caller) -> datetime:
    """When a run that is lent now comes back: after this span, and no later than the token that it is asked for by.

    Raises: Invalid for a span that is none, or over 30 days.
    """
    if span(expires_in) > span(LONGEST):
        raise Invalid(f"expires_in {expires_in}: at most {LONGEST}", next_step="begin another run by then")
    ends = datetime.now(UTC) + span(expires_in)
    own = caller.token.expires_at if caller.token else None
    return min(ends, parse_moment(own)) if own else ends


def lend(ctx: Context, run: Run, ends: datetime) -> tuple[Run, str]:
    """Lend a run that begins in the open unit; returns it, and the text of its token.

    The token is the caller's, and gives nothing that the caller does not hold. Embedded there is none: "". The caller
    says the entry.
    """
    if ctx.snapshot is None:
        return ctx.unit.put(RUN, msgspec.structs.replace(run, owner=runs.lent("", moment(ends)))), ""
    minted = tokens.mint(
        ctx.caller.principal,
        key=ctx.door.token_key,
        now=datetime.now(UTC),
        scope=(scopes.thing("run", ctx.project.name, run.id),),
        roles=(ROLE,),
        expires_at=ends,
    )
    ctx.unit.add(TOKEN, minted.row)
    raise_revision(ctx.unit)
    owner = runs.lent(minted.row.id, moment(ends))
    return ctx.unit.put(RUN, msgspec.structs.replace(run, owner=owner)), minted.reveal()


def give_back(unit: Unit, run: Run) -> None:
    """Make the token of a run that ends void; nothing for a run of this machine, or where that is done."""
    held = runs.lent_by(run.owner)
    row = TOKEN.get(unit.tx, held[0], lock=True) if held and held[0] else None
    if row is not None and row.revoked_at is None:
        unit.put(TOKEN, tokens.revoke(row, now=datetime.now(UTC)))
        raise_revision(unit)
        unit.say(What.TOKEN_REVOKED, [row.id, row.principal], detail={"run": run.id})
