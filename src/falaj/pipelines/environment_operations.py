"""Operations on environments of steps: built ahead, listed, looked over, removed.

An environment is a cache: its lock is kept with the pipeline, and whoever may run a pipeline has it built. So building
needs the role that running does. What is on the host's disk is the store's, of all its projects together: it is listed
by auditors, and removed by owners.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import msgspec

from falaj.core.encoding import parse_moment
from falaj.core.entries import What
from falaj.core.errors import Conflict, Damaged, Invalid, NotFound
from falaj.core.names import Thing, printable
from falaj.door import Context, job, query
from falaj.environments import ENVIRONMENTS
from falaj.environments.place import Environment, Place
from falaj.pipelines import locks
from falaj.pipelines.engine import ENGINE, Engine
from falaj.pipelines.kinds import PIPELINE
from falaj.pipelines.plan import source_of
from falaj.pipelines.records import Pipeline
from falaj.trust.rules import span

LEAST: int = 6
"""How many characters of a digest name it, at least."""


class EnvironmentView(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that is there. `seconds`: how long building it took."""

    digest: str
    python: str
    platform: str
    distributions: int
    size_bytes: int
    seconds: float
    built_at: str
    used_at: str


class BuiltView(msgspec.Struct, frozen=True, kw_only=True):
    """An environment of a pipeline; `outcome`: `built` now, or `there` before."""

    name: str
    digest: str
    distributions: int
    outcome: str


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """The environments that the steps of a pipeline run in."""

    pipeline: str
    version: int
    environments: tuple[BuiltView, ...]
    seconds: float
    entry_id: str
    entry: int | None = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading environments whole."""

    ok: bool
    environments: int
    problems: tuple[str, ...]


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """Environments that are gone; `in_use`: those that were to go and that a run is in."""

    digests: tuple[str, ...]
    size_bytes: int
    in_use: tuple[str, ...]
    entry_id: str
    entry: int | None = None


@query("environment.list", on="store", role="auditor", also=(), cli="environment list")
def list_(ctx: Context) -> list[EnvironmentView]:
    """The environments on this host, the one last used first."""
    place: Place = ctx.ground.port(ENVIRONMENTS)
    return [_view(one) for one in place.all()]


@query("environment.verify", on="store", role="auditor", also=(), cli="environment verify")
def verify(ctx: Context) -> Checked:
    """Read every file of every environment on this host, and compare it with what was built."""
    place: Place = ctx.ground.port(ENVIRONMENTS)
    found, problems = 0, []
    for digest in place.digests():
        try:
            found += place.find(digest, whole=True) is not None
        except Damaged as error:
            problems.append(error.message)
    return Checked(ok=not problems, environments=found + len(problems), problems=tuple(problems))


@job(
    "environment.build",
    on="asset:{project}/{pipeline=pipeline}",
    entry=What.ENVIRONMENT_BUILT,
    role="contributor",
    cli="environment build",
)
def build(ctx: Context, pipeline: str) -> Built:
    """Build the environments that a pipeline's steps run in, before it is run; those that are there stay."""
    ctx.check_residency(f"{pipeline}: building its environments")
    began = time.monotonic()
    engine: Engine = ctx.ground.port(ENGINE)
    with ctx.reading() as tx:
        held = ctx.ground.catalog.resolve(tx, ctx.project.id, Thing.parse(pipeline, kind=PIPELINE.name))
        payload: Pipeline = ctx.ground.catalog.payload(held.asset, held.version)
    wanted = locks.chosen(payload.graph, source_of(ctx, held.version)) if payload.graph.environments else {}
    out = []
    for at, (name, one) in enumerate(wanted.items()):

        def say(words: str, name: str = name, at: int = at) -> None:
            ctx.progress(f"environment {name}: {words}", at, len(wanted))

        outcome = "built" if engine.prepare(one, say) else "there"
        out.append(BuiltView(name=name, digest=one.digest, distributions=len(one.lock.pins), outcome=outcome))
    with ctx.conclude() as unit:
        ctx.result = {"environments": [one.digest for one in out]}
        detail = {"environments": [[one.name, one.digest, one.outcome] for one in out]}
        entry = unit.say(What.ENVIRONMENT_BUILT, [held.asset.id], detail=detail)
    return Built(
        pipeline=held.asset.name,
        version=held.version.number,
        environments=tuple(out),
        seconds=round(time.monotonic() - began, 3),
        entry_id=entry.id,
    )


@job("environment.remove", on="store", entry=What.ENVIRONMENT_REMOVED, role="owner", cli="environment remove")
def remove(ctx: Context, digests: list[str] = [], unused: str = "") -> Removed:  # noqa: B006  never mutated
    """Remove environments: those of the digests (their first characters do), or all that were not `unused` for: `30d`.

    One that a run is in stays. What is needed again is built again, from the lock that its pipeline has.
    """
    place: Place = ctx.ground.port(ENVIRONMENTS)
    if not digests and not unused:
        raise Invalid("no environment is named", next_step="name digests, or --unused 30d")
    wanted = [_meant(place, text) for text in digests]
    if unused:
        wanted += _unused(place, span(unused))
    gone, kept, size = [], [], 0
    for digest in dict.fromkeys(wanted):
        try:
            size += place.remove(digest)
            gone.append(digest)
        except Conflict:
            kept.append(digest)
    with ctx.conclude() as unit:
        ctx.result = {"environments": gone, "size_bytes": size}
        entry = unit.say(What.ENVIRONMENT_REMOVED, detail={"environments": gone, "in_use": kept})
    return Removed(digests=tuple(gone), size_bytes=size, in_use=tuple(kept), entry_id=entry.id)


def _meant(place: Place, text: str) -> str:
    short = text.removeprefix("sha256:").lower()
    found = [one for one in place.digests() if one.removeprefix("sha256:").startswith(short)]
    if len(short) < LEAST or len(found) != 1:
        raise NotFound(
            f"environment {printable(text)}: {len(found)} of that digest", next_step="falaj environment list has them"
        )
    return found[0]


def _unused(place: Place, least: timedelta) -> list[str]:
    """Those that nobody asked for since; what was not built to its end counts as never asked for."""
    used = {one.digest: one.used_at or one.built_at for one in place.all()}
    now = datetime.now(UTC)
    return [one for one in place.digests() if one not in used or now - parse_moment(used[one]) >= least]


def _view(one: Environment) -> EnvironmentView:
    return EnvironmentView(
        digest=one.digest,
        python=one.version,
        platform=one.platform,
        distributions=len(one.pins),
        size_bytes=one.size_bytes,
        seconds=one.seconds,
        built_at=one.built_at,
        used_at=one.used_at,
    )
