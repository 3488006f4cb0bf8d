"""Outcomes joined: what there is to join found in the store, joined, and kept as two datasets in one transaction.

`DEPLOYMENT_labelled` grows by a file each time. `DEPLOYMENT_waiting` is one file that is written anew: the predictions
without an outcome, and beside them how far predictions were read, so that the next time begins there. Where the two do
not belong together (one was rolled back, say) everything is read again: nothing is ever concluded from one alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from falaj.core.encoding import moment
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.records import Version
from falaj.data import made
from falaj.data.made import Made, Target
from falaj.data.records import DatasetColumn, DatasetVersion
from falaj.door import Context
from falaj.models.records import Model
from falaj.monitor import keeping, labelling, rules, sources
from falaj.monitor.keeping import Expired
from falaj.monitor.labelling import Counts, Joined, Read
from falaj.monitor.records import Report
from falaj.monitor.sources import Readable, Watched
from falaj.store.catalog import Held
from falaj.store.metadata import Transaction
from falaj.store.objects.errors import ContentErased
from falaj.store.unit import Unit

MAX_VERSIONS: Final = 10_000


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A version that an operation made."""

    version: Version
    previous: int | None
    stored_bytes: int
    entry_id: str


class Joining(msgspec.Struct, frozen=True, kw_only=True):
    """What outcomes are joined from, as it stood.

    Attributes:
        target, waiting: where predictions with and without an outcome go.
        predictions, known, left: what was collected; what has an outcome; what had none the last time.
        labels: of each version of the model, by its number.
        classes: of inputs and key, see `sources.classes`.
        last: the newest report.
    """

    watched: Watched
    target: Target
    waiting: Target
    key: tuple[str, ...]
    data: Readable
    predictions: Held | None
    known: Held | None
    left: Held | None
    labels: Mapping[int, str]
    classes: Mapping[str, str]
    last: Report | None
    now: datetime

    @property
    def keep_days(self) -> int | None:
        """How long predictions are kept, and so their outcomes."""
        return self.watched.deployment.log.keep_days

    @property
    def shown(self) -> str:
        """The predictions: `delay_predictions:7`."""
        return f"{self.predictions.asset.name}:{self.predictions.version.number}" if self.predictions else ""

    @property
    def outcomes(self) -> str:
        """What the predictions are joined with, and by what."""
        return f"{self.data.shown} by {', '.join(self.key)}"


def begun(ctx: Context, deployment: str) -> Joining:
    """Everything as it stands. Raises: NotFound, DatasetTaken; Invalid where the deployment names no outcomes."""
    catalog = ctx.ground.catalog
    with ctx.reading() as tx:
        watched = sources.watched(ctx, tx, deployment)
        asked, name = rules.labels_of(watched.deployment), watched.asset.name
        model = catalog.asset(tx, ctx.project.id, watched.deployment.follows)
        labels: dict[int, str] = {}
        for version in catalog.versions(tx, model, limit=MAX_VERSIONS):
            payload: Model = catalog.payload(model, version)
            labels[version.number] = payload.label
        joining = Joining(
            watched=watched,
            target=_target(ctx, tx, rules.outcomes_of(name)),
            waiting=_target(ctx, tx, rules.waiting_of(name)),
            key=asked.key,
            data=sources.readable(ctx, tx, Thing.parse(asked.data, kind=sources.DATASET)),
            predictions=sources.held(ctx, tx, rules.predictions_of(name)),
            known=sources.held(ctx, tx, rules.outcomes_of(name)),
            left=sources.held(ctx, tx, rules.waiting_of(name)),
            labels=labels,
            classes=sources.classes(ctx, tx, watched.deployment),
            last=next((one for _, one in sources.reports(ctx, tx, name)), None),
            now=datetime.now(UTC),
        )
    ctx.check_residency(f"{joining.target.thing.name}: storing")
    return joining


def _target(ctx: Context, tx: Transaction, dataset: str) -> Target:
    return made.target_of(ctx, tx, Thing(dataset, sources.DATASET, "main"))


