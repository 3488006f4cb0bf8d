"""Operations of the monitor: predictions are collected, outcomes join them, reports say what moved and what fell.

What was done before is told by rows that were committed with it, so each may be repeated, interrupted, and run from
several places: a segment is collected once, an outcome joins its prediction once, an answer is judged once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import msgspec

from falaj.core.encoding import moment
from falaj.core.entries import Entry, What
from falaj.core.errors import MissingPart
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.predictions import unsealed
from falaj.core.records import Version
from falaj.data import made
from falaj.data.made import Made
from falaj.deploy.records import Watch
from falaj.door import Context, job, query
from falaj.monitor import collecting, joined, keeping, rules, sources, watching
from falaj.monitor.collecting import Survey, Surveyed
from falaj.monitor.errors import SegmentChanged
from falaj.monitor.joined import Kept, payload_of
from falaj.monitor.keeping import Expired
from falaj.monitor.kinds import REPORT
from falaj.monitor.records import Report
from falaj.monitor.sources import Watched
from falaj.monitor.views import Collected, Labelled, Reported, ReportRow, Status
from falaj.monitor.window import Figures, Growing, Window
from falaj.store import rollouts, runs, segments
from falaj.store.errors import RefConflict
from falaj.store.metadata import Transaction
from falaj.store.segments import SEGMENT, Segment
from falaj.store.unit import Unit

ON: Final = "asset:{project}/{deployment}"
MAX_VERSIONS: Final = 10_000
SHOWN: Final = 20
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

# collect


@job(
    "monitor.collect",
    on=ON,
    kind="deployment",
    entry=What.PREDICTIONS_COLLECTED,
    role="contributor",
    cli="monitor collect",
)
def collect(ctx: Context, deployment: str) -> Collected:
    """Take the predictions of a deployment from its log on this host into the dataset `DEPLOYMENT_predictions`.

    What its servers write at this moment is sealed first. Each segment is taken once, by the digest of its bytes; its
    file is removed only when what was taken is committed.
    """
    with ctx.reading() as tx:
        watched = sources.watched(ctx, tx, deployment)
        log = sources.log_of(ctx, tx, watched)
    target_name = rules.predictions_of(watched.asset.name)
    ctx.check_residency(f"{target_name}: storing")
    known, fresh = _sorted_out(ctx, watched, collecting.seal(log))
    removed = _removed(ctx, watched, known)
    ctx.progress("reading the log", 0, len(fresh))
    found = collecting.survey(fresh, watched.asset.name)
    made_now, old = _collected(ctx, watched, target_name, found)
    if made_now is not None:
        removed += _removed(ctx, watched, [one.path for one in found.segments])
    return _told_collected(
        ctx, watched, target_name, found, made_now, removed, len(collecting.lying(log)) - len(found.damaged), old
    )


def _sorted_out(ctx: Context, watched: Watched, paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The segments that were collected before, and those that were not. Raises: SegmentChanged."""
    known, fresh = [], []
    for path in paths:
        with ctx.reading() as tx:
            row = segments.collected(tx, watched.asset.id, path.name)
        if row is None:
            fresh.append(path)
        elif collecting.digest_of(path) in {row.sha256, None}:
            known.append(path)
        else:
            raise SegmentChanged(
                f"{path.name}: collected as {row.sha256[:19]}…, and other bytes lie there now",
                next_step="move the file away; what was collected stays",
            )
    return known, fresh


