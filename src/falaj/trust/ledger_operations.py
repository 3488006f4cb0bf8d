"""Operations on the ledger: read, prove, verify, export. They change nothing.

Whoever reads the ledger of a project or of the store may read its entries; the words beside them only where the
things concerned may be seen as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from falaj.access import scopes
from falaj.access.rows import names_of
from falaj.assets.rules import page_size
from falaj.core.encoding import canonical, decode
from falaj.core.entries import Entry, What
from falaj.core.errors import Conflict, Invalid, NotFound
from falaj.core.names import Thing, printable
from falaj.door import Context, query, resource_of, transfer
from falaj.store.ground import Ground
from falaj.store.ledger.errors import LedgerDamaged
from falaj.store.ledger.export import consistency_proof, inclusion_proof
from falaj.store.ledger.log import SqlNodes
from falaj.store.metadata import Transaction
from falaj.store.metadata.digests import is_committed
from falaj.store.metadata.driver import Row
from falaj.store.metadata.queries import queries
from falaj.store.rows import ASSET, PROJECT
from falaj.trust import proving
from falaj.trust import records as r

SQL = queries("ledger")
NOTHING_SAID = msgspec.Struct()
FIRST = 2**62
AT_ONCE = 2000
"""Leaves read by one snapshot of an export, which may take its time between them."""


@query("ledger.log", on="{scope}", role="auditor", also=(), cli="ledger log")
def log(ctx: Context, scope: str, what: str = "", before: int | None = None, limit: int = 50) -> r.EntryPage:
    """Entries of a project, or of the whole store, newest first; those that wait for a number come before them."""
    limit = page_size(limit)
    if what and what not in set(What):
        raise Invalid(f"event {printable(what)}: is not known", next_step=f"one of {', '.join(sorted(What))}")
    params = {"project": _project_of(ctx, scope), "what": what, "limit": limit + 1}
    found: list[Row] = []
    if before is None:
        found += ctx.tx.rows(SQL["pending_page"], params)
    found += ctx.tx.rows(SQL["page"], {**params, "before": FIRST if before is None else before})
    items = _views(ctx, found[:limit])
    more = len(found) > limit
    last = items[-1].leaf if items and more else None
    return r.EntryPage(
        items=items,
        next=FIRST if more and last is None else last,
        pending=ctx.ground.log.pending(ctx.tx),
    )


@query("ledger.show", on="{scope}", role="auditor", also=(), cli="ledger show")
def show(ctx: Context, entry: str, scope: str) -> r.EntryShown:
    """One entry by its number or id, with the words beside it and whether they are still those that were written."""
    row = _find(ctx, entry, scope)
    [view] = _views(ctx, [row])
    said = _entry(row)
    newest = _newest(ctx)
    return r.EntryShown(
        **msgspec.structs.asdict(view),
        person=said.person,
        cause=said.cause,
        rows=tuple(r.ChangeView(table=c.table, key=c.key, digest=c.digest) for c in said.changes),
        commitment=said.detail,
        body=bytes(row[6]).decode(),
        signed=newest is not None and view.leaf is not None and view.leaf < newest.checkpoint.size,
    )


@query("ledger.proof", on="{scope}", role="auditor", also=(), cli="ledger proof")
def proof(ctx: Context, entry: str, scope: str) -> r.Proof:
    """The proof that an entry stands under the newest signed checkpoint; a stranger checks it by the checkpoint."""
    ctx.ground.heads.renew_apart()
    row = _find(ctx, entry, scope)
    newest = _newest(ctx)
    if row[1] is None or newest is None or row[1] >= newest.checkpoint.size:
        raise Conflict(
            f"entry {row[0]} is not under a signed checkpoint yet", next_step="ask again in a second; or falaj verify"
        )
    found = inclusion_proof(SqlNodes(ctx.tx), row[1], newest.checkpoint.size)
    return r.Proof(
        leaf=found.leaf,
        size=found.size,
        root=found.root,
        path=found.path,
        body=bytes(row[6]).decode(),
        checkpoint=newest.note,
    )


@query("ledger.consistency", on="store", role="auditor", also=(), cli="ledger consistency")
def consistency(ctx: Context, old: int, new: int | None = None) -> r.Consistency:
    """The proof that the ledger of `old` entries is the beginning of that of `new` (default: all signed)."""
    ctx.ground.heads.renew_apart()
    size = ctx.ground.log.size(ctx.tx)
    if new is None:
        newest = _newest(ctx)
        new = newest.checkpoint.size if newest else size
    if new > size:
        raise Invalid(f"the ledger has {size} entries, not {new}", next_step=f"give sizes up to {size}")
    found = consistency_proof(SqlNodes(ctx.tx), old, new)
    return r.Consistency(
        old=found.old, new=found.new, old_root=found.old_root, new_root=found.new_root, path=found.path
    )


@query("ledger.verify", on="store", role="auditor", also=(), cli="ledger verify")
def verify(ctx: Context, kept: tuple[str, ...] = ()) -> r.Verified:
    """Check every entry, node and checkpoint, and that each state has its entry.

    Checkpoints published outside of the database are compared with it, and those of `kept`, as text, as well: only
    they show that the tail was cut or an older database was put back.
    """
    ctx.ground.heads.renew_apart()
    return proving.as_view(proving.verified(ctx.ground, ctx.tx, kept))


@transfer("ledger.export", on="store", role="auditor", also=(), cli="ledger export")
def export(ctx: Context) -> Iterator[bytes]:
    """All that a stranger needs to verify the ledger: one line of JSON, then the leaves, one a line, byte for byte.

    The first line holds `checkpoint`, the signed note over exactly the leaves that follow, and `vkey`, the key to
    check it by.
    """
    return _exported(ctx.ground)


def _exported(ground: Ground) -> Iterator[bytes]:
    note = ground.heads.renew()
    if note is None:
        raise NotFound("the ledger is empty: there is no signed head", next_step="falaj init")
    with ground.database.read() as tx:
        signed = proving.signed_head(note, proving.verifiers(ground, tx))
    yield canonical({"checkpoint": note, "vkey": signed.by.vkey}) + b"\n"
    size = signed.checkpoint.size
    for start in range(0, size, AT_ONCE):
        with ground.database.read() as tx:
            rows = tx.rows(SQL["leaves"], {"start": start, "stop": min(start + AT_ONCE, size)})
        yield b"".join(bytes(row[0]) + b"\n" for row in rows)


def _newest(ctx: Context) -> proving.SignedHead | None:
    """The newest stored checkpoint, its signature checked. Raises: CheckpointInvalid."""
    row = ctx.tx.row(SQL["last_checkpoint"])
    return None if row is None else proving.signed_head(str(row[1]), proving.verifiers(ctx.ground, ctx.tx))


def _project_of(ctx: Context, scope: str) -> str:
    """Id of the project whose entries are meant, "" for all. Raises: Invalid, NotFound."""
    scope = scopes.parse(scope)
    if scope == scopes.STORE:
        return ""
    if not scope.startswith("project:"):
        raise Invalid(f"scope {printable(scope)}: store or project:NAME is expected", next_step="name the project")
    return ctx.ground.catalog.project(ctx.tx, scopes.project_of(scope)).id


def _find(ctx: Context, entry: str, scope: str) -> Row:
    """An entry by number or id, within the scope. Raises: NotFound, the same for one that lies elsewhere."""
    project = _project_of(ctx, scope)
    is_number = entry.isascii() and entry.isdigit() and len(entry) < 19
    row = ctx.tx.row(SQL["by_leaf"], {"leaf": int(entry)}) if is_number else ctx.tx.row(SQL["by_id"], {"id": entry})
    if row is None or project not in {"", row[2]}:
        raise NotFound(f"entry {printable(entry)}: no such entry, or not for you", next_step="falaj ledger log")
    return row


def _views(ctx: Context, found: Iterable[Row]) -> tuple[r.EntryView, ...]:
    rows = [(row, _entry(row)) for row in found]
    seen = _Seen(ctx, {i for _, said in rows for i in (*said.on, said.by, said.project)})
    return tuple(_view(ctx, row, said, seen) for row, said in rows)


def _view(ctx: Context, row: Row, said: Entry, seen: _Seen) -> r.EntryView:
    detail: dict[str, Any] = {}
    words: Any = "none"
    if said.detail is not None:
        detail, words = _words(ctx.tx, said) if seen.are_all_open(said.on) else ({}, "hidden")
    return r.EntryView(
        leaf=row[1],
        id=said.id,
        at=said.at,
        what=str(said.what),
        op=said.op,
        by=seen.name(said.by),
        project=seen.name(said.project),
        on=tuple(seen.name(i) for i in said.on),
        changes=len(said.changes),
        detail=detail,
        words=words,
    )


def _words(tx: Transaction, said: Entry) -> tuple[dict[str, Any], str]:
    row = tx.row(SQL["detail"], {"entry": said.id})
    if row is None:
        return {}, "erased"
    if not is_committed(str(said.detail), row[0], row[1]):
        return {}, "changed"
    return decode(row[1], dict[str, Any], "detail"), "kept"


def _entry(row: Row) -> Entry:
    try:
        return msgspec.json.decode(row[6], type=Entry)
    except (TypeError, msgspec.MsgspecError) as error:
        raise LedgerDamaged(
            f"entry {row[0] if row[1] is None else row[1]} cannot be read", next_step="falaj ledger verify"
        ) from error


class _Seen:
    """Names of what entries speak of, as far as the caller may see it.

    Words can hold values of the data that they speak of, so whoever may not read a thing's bytes does not get them.
    """

    def __init__(self, ctx: Context, ids: set[str]) -> None:
        self._ctx = ctx
        self._closed: set[str] = set()
        self._projects = {i: p.name for i in ids if (p := PROJECT.get(ctx.tx, i))}
        self._names = {**names_of(ctx.tx, ids), **self._projects}
        for asset_id in ids - self._names.keys():
            asset = ASSET.get(ctx.tx, asset_id)
            if asset is None:
                continue
            owner = self._project(asset.project)
            resource = resource_of(owner, Thing(asset.name, asset.kind))
            if ctx.decide("asset.show", resource).allowed:
                self._names[asset_id] = f"{asset.kind}/{asset.name}"
            if not self._is_open(asset.kind, owner, resource):
                self._closed.add(asset_id)

    def name(self, of: str) -> str:
        """The name of a thing or person, else its id."""
        return self._names.get(of, of)

    def are_all_open(self, ids: Iterable[str]) -> bool:
        """Whether the caller may read every thing among them."""
        return self._closed.isdisjoint(ids)

    def _is_open(self, kind: str, project: str, resource: str) -> bool:
        """Whether the caller may do whatever gives out bytes of such a thing, by the facts of this one."""
        ctx = self._ctx
        return all(
            ctx.decide(o.name, resource, **ctx.door.facts(o, NOTHING_SAID, ctx.caller, project, (resource,))).allowed
            for o in ctx.door.operations
            if o.name == "asset.show" or (o.sort == "transfer" and o.kind == kind)
        )

    def _project(self, project: str) -> str:
        if project not in self._projects:
            row = PROJECT.get(self._ctx.tx, project)
            self._projects[project] = row.name if row else ""
        return self._projects[project]
