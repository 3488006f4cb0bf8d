"""Operations on the store as a whole: how it is, whether it is sound, what can go, what can be set right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from falaj.core.entries import What
from falaj.door import Context, command, job, query
from falaj.store import runs
from falaj.store.content.checking import Report as BytesReport
from falaj.store.content.collecting import Collected as Removed
from falaj.store.content.collecting import Garbage
from falaj.store.keys.sql import KEY
from falaj.store.ledger.repair import repair as repair_ledger
from falaj.store.metadata import Transaction
from falaj.store.metadata.open import schema_version
from falaj.store.metadata.queries import queries
from falaj.store.objects.records import Problem as BytesProblem
from falaj.store.rows import FACT, PROJECT
from falaj.store.unit import Unit
from falaj.trust import proving
from falaj.trust import records as r
from falaj.trust.rules import span

GROUND, LEDGER = queries("ground"), queries("ledger")


@query("store.status", on="store", role="auditor", also=(), cli="doctor")
def status(ctx: Context) -> r.Status:
    """How the store is: versions, mode, keys, locations, the ledger's head, runs at work. Reads no bytes."""
    from importlib.metadata import version as installed  # slow to import, and asked for here alone

    ground, tx = ctx.ground, ctx.tx
    dialect = ground.database.dialect
    version = tx.row(GROUND[f"{dialect}_version"])
    mode = FACT.get(tx, "mode")
    head = tx.row(LEDGER["last_checkpoint"])
    return r.Status(
        version=installed("falaj"),
        schema=schema_version(tx, dialect),
        database=f"{dialect} {version[0] if version else ''}".strip(),
        mode=mode.value.partition(":")[0] if mode else "embedded",
        entries=ground.log.size(tx),
        pending=ground.log.pending(tx),
        checkpoint=int(head[0]) if head else 0,
        projects=sum(1 for _ in PROJECT.scan(tx)),
        notes=tuple(_notes(ctx)),
    )


@job("store.verify", on="store", entry=What.RUN_STARTED, role="owner", cli="verify")
def verify(ctx: Context) -> r.Verified:
    """Check everything: every pack and tree decrypted and compared, every row and entry, every checkpoint.

    Bytes whose keys were destroyed on purpose cannot be read and are no problem; `unreadable` counts them.
    """
    found = ctx.ground.contents.verify(ctx.progress)
    ctx.progress("verifying the ledger", 0, 1)
    ctx.ground.heads.renew_apart()
    with ctx.reading() as tx:
        report = proving.verified(ctx.ground, tx)
    destroyed = sum(1 for p in found.problems if p.sort == "destroyed")
    result = proving.as_view(
        report,
        versions=found.versions,
        bytes_read=found.bytes_read,
        unreadable=destroyed,
        further=_of_bytes(found),
    )
    ctx.result = {"ok": result.ok, "problems": len(result.problems) + result.unlisted}
    return result


@job("store.gc", on="store", entry=What.OBJECTS_COLLECTED, role="owner", cli="gc")
def gc(ctx: Context, dry_run: bool = False, grace: str = "") -> r.Collected:
    """Remove bytes that no version and no running upload can reach; versions retired for longer lose theirs.

    `grace` is how long a retired version keeps its bytes (`30d`); none by default.
    """
    ctx.progress("looking", 0, 1)
    garbage = ctx.ground.contents.survey(grace=span(grace) if grace else timedelta(0))
    if dry_run:
        ctx.result = {"dry_run": True, "packs": garbage.packs, "bytes": garbage.bytes}
        return _collected(garbage, None, None)
    with ctx.conclude() as unit:
        forgotten = ctx.ground.contents.forget(unit, ctx.ground.catalog, garbage)
        ctx.result = {"packs": forgotten.packs, "bytes": forgotten.bytes}
        entry = unit.say(
            What.OBJECTS_COLLECTED,
            [row.asset for found in forgotten.domains for row in found.retired],
            detail={**ctx.result, "versions_emptied": forgotten.versions_emptied, "skipped": dict(forgotten.skipped)},
        )
    return _collected(forgotten, ctx.ground.contents.remove(forgotten), entry.id)