def _collected(ctx: Context, watched: Watched, dataset: str, found: Survey) -> tuple[Kept | None, Expired]:
    """The segments as the dataset's next version, each with its row, without what is not kept any longer."""
    today, keep_days = datetime.now(UTC).date(), watched.deployment.log.keep_days
    with ctx.reading() as tx:
        target = made.target_of(ctx, tx, Thing(dataset, sources.DATASET, "main"))
        before = sources.held(ctx, tx, dataset)
        classes = sources.classes(ctx, tx, watched.deployment)
        last = next((one for _, one in sources.reports(ctx, tx, watched.asset.name)), None)
    old = keeping.expired(ctx, before.version if before else None, keep_days, today)
    if not found.segments and not old.files:
        return None, old
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:
        file = Path(folder, keeping.file_of(today, found.segments[0].path.stem if found.segments else new_id()))
        collecting.write(found, file)
        stored = made.store(ctx, target, file, onto=before.version if before else None, without=old.files)
    payload = payload_of(ctx, before)
    columns = rules.classified(rules.merged_columns(payload.columns if payload else (), found.columns), classes)
    rows = (payload.rows or 0 if payload else 0) - old.rows + found.rows
    table = Made(columns=columns, rows=rows, source=watched.asset.name, stored=stored, report=None)
    with ctx.ground.contents.concluding(stored), ctx.conclude() as unit:
        version, entry = made.add(
            ctx, unit, target, table, inputs=[(watched.version, "deployment")], role="predictions", detail={}
        )
        if found.segments:
            entry = _say_collected(unit, watched, found, version)
        if before is not None and old.files:
            told = {"thing": dataset, "rows": old.rows, "kept_days": keep_days}
            keeping.retire(ctx, unit, before.asset, but=(rules.window_begins(last) or 0,), detail=told)
        ctx.result = {"dataset": dataset, "version": version.number, "rows": found.rows}
    kept = Kept(version=version, previous=target.previous, stored_bytes=stored.stored_bytes, entry_id=entry.id)
    return kept, old


def _say_collected(unit: Unit, watched: Watched, found: Survey, version: Version) -> Entry:
    for one in found.segments:
        unit.add(SEGMENT, _row(unit, watched, one, version))
    told = [{"segment": one.path.name, "sha256": one.sha256, "rows": one.rows} for one in found.segments]
    detail = {"thing": f"deployment/{watched.asset.name}", "version": version.number, "segments": told}
    return unit.say(What.PREDICTIONS_COLLECTED, [watched.asset.id, version.asset], detail=detail)


def _row(unit: Unit, watched: Watched, one: Surveyed, version: Version) -> Segment:
    return Segment(
        deployment=watched.asset.id,
        segment=one.path.name,
        project=watched.asset.project,
        sha256=one.sha256,
        rows=one.rows,
        dataset=version.asset,
        version=version.number,
        at=unit.now,
    )


def _removed(ctx: Context, watched: Watched, paths: Sequence[Path]) -> int:
    """Remove files of the log whose predictions are committed; none while a rollout is judged by them."""
    with ctx.reading() as tx:
        if rollouts.underway(tx, watched.asset.id) is not None:
            return 0
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _told_collected(
    ctx: Context,
    watched: Watched,
    dataset: str,
    found: Survey,
    kept: Kept | None,
    removed: int,
    left: int,
    old: Expired,
) -> Collected:
    with ctx.reading() as tx:
        now = sources.held(ctx, tx, dataset)
    payload = payload_of(ctx, now)
    return Collected(
        deployment=watched.asset.name,
        dataset=dataset,
        version=now.version.number if now else None,
        previous=kept.previous if kept else None,
        segments=len(found.segments),
        rows=found.rows,
        shadows=found.shadows,
        expired=old.rows,
        total=payload.rows or 0 if payload else 0,
        damaged=found.damaged,
        removed=removed,
        left=left,
        stored_bytes=kept.stored_bytes if kept else 0,
        run=ctx.run.id if ctx.run else "",
        entry_id=kept.entry_id if kept else "",
    )


# labels


@job(
    "monitor.labels",
    on=ON,
    kind="deployment",
    entry=What.VERSION_ADDED,
    role="contributor",
    cli="monitor labels",
)
def labels(ctx: Context, deployment: str) -> Labelled:
    """Join the outcomes that are known by now to the predictions of a deployment, by their key.

    The label is the model's own expression over the data that the deployment names. What was joined before stays as it
    was, and is not read again; what has no outcome (cancelled, or not known yet) gets none, and is asked about the next
    time. They become the datasets `DEPLOYMENT_labelled` and `DEPLOYMENT_waiting`.
    """
    joining = joined.begun(ctx, deployment)
    kept, counts = joined.carried_out(ctx, joining)
    return Labelled(
        deployment=joining.watched.asset.name,
        dataset=joining.target.thing.name,
        version=kept.version.number if kept else joining.target.previous,
        previous=kept.previous if kept else None,
        counts=counts,
        predictions=joining.shown,
        data=joining.data.shown,
        run=ctx.run.id if ctx.run else "",
        entry_id=kept.entry_id if kept else "",
    )