def carried_out(ctx: Context, joining: Joining) -> tuple[Kept | None, Counts]:
    """Join, and keep what came of it. Returns: the version of the outcomes, None where none was joined."""
    if joining.predictions is None:
        return None, Counts()
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as scratch:
        folder = Path(scratch)
        asked = _asked(ctx, joining, joining.predictions.version, folder)
        today = joining.now.date()
        old = keeping.expired(ctx, joining.known.version if joining.known else None, joining.keep_days, today)
        if not asked.is_any and not old.files:
            return None, labelling.as_before(asked.read.counts)
        into = Joined(outcomes=folder / keeping.file_of(today, new_id()), waiting=folder / "waiting.parquet")
        read = msgspec.structs.replace(asked.read, outcomes=asked.read.outcomes - old.rows)
        counts = _joined(ctx, joining, msgspec.structs.replace(asked, read=read), into, folder)
        waited = counts.expired - read.counts.expired
        return _keep(ctx, joining, into, counts, old, waited), counts


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The predictions to be joined.

    Attributes:
        read: how far that is, with the counts of those that are not among them.
        is_any: False where everything is as it was the last time.
    """

    paths: tuple[Path, ...]
    known: tuple[Path, ...]
    read: Read
    is_any: bool = True


def _asked(ctx: Context, joining: Joining, now: Version, folder: Path) -> _Asked:
    """What is new, and what had no outcome; everything where it cannot be told what that is."""
    contents, new = ctx.ground.contents, folder / "new.parquet"
    read = Read(predictions=now.number, data=joining.outcomes, outcomes=_rows(ctx, joining.known), counts=Counts())
    left, last = _left(ctx, joining, folder)
    fresh = None if last is None else _since(ctx, joining, now, last.predictions)
    if last is None or fresh is None:
        paths = contents.checkout(now, folder / "predictions")
        known = contents.checkout(joining.known.version, folder / "known") if joining.known else []
        labelling.gather(paths, new)
        labelling.gather(known, folder / "known.parquet")
        return _Asked(paths=(new,), known=(folder / "known.parquet",), read=read)
    labelling.gather(contents.checkout(now, folder / "predictions", fresh) if fresh else [], new)
    read = msgspec.structs.replace(read, counts=last.counts)
    is_any = bool(fresh) or last.data != joining.outcomes or _is_of_earlier(joining)
    return _Asked(paths=(new, *left), known=(), read=read, is_any=is_any)


def _is_of_earlier(joining: Joining) -> bool:
    """Whether what waits was looked through on an earlier day, and may hold what is not kept any longer."""
    left, today = joining.left, joining.now.date().isoformat()
    return joining.keep_days is not None and left is not None and left.version.created_at[:10] != today


def _left(ctx: Context, joining: Joining, folder: Path) -> tuple[list[Path], Read | None]:
    """The file of those without an outcome, and how far it says that was; None where it does not fit the outcomes."""
    if joining.left is None:
        return [], None
    paths = ctx.ground.contents.checkout(joining.left.version, folder / "left")
    last = labelling.read_of(paths[0]) if len(paths) == 1 else None
    return paths, last if last is not None and last.outcomes == _rows(ctx, joining.known) else None


def _since(ctx: Context, joining: Joining, now: Version, number: int) -> list[str] | None:
    """The files that were collected since a version; None where that version's are not known any more."""
    assert joining.predictions is not None  # noqa: S101  `now` is its version
    with ctx.reading() as tx:
        before = ctx.ground.catalog.version(tx, joining.predictions.asset, number)
    try:
        return sources.since(ctx, now, before)[1]
    except ContentErased:
        return None