@command("store.repair", on="store", entry=What.STORE_REPAIRED, role="owner", cli="repair")
def repair(ctx: Context) -> r.Repaired:
    """Set right what can be set right without a doubt: tree nodes, index columns, declared fields, lost runs.

    An entry, a checkpoint or a governed row that was changed is never made to look right: it is refused, and named.
    """
    ground, unit = ctx.ground, ctx.unit
    published = ground.publisher.kept() if ground.publisher else ()
    nodes, columns = repair_ledger(unit.tx, ground.log, proving.verifiers(ground, unit.tx), published)
    versions = ground.catalog.rebuild_projections(unit.tx)
    lost = lose_dead_runs(unit)
    entry = unit.say(
        What.STORE_REPAIRED,
        detail={"nodes": nodes, "columns": columns, "versions": versions, "lost_runs": lost},
    )
    return r.Repaired(nodes=nodes, columns=columns, versions=versions, lost_runs=lost, entry_id=entry.id)


def lose_dead_runs(unit: Unit) -> int:
    """End runs whose process on this host is no more; each in an entry of its own. Returns how many.

    Not an operation: the platform calls it when it opens a store.
    """
    dead = [run for run in runs.running(unit.tx) if runs.is_alive(run.owner) is False]
    for run in dead:
        runs.end(unit, run, "lost")
        unit.say(What.RUN_ENDED, [run.id], project=run.project)
    return len(dead)


def _of_bytes(found: BytesReport) -> Iterator[r.ProblemView]:
    for problem in found.problems:
        if problem.sort != "destroyed":
            yield r.ProblemView(
                sort=f"bytes_{problem.sort}",
                where=_where(problem),
                message=problem.message,
                next_step=problem.next_step,
            )


def _where(problem: BytesProblem) -> str:
    named = {"version": problem.version, "file": problem.path, "pack": problem.pack, "chunk": problem.chunk}
    return ", ".join(f"{word} {value}" for word, value in named.items() if value) or problem.domain


def _collected(garbage: Garbage, removed: Removed | None, entry_id: str | None) -> r.Collected:
    return r.Collected(
        packs=garbage.packs if removed is None else removed.packs,
        bytes=garbage.bytes if removed is None else removed.bytes,
        kept_packs=garbage.kept_packs,
        partly_used_bytes=garbage.partly_used_bytes,
        versions_emptied=garbage.versions_emptied,
        skipped=dict(garbage.skipped),
        failed=() if removed is None else removed.failed,
        dry_run=removed is None,
        entry_id=entry_id,
    )


def _notes(ctx: Context) -> Iterator[str]:
    keys = Counter(row.state for row in KEY.scan(ctx.tx))
    yield "keys: " + ", ".join(f"{count} {state}" for state, count in sorted(keys.items()))
    for name, location in sorted(ctx.ground.contents.readers.locations.items()):
        yield f"location {name}: {location.place.region or 'its region is not declared'}"
    yield from _head_notes(ctx, ctx.tx)
    at_work = runs.running(ctx.tx)
    if at_work:
        dead = sum(runs.is_alive(run.owner) is False for run in at_work)
        yield f"runs: {len(at_work) - dead} at work" + (f", {dead} of dead processes (falaj repair)" if dead else "")


def _head_notes(ctx: Context, tx: Transaction) -> Iterator[str]:
    size, publisher = ctx.ground.log.size(tx), ctx.ground.publisher
    head = tx.row(LEDGER["last_checkpoint"])
    if head is None or int(head[0]) < size:
        yield f"ledger: {size - (int(head[0]) if head else 0)} entries are not under a signed head yet"
    if publisher is None:
        yield "ledger: checkpoints are kept nowhere outside of the database: a cut tail would not show"
    else:
        yield f"ledger: checkpoints are published in {publisher.folder}"