# report


@job(
    "monitor.report",
    on=ON,
    kind="deployment",
    entry=What.REPORT_MADE,
    role="contributor",
    cli="monitor report",
)
def report(ctx: Context, deployment: str, expect: Number | None = None) -> Reported:
    """Judge what a deployment answered since its last report: whether its inputs drifted, whether its score fell.

    The version that holds the ref is judged. Drift is what is significant after Benjamini and Hochberg and large; the
    score fell where its whole 95 % interval lies beyond what is tolerated. Fewer than 200 rows say nothing, and stay in
    the window of the next report. The report is a version of `report/DEPLOYMENT`. `expect`: the number of the newest
    report (0: none); refused where it is another one.
    """
    try:
        from falaj.monitor import reporting  # numpy and more, which other commands do not owe
    except ImportError as error:
        raise MissingPart(f"{error.name} is not installed", next_step="pip install 'falaj[local]'") from error
    with ctx.reading() as tx:
        watched = sources.watched(ctx, tx, deployment)
        window, holder = _window(ctx, tx, watched, expect)
    ctx.check_residency(f"{watched.asset.name}: reading")
    figures = reporting.measure(ctx, window)
    payload = _report(watched, window, figures)
    return _keep_report(ctx, watched, window, payload, holder)


def _window(ctx: Context, tx: Transaction, watched: Watched, expect: int | None) -> tuple[Window, int]:
    """What is judged, and the report that `main` holds, 0 for none. Raises: RefConflict where it is not as expected."""
    name, asked = watched.asset.name, watched.deployment
    watch = asked.watch or Watch()
    newest, last = next(((version.number, one) for version, one in sources.reports(ctx, tx, name)), (0, None))
    if expect not in {None, newest}:
        raise RefConflict(
            f"{name}: the newest report is {newest}, not {expect}", next_step=f"falaj monitor status {name}"
        )
    served = sources.served(ctx, tx, asked)
    before = None
    if watch.score is not None:
        before = sources.score_before(ctx, tx, served, asked.follows.ref or "", watch.score.metric, name)
    wants_training = watch.drift is not None and watch.reference == "training"
    window = Window(
        served=served,
        watch=watch,
        predictions=_growing(ctx, tx, rules.predictions_of(name), rules.window_begins(last)),
        outcomes=_growing(ctx, tx, rules.outcomes_of(name), rules.outcomes_begin(last)),
        training=sources.training(ctx, tx, served) if wants_training else None,
        before=before,
    )
    holder = sources.held_report(ctx, tx, name)
    return window, holder.version if holder else 0


def _growing(ctx: Context, tx: Transaction, dataset: str, since: int | None) -> Growing | None:
    held = sources.held(ctx, tx, dataset)
    if held is None:
        return None
    before = ctx.ground.catalog.version(tx, held.asset, since) if since else None
    return Growing(now=held.version, before=before)


def _report(watched: Watched, window: Window, figures: Figures) -> Report:
    watch, asked = window.watch, window.watch.drift
    drift, why_drift = rules.drift_answer(figures.columns, figures.rows, asked)
    score, why_score = rules.score_answer(figures.scored, watch.score)
    predictions, outcomes = window.predictions, window.outcomes
    return Report(
        deployment=watched.asset.name,
        deployment_version=watched.version.number,
        model=window.served.asset.name,
        version=window.number,
        predictions=predictions.now.number if predictions else None,
        outcomes=outcomes.now.number if outcomes else None,
        since_predictions=predictions.before.number if predictions and predictions.before else None,
        since_outcomes=outcomes.before.number if outcomes and outcomes.before else None,
        first_at=figures.first_at,
        last_at=figures.last_at,
        rows=figures.rows,
        reference=window.reference,
        verdict=rules.verdict_of(drift, score),
        drift=drift,
        score=score,
        why=(why_drift, why_score),
        level=asked.level if asked else None,
        effect=asked.effect if asked else None,
        needed=asked.columns if asked else 0,
        drifted=sum(column.drifted for column in figures.columns),
        columns=figures.columns,
        scored=figures.scored,
        versions=figures.versions,
    )


