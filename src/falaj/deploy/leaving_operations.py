"""What leaves a deployment: its prediction log to be looked at, its bundle to be served elsewhere. Each is an entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

from falaj.core.errors import Conflict, FalajError, Invalid
from falaj.core.names import printable
from falaj.deploy import exporting, logs
from falaj.deploy.bundles import BUNDLES, Bundles
from falaj.deploy.errors import RolloutUnderway
from falaj.deploy.operations import ON, found_in_force, unrouted
from falaj.door import Context, transfer
from falaj.features.rules import parse_span
from falaj.store.rollouts import routing, underway

COLLECTED: Final = "asset:{project}/dataset/{deployment}_predictions"
"""Where the log is collected to: who may not read that may not read the log either."""
ROLES: Final = ("", "stable", "canary", "shadow")
Limit = Annotated[int, msgspec.Meta(ge=1, le=logs.MOST)]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


@transfer(
    "deploy.logs",
    on=(ON, COLLECTED),
    kind="deployment",
    cli="deploy logs",
    judged=("classification", "residency", "purpose"),
)
def read_log(
    ctx: Context,
    deployment: str,
    version: Version = 0,
    role: str = "",
    prediction: str = "",
    since: str = "",
    until: str = "",
    failed: bool = False,
    limit: Limit = 100,
    after: str = "",
    purpose: str = "",
) -> Iterator[bytes]:
    """The prediction log of a deployment on this host, newest first, a line of JSON each; the last is where it ends.

    With `after`, what came since that place, oldest first. Inputs that the deployment drops by now are not among it,
    whatever it logged before. `since` and `until` are moments, or spans back from now: `2h`, `1d`.
    """
    ctx.check_residency(f"{deployment}_predictions: reading")
    found, tx, bundles = found_in_force(ctx, ctx.tx, deployment), ctx.tx, _bundles(ctx)
    if role not in ROLES:
        raise Invalid(f"role {printable(role)}: is not known", next_step=f"one of {', '.join(ROLES[1:])}")
    row = routing(tx, found.asset.id)
    now = datetime.now(UTC)
    wanted = logs.Wanted(
        version=version,
        role=role,
        prediction=prediction,
        since=_moment("since", since, now),
        until=_moment("until", until, now),
        failed=failed,
        drop=frozenset(bundles.dropped(tx, row)) if row else frozenset(),
        limit=limit,
    )
    log = bundles.log(tx, found.asset.id)
    return logs.since(log, wanted, logs.Place.parse(after)) if after else logs.newest_first(log, wanted)


@transfer("deploy.export", on=ON, kind="deployment", role="maintainer", cli="deploy export", judged=("residency",))
def export(ctx: Context, deployment: str) -> Iterator[bytes]:
    """The signed bundle of a deployment as a tar archive: models, document, key, and how to serve it elsewhere.

    Refused while a version goes out: where nobody carries the rollout on, its canary would stay one for ever.
    """
    ctx.check_residency(f"{deployment}: export")
    found, bundles = found_in_force(ctx, ctx.tx, deployment), _bundles(ctx)
    if (rollout := underway(ctx.tx, found.asset.id)) is not None:
        raise RolloutUnderway(
            f"{found.asset.name}: v{rollout.candidate} is on its way, and would stay a canary elsewhere",
            next_step=f"falaj deploy status {found.asset.name}, then wait for it or abort it",
            facts={"rollout": rollout.id, "candidate": rollout.candidate},
        )
    row = routing(ctx.tx, found.asset.id)
    there = bundles.in_force(ctx.tx, found.asset.id)
    if row is None or there is None or there.bundle.revision != row.revision:
        known = bundles.known(ctx.tx, found.asset.id)
        why = unrouted(ctx, ctx.tx, found) if row is None else known.problem or "its bundle is not written yet"
        raise Conflict(f"{found.asset.name}: {why}", next_step=f"falaj deploy status {found.asset.name}")
    return exporting.pieces(there.folder, there.bundle, there.document, there.key)


def _bundles(ctx: Context) -> Bundles:
    port: Bundles = ctx.ground.port(BUNDLES)
    return port


def _moment(field: str, text: str, now: datetime) -> datetime | None:
    """A moment, or a span back from now; None where nothing is said. Raises: Invalid."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None:
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    try:
        return now - timedelta(seconds=parse_span(text))
    except (FalajError, OverflowError) as error:
        raise Invalid(f"{field} {printable(text)}: neither a moment nor a span", next_step=f"--{field} 2h") from error
