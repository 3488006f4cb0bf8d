"""Operations on keys: list, rotate, begin a fresh epoch, destroy. What each cannot reach is said in its receipt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from falaj.assets.records import Done
from falaj.assets.rules import page_size
from falaj.core.entries import What
from falaj.core.errors import Invalid
from falaj.core.records import Asset
from falaj.door import Context, command, job, query
from falaj.store.content import rows as content_rows
from falaj.store.keys.rows import KeyRow
from falaj.store.keys.sql import KEY
from falaj.trust import records as r

NOT_REACHED = (
    "Nobody can unwrap these keys from this store any more. Not reached: backups that hold the database and the key "
    "file; processes that have the keys unwrapped, until they end; what was checked out, exported or predicted before."
)


@query("keys.list", on="store", role="auditor", also=(), cli="keys list")
def list_keys(ctx: Context, domain: str = "", after: str = "", limit: int = 200) -> tuple[r.KeyView, ...]:
    """Keys without their bytes, oldest first; of one domain if given."""
    clause = "(:domain = '' OR domain = :domain) AND id > :after ORDER BY id"
    found = KEY.where(ctx.tx, clause, {"domain": domain, "after": after}, limit=page_size(limit))
    return tuple(map(_view, found))


@command("keys.rotate", on="project:{project}", entry=What.KEY_ROTATED, role="owner", cli="keys rotate")
def rotate(ctx: Context) -> r.KeyReceipt:
    """Make a new key for the project and wrap everything below it anew. Data is not touched and stays readable."""
    keys = ctx.ground.keys.begin(ctx.unit)
    fresh = keys.rotate_project(ctx.project.id)
    entry = ctx.unit.say(What.KEY_ROTATED, [fresh, ctx.project.id], detail={"project": ctx.project.name})
    return _receipt(
        "rotated",
        KEY.where(ctx.tx, "purpose = 'project' AND domain = :domain ORDER BY epoch", {"domain": ctx.project.id}),
        "The earlier project key is destroyed. Servers go on without a restart.",
        entry.id,
    )


@job("keys.rotate_root", on="store", entry=What.KEY_ROTATED, role="owner", cli="keys rotate-root")
def rotate_root(ctx: Context) -> Done:
    """Make a new root key at the custodian, wrap anew what the earlier one wraps, then destroy the earlier one.

    May be run again after it was interrupted: the earlier root is destroyed only when nothing needs it.
    """
    with ctx.begin() as unit:
        root = ctx.ground.keys.begin(unit).rotate_root()
        entry = unit.say(What.KEY_ROTATED, [root], detail={"key": "root"})
    with ctx.reading() as tx:
        forgotten = ctx.ground.keys.reading(tx).forget_roots()
    ctx.result = {"root": root, "forgotten": list(forgotten)}
    return Done(
        thing=root,
        entry_id=entry.id,
        note=f"{len(forgotten)} earlier roots destroyed; other processes that have this store open need a restart",
    )


@command(
    "keys.rekey", on="asset:{project}/{thing}", entry=What.KEY_ROTATED, role="owner", cli="keys rekey", kind="dataset"
)
def rekey(ctx: Context, thing: str) -> r.KeyReceipt:
    """Begin a fresh key epoch of a dataset: whoever has the earlier key cannot read what is added from now on."""
    asset, domain = _dataset(ctx, thing)
    done = ctx.ground.keys.begin(ctx.unit).rekey(domain, _packs(ctx, domain))
    entry = ctx.unit.say(What.KEY_ROTATED, [asset.id], detail={"thing": thing, "epoch": done.epoch})
    return _receipt(
        "rekeyed",
        _keys_of(ctx, domain),
        f"{len(done.packs)} packs still rest under earlier keys, which stay until those packs are collected: "
        "then falaj keys drop destroys them. What was copied before stays readable to whoever has the earlier key.",
        entry.id,
    )


@command(
    "keys.drop", on="asset:{project}/{thing}", entry=What.KEY_DESTROYED, role="owner", cli="keys drop", kind="dataset"
)
def drop(ctx: Context, thing: str) -> r.KeyReceipt:
    """Destroy the earlier epoch keys of a dataset, once nothing rests under them."""
    asset, domain = _dataset(ctx, thing)
    gone = ctx.ground.keys.begin(ctx.unit).drop_epochs(domain, _packs(ctx, domain))
    if not gone.keys:
        raise Invalid(f"{asset.name} has one key epoch only", next_step=f"falaj keys rekey {asset.name}")
    told = {"thing": thing, "fingerprints": [k.fingerprint for k in gone.keys]}
    entry = ctx.unit.say(What.KEY_DESTROYED, [asset.id, *(k.id for k in gone.keys)], detail=told)
    return _receipt("dropped", _by_ids(ctx, [k.id for k in gone.keys]), NOT_REACHED, entry.id)


@command(
    "keys.destroy", on="asset:{project}/{thing}", entry=What.KEY_DESTROYED, role="owner", cli="keys destroy",
    kind="dataset",
)  # fmt: skip
def destroy(ctx: Context, thing: str, confirm: str, reason: str = "") -> r.KeyReceipt:
    """Destroy all keys of a dataset, for good: no version of it can be read again. `confirm` is its name once more."""
    asset, domain = _dataset(ctx, thing)
    if confirm != asset.name:
        raise Invalid(
            f"this makes every version of {asset.name} unreadable for good; confirm names {confirm[:60]!r}",
            next_step=f"falaj keys destroy {asset.name} --confirm {asset.name}",
        )
    gone = ctx.ground.keys.begin(ctx.unit).destroy(domain)
    told = {"thing": thing, "reason": reason[:1000], "fingerprints": [k.fingerprint for k in gone.keys]}
    entry = ctx.unit.say(What.KEY_DESTROYED, [asset.id, *(k.id for k in gone.keys)], detail=told)
    note = f"{NOT_REACHED} The bytes that nobody can read go at the next falaj gc."
    return _receipt("destroyed", _by_ids(ctx, [k.id for k in gone.keys]), note, entry.id)


def _dataset(ctx: Context, thing: str) -> tuple[Asset, str]:
    """A dataset and its key domain. Raises: NotFound."""
    asset = ctx.ground.catalog.asset(ctx.tx, ctx.project.id, ctx.thing(thing))
    return asset, f"dataset-{asset.id}"


def _packs(ctx: Context, domain: str) -> list[tuple[str, int]]:
    return [(pack.id, pack.epoch) for pack in content_rows.packs(ctx.tx) if pack.domain == domain]


def _keys_of(ctx: Context, domain: str) -> list[KeyRow]:
    return KEY.where(ctx.tx, "domain = :domain ORDER BY purpose, epoch", {"domain": domain})


def _by_ids(ctx: Context, ids: Sequence[str]) -> list[KeyRow]:
    return [row for key_id in ids if (row := KEY.get(ctx.tx, key_id))]


def _receipt(action: str, keys: Iterable[KeyRow], note: str, entry_id: str) -> r.KeyReceipt:
    return r.KeyReceipt(action=action, keys=tuple(map(_view, keys)), note=note, entry_id=entry_id)


def _view(row: KeyRow) -> r.KeyView:
    return r.KeyView(
        id=row.id,
        purpose=row.purpose,
        domain=row.domain,
        epoch=row.epoch,
        state=row.state,
        algorithm=row.algorithm,
        fingerprint=row.fingerprint,
        created_at=row.created_at,
        destroyed_at=row.destroyed_at,
    )
