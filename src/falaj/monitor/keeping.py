"""How long predictions are kept once they were collected: as long as their log, which the deployment's file says.

A file of a growing dataset has the day of its making in its name. When that is too long ago the next version is made
without it, and the versions before are retired, by the one operation for that: garbage collection takes the bytes that
no live version reaches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec

from falaj.core.entries import What
from falaj.core.records import Asset, Version
from falaj.door import Context
from falaj.store.unit import Unit

PAGE = 1_000


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """Files of a dataset that are not kept any longer, and the rows in them."""

    files: tuple[str, ...] = ()
    rows: int = 0


def file_of(day: date, stem: str) -> str:
    """The name of a file that is added to a dataset on a day: `2026-11-27-01M8….parquet`."""
    return f"{day.isoformat()}-{stem}.parquet"


def is_expired(file: str, keep_days: int, today: date) -> bool:
    """Whether every row of a file is older than it is kept; a file that does not tell its day is kept."""
    try:
        day = date.fromisoformat(file[:10])
    except ValueError:
        return False
    return day + timedelta(days=keep_days) < today


def expired(ctx: Context, version: Version | None, keep_days: int | None, today: date) -> Expired:
    """What a version of a dataset need not hold any longer."""
    if version is None or keep_days is None:
        return Expired()
    files = tuple(one.path for one in ctx.ground.contents.files(version) if is_expired(one.path, keep_days, today))
    return Expired(files=files, rows=_rows(ctx, version, files)) if files else Expired()


def _rows(ctx: Context, version: Version, files: Sequence[str]) -> int:
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:
        paths = ctx.ground.contents.checkout(version, Path(folder), files)
        return sum(pq.read_metadata(path).num_rows for path in paths)


def retire(ctx: Context, unit: Unit, asset: Asset, *, but: Collection[int], detail: dict[str, object]) -> None:
    """Retire every version that no ref holds, and say why.

    Args:
        but: numbers of versions that are read from still: the next report begins after them.
        detail: words beside the entry.
    """
    catalog = ctx.ground.catalog
    stays = {*but, *(ref.version for ref in catalog.refs(unit.tx, asset))}
    before: int | None = None
    retired: list[int] = []
    while page := catalog.versions(unit.tx, asset, before, PAGE):
        for version in (one for one in page if one.state == "live" and one.number not in stays):
            catalog.set_state(unit, asset, version, "retired")
            retired.append(version.number)
        before = page[-1].number
    unit.say(What.PREDICTIONS_EXPIRED, [asset.id], detail={**detail, "versions": sorted(retired)})