def _joined(ctx: Context, joining: Joining, asked: _Asked, into: Joined, folder: Path) -> Counts:
    contract = joining.data.contract
    assert contract is not None  # noqa: S101  `sources.readable` gives none without
    ctx.progress("reading outcomes", 0, joining.data.version.size_bytes)
    data = ctx.ground.contents.checkout(joining.data.version, folder / "data")
    used = {n: joining.labels[n] for n in labelling.versions_in(asked.paths) if n in joining.labels}
    files: dict[str, Path] = {}
    for number, label in enumerate(sorted(set(used.values()))):
        file, spill = folder / f"outcomes-{number}.parquet", folder / f"spill-{number}"
        spill.mkdir()
        labelling.write_outcomes(data, joining.data.format, contract, label, joining.key, file, scratch=spill)
        if file.exists():
            files[label] = file
    ctx.progress("joining", 0, 0)
    (folder / "spill").mkdir()
    at, oldest = moment(joining.now), ""
    if joining.keep_days is not None:
        oldest = moment(joining.now - timedelta(days=joining.keep_days))
    paths, known = asked.paths, asked.known
    return labelling.join(
        paths, known, files, used, joining.key, into, asked.read, at=at, oldest=oldest, scratch=folder / "spill"
    )


def _keep(ctx: Context, joining: Joining, into: Joined, counts: Counts, old: Expired, waited: int) -> Kept | None:
    """Both datasets' next versions, in one transaction. Raises: RefConflict where another joined meanwhile."""
    assert joining.predictions is not None  # noqa: S101  without any, nothing was joined
    contents, target = ctx.ground.contents, joining.target
    inputs = [(joining.predictions.version, "predictions"), (joining.data.version, "outcomes")]
    told = msgspec.to_builtins(counts)
    with ExitStack() as stored:
        left = made.store(ctx, joining.waiting, into.waiting)
        stored.enter_context(contents.concluding(left))
        grown = None
        if counts.joined or old.files:
            onto = joining.known.version if joining.known else None
            grown = made.store(ctx, target, into.outcomes, onto=onto, without=old.files)
            stored.enter_context(contents.concluding(grown))
        unit = stored.enter_context(ctx.conclude())
        ctx.result = {"dataset": target.thing.name, **told}
        columns = _columns(ctx, joining, labelling.WAITING, joining.left)
        rows = counts.waiting + counts.without + counts.ambiguous
        table = Made(columns=columns, rows=rows, source=joining.data.shown, stored=left, report=None)
        made.add(ctx, unit, joining.waiting, table, inputs=inputs, role="waiting", detail={"counts": told})
        if waited and joining.left is not None:
            _retire(ctx, unit, joining, joining.left, rows=waited)
        if grown is None:
            return None
        columns = _columns(ctx, joining, labelling.COLUMNS, joining.known)
        rows = _rows(ctx, joining.known) - old.rows + counts.joined
        table = Made(columns=columns, rows=rows, source=joining.data.shown, stored=grown, report=None)
        version, entry = made.add(ctx, unit, target, table, inputs=inputs, role="outcomes", detail={"counts": told})
        if old.files and joining.known is not None:
            _retire(ctx, unit, joining, joining.known, rows=old.rows, but=rules.outcomes_begin(joining.last))
        ctx.result["version"] = version.number
    return Kept(version=version, previous=target.previous, stored_bytes=grown.stored_bytes, entry_id=entry.id)


def _retire(ctx: Context, unit: Unit, joining: Joining, held: Held, *, rows: int, but: int | None = None) -> None:
    """Retire the versions of a dataset before the one that was made without what is not kept any longer."""
    told = {"thing": held.asset.name, "rows": rows, "kept_days": joining.keep_days}
    keeping.retire(ctx, unit, held.asset, but=() if but is None else (but,), detail=told)


def _columns(
    ctx: Context, joining: Joining, columns: Sequence[DatasetColumn], before: Held | None
) -> tuple[DatasetColumn, ...]:
    """With the classes that the data declare now, that the predictions have, and that they had themselves."""
    names = {column.name for column in columns}
    for held in (joining.predictions, before):
        payload = payload_of(ctx, held)
        old = [column for column in payload.columns if column.name in names] if payload else []
        columns = rules.merged_columns(columns, old)
    return rules.classified(columns, joining.classes)


def payload_of(ctx: Context, held: Held | None) -> DatasetVersion | None:
    """What a version of a dataset says of itself."""
    return ctx.ground.catalog.payload(held.asset, held.version) if held else None


def _rows(ctx: Context, held: Held | None) -> int:
    payload = payload_of(ctx, held)
    return payload.rows or 0 if payload else 0