def _keep_report(ctx: Context, watched: Watched, window: Window, payload: Report, holder: int) -> Reported:
    """The report as a version, and an entry for each alarm. Raises: RefConflict where another was made meanwhile."""
    catalog = ctx.ground.catalog
    used = {"deployment": watched.version, "model": window.served.version}
    used |= {"predictions": window.predictions.now} if window.predictions else {}
    used |= {"outcomes": window.outcomes.now} if window.outcomes else {}
    used |= {"reference": window.training.version} if window.training else {}
    with ctx.conclude() as unit:
        asset = catalog.ensure_asset(unit, ctx.project.id, REPORT.name, watched.asset.name)
        catalog.expect(unit.tx, asset, "main", holder)
        version = catalog.add_version(unit, asset, payload, run=ctx.run.id if ctx.run else None)
        catalog.move(unit, asset, "main", version)
        if ctx.run is not None:
            for role, one in used.items():
                runs.link(unit, ctx.run.id, "in", one, role)
            runs.link(unit, ctx.run.id, "out", version, "report")
        told = {
            "thing": f"report/{asset.name}",
            "version": version.number,
            "model": f"{payload.model}:{payload.version}",
            "verdict": payload.verdict,
        }
        things = [watched.asset.id, asset.id]
        entry = unit.say(What.REPORT_MADE, things, detail={**told, "why": list(payload.why)})
        alarms = {}
        if payload.drift == "alarm":
            columns = [column.column for column in payload.columns if column.drifted]
            alarms["drift.found"] = unit.say(
                What.DRIFT_FOUND, things, detail={**told, "why": payload.why[0], "columns": columns}, cause=entry.id
            ).id
        if payload.score == "alarm":
            alarms["score.fell"] = unit.say(
                What.SCORE_FELL, things, detail={**told, "why": payload.why[1]}, cause=entry.id
            ).id
        ctx.result = {"report": f"report/{asset.name}:{version.number}", "verdict": payload.verdict}
    return _told_report(ctx, version.number, payload, alarms, entry.id)


def _told_report(ctx: Context, number: int, payload: Report, alarms: dict[str, str], entry_id: str) -> Reported:
    shared = set(Reported.__struct_fields__) & set(Report.__struct_fields__)
    return Reported(
        **{field: getattr(payload, field) for field in shared},
        number=number,
        alarms=alarms,
        run=ctx.run.id if ctx.run else "",
        entry_id=entry_id,
    )


# status


@query("monitor.status", on=ON, kind="deployment", cli="monitor status")
def status(ctx: Context, deployment: str) -> Status:
    """Where the watching of a deployment stands: what was collected and joined, and its newest reports."""
    watched = sources.watched(ctx, ctx.tx, deployment)
    collected, predictions = segments.count(ctx.tx, watched.asset.id)
    outcomes = payload_of(ctx, sources.held(ctx, ctx.tx, rules.outcomes_of(watched.asset.name)))
    log = sources.log_of(ctx, ctx.tx, watched)
    lying = [path for path in collecting.lying(log) if segments.collected(ctx.tx, watched.asset.id, path.name) is None]
    found = islice(sources.reports(ctx, ctx.tx, watched.asset.name), SHOWN)
    plan = watching.plan(ctx.tx, ctx.ground.catalog, watched.asset)
    return Status(
        deployment=watched.asset.name,
        segments=collected,
        predictions=predictions,
        waiting=len(lying) + len(unsealed(log)),
        outcomes=outcomes.rows or 0 if outcomes else 0,
        due_at=moment(plan.due_at) if plan else None,
        reports=tuple(
            ReportRow(
                number=version.number,
                at=version.created_at,
                version=one.version,
                verdict=one.verdict,
                rows=one.rows,
                drifted=one.drifted,
                score=one.scored.live.value if one.scored and one.scored.live else None,
                why="; ".join(one.why),
            )
            for version, one in found
        ),
    )
