"""Everything that a verdict rests on, gathered from the store: versions, signatures, persons, entries and proofs.

No row of data is among it. Of data it holds the digest, the number of rows and of bytes; words beside entries only
where they are of the verdict, its proposal and its move, since others may quote data.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from falaj.access.rows import names_of
from falaj.core.encoding import canonical, parse_moment
from falaj.core.entries import Entry
from falaj.core.errors import FalajError, NotFound
from falaj.core.ids import first_of
from falaj.core.names import Thing
from falaj.core.records import Asset, RefMove, Version
from falaj.data.kinds import DATASET
from falaj.gates import views as v
from falaj.gates.stored import Given, given, verdict_view
from falaj.models import signing
from falaj.models.kinds import MODEL
from falaj.models.records import Model
from falaj.models.verification import unsigned
from falaj.store.catalog import Held
from falaj.store.ground import Ground
from falaj.store.ledger.export import inclusion_proof
from falaj.store.ledger.log import SqlNodes
from falaj.store.metadata import Transaction
from falaj.store.metadata.queries import queries
from falaj.store.rows import APPROVAL, PROPOSAL, VERDICT, VERSION
from falaj.trust import proving

SQL: Final = queries("ledger")
POLICY: Final = "policy"
HISTORY: Final = 10_000
WINDOW_MS: Final = 600_000
"""So long after its moment an entry's id is looked for, before all entries of the project are."""


def backing(ground: Ground, tx: Transaction, project: str, project_name: str, verdict: str) -> v.Backing:
    """What the verdict rests on, in one snapshot. Raises: NotFound; CheckpointInvalid, LedgerDamaged, Damaged."""
    row = VERDICT.get(tx, verdict)
    if row is None or row.project != project:
        raise NotFound(f"verdict {verdict[:40]}: no such thing, or not for you", next_step="falaj log NAME@REF")
    return _Gathering(ground, tx, given(tx, ground.catalog, row), project_name).done()


class _Gathering:
    """One verdict's backing while it is put together."""

    def __init__(self, ground: Ground, tx: Transaction, one: Given, project: str) -> None:
        self._ground, self._tx, self._one, self._project = ground, tx, one, project
        self._catalog = ground.catalog
        self._missing: list[str] = []
        self._entries: dict[str, v.ProvedView] = {}
        last = tx.row(SQL["last_checkpoint"])
        self._head = None if last is None else proving.signed_head(str(last[1]), proving.verifiers(ground, tx))
        if self._head is None:
            self._missing.append("no checkpoint is signed yet: nothing here is proved")

    def done(self) -> v.Backing:
        one, row = self._one, self._one.row
        basis = one.verdict.basis
        self._entry_of(VERDICT.name, VERDICT.key_of(row), row.at, "the verdict was given", told=True)
        parts = tuple(self._parts())
        moved = self._moved_by(row.used_by) if row.used_by else None
        proposal = one.proposal
        if proposal is not None:
            key = PROPOSAL.key_of(proposal)
            self._entry_of(PROPOSAL.name, key, proposal.at, "the move was proposed", told=True)
        for yes in one.approvals:
            self._entry_of(APPROVAL.name, APPROVAL.key_of(yes), yes.at, "the move was approved", told=True)
        head = self._head
        return v.Backing(
            project=self._project,
            verdict=verdict_view(self._tx, self._catalog, row),
            body=row.body.decode(),
            parts=parts,
            program=basis.program if basis else {},
            proposal=proposal.id if proposal else "",
            proposed_by=self._name(proposal.by) if proposal else "",
            proposed_at=proposal.at if proposal else "",
            reason=proposal.reason if proposal else "",
            approvals=tuple(
                v.ApprovalView(by=self._name(a.by), person=a.person, roles=a.roles, at=a.at) for a in one.approvals
            ),
            moved=moved,
            keys=tuple(self._keys()),
            checkpoint=head.note if head else "",
            size=head.checkpoint.size if head else 0,
            root=b64encode(head.checkpoint.root).decode() if head else "",
            vkey=head.by.vkey if head else "",
            entries=tuple(sorted(self._entries.values(), key=lambda e: (e.leaf is None, e.leaf or 0, e.id))),
            missing=tuple(dict.fromkeys(self._missing)),
        )

    # versions

    def _parts(self) -> Iterator[v.PartView]:
        one, catalog = self._one, self._catalog
        yield self._part("candidate", one.asset, catalog.version(self._tx, one.asset, one.row.version))
        if one.row.holder is not None:
            yield self._part("holder", one.asset, catalog.version(self._tx, one.asset, one.row.holder))
        yield self._part("gate", one.by, one.gate_version, moved=True)
        if (data := self._data()) is not None:
            yield self._part("evidence", data.asset, data.version)
        basis = one.verdict.basis
        if basis is not None and basis.read_by:
            held = catalog.resolve(self._tx, one.row.project, Thing.parse(basis.read_by))
            yield self._part("contract", held.asset, held.version)
        elif data is not None:
            self._missing.append("the verdict is of before contracts were named in it")
        for asset in catalog.assets(self._tx, one.row.project, POLICY, limit=HISTORY):
            if (move := self._in_force(asset)) is not None:
                yield self._part("policy", asset, catalog.version(self._tx, asset, move.version), moved=True)

    def _data(self) -> Held | None:
        source, number = self._one.gate.evidence, self._one.verdict.data_version
        if source is None or number is None:
            return None
        named = Thing.parse(source.data, kind=DATASET.name)
        return self._catalog.resolve(self._tx, self._one.row.project, Thing(named.name, named.kind, None, number))

    def _part(self, role: str, asset: Asset, version: Version, *, moved: bool = False) -> v.PartView:
        thing = str(Thing(asset.name, asset.kind, None, version.number))
        self._entry_of(VERSION.name, VERSION.key_of(version), version.created_at, f"{thing} was added")
        move = self._in_force(asset, version.number) if moved else None
        digested = canonical([asset.kind, asset.name, version.number, version.payload, version.content]).decode()
        part = v.PartView(
            role=role,
            thing=thing,
            version=version.number,
            state=version.state,
            digest=version.digest,
            created_at=version.created_at,
            by=self._name(version.by),
            size_bytes=version.size_bytes,
            moved=self._told(asset, move) if move else None,
        )
        if version.state == "erased":
            self._missing.append(f"{thing}: its bytes were erased; its digest and its entries stay")
        if asset.kind == DATASET.name:
            rows = getattr(self._catalog.payload(asset, version), "rows", None)
            return msgspec.structs.replace(part, rows=rows)
        if role == "contract":
            return part
        part = msgspec.structs.replace(part, digested=digested)
        return self._model(part, version) if asset.kind == MODEL.name else part

    def _model(self, part: v.PartView, version: Version) -> v.PartView:
        try:
            model: Model = MODEL.decode(version.payload)
            signed = unsigned(version.payload).decode()
        except FalajError as error:
            self._missing.append(f"{part.thing}: {error.message}")
            return part
        files = tuple(v.FileView(path=f.path, sha256=f.sha256, size_bytes=f.size_bytes) for f in model.files)
        return msgspec.structs.replace(part, files=files, signature=model.signature or "", signed=signed)

    def _keys(self) -> Iterator[v.KeyView]:
        for key in self._ground.keys.reading(self._tx).verify_keys("sign", self._one.row.project):
            public = signing.public_key(key.raw)
            pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            yield v.KeyView(id=key.id, state=key.state, hint=signing.key_hint(public), pem=pem)

    # moves and persons

    def _in_force(self, asset: Asset, version: int | None = None) -> RefMove | None:
        """The move by which `main` held a version when the verdict was given."""
        moves = self._catalog.history(self._tx, asset, "main", HISTORY)
        then = (m for m in moves if m.at <= self._one.row.at and version in (None, m.version))
        return next(then, None)

    def _moved_by(self, entry: str) -> v.MovedView | None:
        moves = self._catalog.history(self._tx, self._one.asset, self._one.row.ref, HISTORY)
        move = next((m for m in moves if m.entry == entry), None)
        if move is None:  # a rollout that was aborted used the verdict up, and moved nothing
            self._prove(entry, "the verdict was used up", told=True)
            return None
        return self._told(self._one.asset, move, told=True)

    def _told(self, asset: Asset, move: RefMove, *, told: bool = False) -> v.MovedView:
        thing = Thing(asset.name, asset.kind, move.ref)
        self._prove(move.entry, f"{thing} moved to v{move.version}", told=told)
        proposal = PROPOSAL.get(self._tx, move.proposal) if move.proposal else None
        approvals = self._catalog.approvals(self._tx, proposal.id) if proposal else []
        for yes in approvals:
            self._entry_of(APPROVAL.name, APPROVAL.key_of(yes), yes.at, f"the move of {thing} was approved")
        return v.MovedView(
            ref=str(thing),
            sort=move.sort,
            at=move.at,
            by=self._name(move.by),
            entry_id=move.entry,
            reason=proposal.reason if proposal else "",
            proposed_by=self._name(proposal.by) if proposal else "",
            approved_by=tuple(self._name(a.by) for a in approvals),
        )

    def _name(self, principal: str) -> str:
        return names_of(self._tx, [principal]).get(principal, principal)

    # entries

    def _entry_of(self, table: str, key: str, at: str, why: str, *, told: bool = False) -> None:
        """Prove the entry that left a row as it was at a moment. One that cannot be found is told as missing."""
        start = int((parse_moment(at) - datetime.fromtimestamp(0, UTC)).total_seconds() * 1000)
        for first, stop in ((first_of(start - 1000), first_of(start + WINDOW_MS)), ("", "Z" * 26)):
            params = {"project": self._one.row.project, "at": at, "first": first, "stop": stop}
            for found in self._tx.rows(SQL["of_moment"], params):
                said = msgspec.json.decode(found[2], type=Entry)
                if any((c.table, c.key) == (table, key) for c in said.changes):
                    self._prove(said.id, why, told=told)
                    return
        self._missing.append(f"{why}: its entry is not found")

    def _prove(self, entry: str, why: str, *, told: bool) -> None:
        row = self._tx.row(SQL["by_id"], {"id": entry})
        if row is None:
            self._missing.append(f"{why}: its entry is not found")
            return
        said = msgspec.json.decode(row[6], type=Entry)
        leaf, head, path = row[1], self._head, tuple[str, ...]()
        if leaf is None or head is None or leaf >= head.checkpoint.size:
            self._missing.append(f"{why}: its entry is not under a signed checkpoint yet; ask again in a second")
        else:
            path = inclusion_proof(SqlNodes(self._tx), leaf, head.checkpoint.size).path
        salt, words = self._words(said, why) if told else ("", "")
        known = self._entries.get(said.id)
        if known is not None:
            why, salt, words = f"{known.why}; {why}", salt or known.salt, words or known.words
        self._entries[said.id] = v.ProvedView(
            why=why,
            leaf=leaf,
            id=said.id,
            at=said.at,
            what=str(said.what),
            by=self._name(said.by),
            body=bytes(row[6]).decode(),
            path=path,
            salt=salt,
            words=words,
        )

    def _words(self, said: Entry, why: str) -> tuple[str, str]:
        if said.detail is None:
            return "", ""
        row = self._tx.row(SQL["detail"], {"entry": said.id})
        if row is None:
            self._missing.append(f"{why}: the words beside its entry were erased")
            return "", ""
        return b64encode(bytes(row[0])).decode(), bytes(row[1]).decode()
