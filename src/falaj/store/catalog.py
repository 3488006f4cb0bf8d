"""The catalog: one implementation of create, add version, get, list, move ref, history, retire for every kind.

Functions take the open transaction (to read) or the unit of work (to change). Whether the caller may is decided
at the door; whether a guarded ref may move is decided here, by rows alone: the catalog knows no gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import NotFound, Refused
from falaj.core.ids import new_id
from falaj.core.names import Thing, name
from falaj.core.records import (
    Approval,
    Asset,
    Guard,
    Project,
    Proposal,
    Ref,
    RefMove,
    Verdict,
    Version,
    VersionState,
)
from falaj.store import guards as guard_rules
from falaj.store import projections
from falaj.store.errors import EvidenceSealed, Exists, GuardRefused, RefConflict, RollbackRefused, RolloutNeeded
from falaj.store.kinds import Kinds
from falaj.store.metadata import Transaction
from falaj.store.metadata.queries import queries
from falaj.store.rollouts import Following, Move, Nobody, Rollout
from falaj.store.rows import APPROVAL, ASSET, GUARD, PROJECT, PROPOSAL, REF, REF_MOVE, VERDICT, VERSION
from falaj.store.unit import Unit

SQL = queries("catalog")


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved thing: the asset, and the version that the address names."""

    asset: Asset
    version: Version
    ref: Ref | None


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The stored bytes of a version to be added."""

    root: str
    domain: str
    location: str
    size_bytes: int
    stored_bytes: int


class Catalog:
    """The governed things of a store.

    Args:
        four_eyes: whether a change of what governs (gates, policies, contracts) needs a second person: on a
            server, where persons can be told apart.

    `fit` is set by the platform: whether a version is still fit to be held (signed, allowed to rest here); asked
    before every move, forward or back. `follow` too: who follows refs, and moves some of them step by step.
    """

    def __init__(self, kinds: Kinds, *, four_eyes: bool = False) -> None:
        self.kinds = kinds
        self.four_eyes = four_eyes
        self.fit: Callable[[Transaction, Asset, Version], None] = lambda _tx, _asset, _version: None
        self.follow: Following = Nobody()

    # reading

    def project(self, tx: Transaction, project_name: str) -> Project:
        """Raises: NotFound."""
        rows = PROJECT.where(tx, "name = :name", {"name": project_name})
        if not rows:
            raise NotFound(f"project {project_name}: no such thing, or not for you", next_step="falaj init")
        return rows[0]

    def find_asset(self, tx: Transaction, project: str, kind: str, asset_name: str) -> Asset | None:
        """An asset by its address, None where there is none."""
        params = {"project": project, "kind": kind, "name": asset_name}
        rows = ASSET.where(tx, "project = :project AND kind = :kind AND name = :name", params)
        return rows[0] if rows else None

    def kind_of(self, tx: Transaction, project: str, thing: Thing, default: str) -> Thing:
        """The thing with its kind: as named, else the one bare kind that has the name, else `default`."""
        if thing.kind:
            self.kinds[thing.kind]
            return thing
        bare = [k.name for k in self.kinds if k.bare]
        found = [k for k in bare if self.find_asset(tx, project, k, thing.name)]
        kind = found[0] if len(found) == 1 else default
        return Thing(thing.name, kind, thing.ref, thing.version)

    def asset(self, tx: Transaction, project: str, thing: Thing) -> Asset:
        """Raises: NotFound."""
        found = self.find_asset(tx, project, thing.kind or "", thing.name)
        if found is None:
            raise missing(thing)
        return found

    def resolve(self, tx: Transaction, project: str, thing: Thing, *, default_ref: str = "main") -> Held:
        """The version that an address names: by number, by ref, else by `default_ref`.

        Raises: NotFound.
        """
        asset = self.asset(tx, project, thing)
        if thing.version is not None:
            return Held(asset=asset, version=self.version(tx, asset, thing.version), ref=None)
        ref = REF.get(tx, asset.id, thing.ref or default_ref)
        if ref is None:
            raise missing(Thing(thing.name, thing.kind, thing.ref or default_ref))
        return Held(asset=asset, version=self.version(tx, asset, ref.version), ref=ref)

    def version(self, tx: Transaction, asset: Asset, number: int) -> Version:
        """Raises: NotFound."""
        found = VERSION.get(tx, asset.id, number)
        if found is None:
            raise missing(Thing(asset.name, asset.kind, None, number))
        return found

    def payload(self, asset: Asset, version: Version) -> Any:
        """The version's payload as the kind's record."""
        return self.kinds[asset.kind].decode(version.payload)

    def assets(
        self,
        tx: Transaction,
        project: str,
        kind: str,
        after: str = "",
        limit: int = 100,
        among: Iterable[str] | None = None,
    ) -> list[Asset]:
        """A page of assets of a kind ("" for all), by key (kind, name); `among`: only those of these keys."""
        clause = (
            "project = :project AND (:kind = '' OR kind = :kind) AND kind || '/' || name > :after ORDER BY kind, name"
        )
        params = {"project": project, "kind": kind, "after": after}
        if among is None:
            return ASSET.where(tx, clause, params, limit=limit)
        keys = sorted(key for key in set(among) if key > after)
        return list(islice(ASSET.among(tx, "kind || '/' || name", keys, clause, params), limit))

    def versions(self, tx: Transaction, asset: Asset, before: int | None = None, limit: int = 100) -> list[Version]:
        """A page of versions, newest first."""
        clause = "asset = :asset AND number < :before ORDER BY number DESC"
        return VERSION.where(tx, clause, {"asset": asset.id, "before": before or 2**62}, limit=limit)

    def refs(self, tx: Transaction, asset: Asset) -> list[Ref]:
        """Every ref of an asset, by name."""
        return REF.where(tx, "asset = :asset ORDER BY name", {"asset": asset.id})

    def ref(self, tx: Transaction, asset: Asset, ref_name: str, *, lock: bool = False) -> Ref | None:
        """One ref, None where the asset has none of that name."""
        return REF.get(tx, asset.id, ref_name, lock=lock)

    def history(self, tx: Transaction, asset: Asset, ref_name: str, limit: int = 100) -> list[RefMove]:
        """The moves of a ref, newest first."""
        clause = "asset = :asset AND ref = :ref ORDER BY revision DESC"
        return REF_MOVE.where(tx, clause, {"asset": asset.id, "ref": ref_name}, limit=limit)

    def guards_of(self, tx: Transaction, asset: Asset, ref_name: str) -> list[Guard]:
        """The guards on a ref."""
        clause = "project = :project AND kind = :kind AND name = :name AND ref = :ref ORDER BY gate"
        params = {"project": asset.project, "kind": asset.kind, "name": asset.name, "ref": ref_name}
        return GUARD.where(tx, clause, params)

    def sealed_by(self, tx: Transaction, asset: Asset, version: Version) -> str | None:
        """What seals a version, `gate/production`: something in force measures on a ref that holds or ever held it.

        None where nothing does. Only what is in force (its `main`) seals.
        """
        held = {m.ref for m in REF_MOVE.where(tx, "asset = :a AND version = :v", {"a": asset.id, "v": version.number})}
        found = (by for by, thing in self._seals(tx, asset) if thing.ref in held or thing.version == version.number)
        return next(found, None)

    def _seals(self, tx: Transaction, asset: Asset) -> Iterator[tuple[str, Thing]]:
        """Each ref or version of an asset that something in force measures on, and by what."""
        for kind in self.kinds:
            if not kind.can_seal:
                continue
            for sealing in self.assets(tx, asset.project, kind.name, limit=1000):
                if (ref := self.ref(tx, sealing, "main")) is None:
                    continue
                payload = self.payload(sealing, self.version(tx, sealing, ref.version))
                for thing in (Thing.parse(text, kind="dataset") for text in kind.seals(payload)):
                    if (thing.kind, thing.name) == (asset.kind, asset.name):
                        yield f"{kind.name}/{sealing.name}", thing

    def check_unsealed(self, tx: Transaction, asset: Asset, version: Version, what: str) -> None:
        """Raises: EvidenceSealed where something in force measures on the version."""
        if (seal := self.sealed_by(tx, asset, version)) is not None:
            raise EvidenceSealed(
                f"{asset.kind}/{asset.name}:{version.number} is evidence of {seal}: {what} may not use it",
                next_step="use another version; evidence is what training never saw",
                facts={"version": version.number, "sealed_by": seal},
            )

    def verdict(self, tx: Transaction, verdict_id: str, *, lock: bool = False) -> Verdict | None:
        """A verdict by id."""
        return VERDICT.get(tx, verdict_id, lock=lock)

    def verdicts(self, tx: Transaction, asset: Asset, version: int, ref_name: str) -> list[Verdict]:
        """The verdicts on a version for a ref, newest first."""
        clause = "asset = :asset AND version = :version AND ref = :ref ORDER BY id DESC"
        return VERDICT.where(tx, clause, {"asset": asset.id, "version": version, "ref": ref_name})

    def approvals(self, tx: Transaction, proposal: str) -> list[Approval]:
        """The approvals given to a proposal."""
        return APPROVAL.where(tx, "proposal = :proposal ORDER BY at", {"proposal": proposal})

    def asked_approvals(self, tx: Transaction, asset: Asset, ref_name: str, holder: Ref | None) -> tuple[str, ...]:
        """The roles that must approve a move of this ref whatever any gate says.

        On a server that is a maintainer for what governs, and for what a gate in force measures on: whoever could put
        other data there could let any candidate pass. A ref that holds nothing yet is free.
        """
        if not self.four_eyes or holder is None:
            return ()
        governs = self.kinds[asset.kind].config or any(t.ref == ref_name for _, t in self._seals(tx, asset))
        return ("maintainer",) if governs else ()

    def check_free(self, tx: Transaction, asset: Asset, ref_name: str, holder: Ref | None) -> None:
        """Raises: GuardRefused where the ref moves only with another person's yes."""
        if self.asked_approvals(tx, asset, ref_name, holder):
            where = Thing(asset.name, asset.kind, ref_name)
            raise GuardRefused(
                f"{where}: another person approves each of its moves",
                next_step=f"add it under another ref, then falaj promote {where} VERSION",
                facts={"ref": str(where)},
            )

    # changing

    def add_project(self, unit: Unit, project_name: str) -> Project:
        """Create a project. The caller says the entry. Raises: InvalidName, Exists."""
        return unit.add(PROJECT, Project(id=new_id(), name=name(project_name, "project"), created_at=unit.now))

    def ensure_asset(self, unit: Unit, project: str, kind: str, asset_name: str) -> Asset:
        """The asset, created where it is not there yet."""
        self.kinds[kind]
        found = self.find_asset(unit.tx, project, kind, name(asset_name))
        if found:
            return found
        row = Asset(id=new_id(), project=project, kind=kind, name=name(asset_name), created_at=unit.now)
        try:
            return unit.add(ASSET, row)
        except Exists as error:
            raise RefConflict(f"{kind}/{asset_name} was created at this moment", next_step="try again") from error

    def add_version(
        self,
        unit: Unit,
        asset: Asset,
        payload: msgspec.Struct,
        *,
        content: Content | None = None,
        run: str | None = None,
        state: VersionState = "live",
    ) -> Version:
        """Add the next version. The caller says the entry."""
        kind = self.kinds[asset.kind]
        self._lock(unit, asset)  # numbers are given one after the other
        row = unit.tx.row(SQL["last_number"], {"asset": asset.id})
        number = 1 + (int(row[0]) if row and row[0] is not None else 0)
        body = kind.encode(payload)
        root = content.root if content else None
        version = Version(
            asset=asset.id,
            number=number,
            payload=body,
            digest=sha256(canonical([asset.kind, asset.name, number, body, root])),
            created_at=unit.now,
            by=unit.actor.principal,
            person=unit.actor.person,
            content=root,
            domain=content.domain if content else None,
            location=content.location if content else None,
            size_bytes=content.size_bytes if content else 0,
            stored_bytes=content.stored_bytes if content else 0,
            run=run,
            state=state,
        )
        unit.add(VERSION, version)
        projections.project(unit.tx, self.kinds, asset, version)
        return version

    def set_state(self, unit: Unit, asset: Asset, version: Version, state: VersionState) -> Version:
        """Retire, restore or mark as erased. Raises: Refused where a ref still holds the version."""
        if state in {"retired", "erased"}:
            holding = [r.name for r in self.refs(unit.tx, asset) if r.version == version.number]
            if holding:
                raise Refused(
                    f"{asset.name} v{version.number} is held by {', '.join(holding)}",
                    next_step="move the refs first",
                )
        return unit.put(VERSION, msgspec.structs.replace(version, state=state))

    def move(
        self,
        unit: Unit,
        asset: Asset,
        ref_name: str,
        candidate: Version,
        *,
        verdicts: Sequence[Verdict] = (),
        proposal: Proposal | None = None,
        rolled_out: bool = False,
    ) -> RefMove:
        """Move a ref forward, through its guards. The caller says the entry, with `unit.entry_id`.

        Args:
            rolled_out: it is the end of a rollout.
        Raises: GuardRefused, RefConflict, Refused where the version is not live; RolloutNeeded.
        """
        move = self.let_pass(unit, asset, ref_name, candidate, verdicts, proposal)
        if not rolled_out and self.follow.in_steps(unit.tx, move):
            raise RolloutNeeded(
                f"{asset.name}@{ref_name} is deployed and moves step by step",
                next_step=f"falaj promote {asset.name}@{ref_name} {candidate.number}",
            )
        return self._take(unit, move)

    def promote(
        self,
        unit: Unit,
        asset: Asset,
        ref_name: str,
        candidate: Version,
        *,
        verdicts: Sequence[Verdict] = (),
        proposal: Proposal | None = None,
    ) -> RefMove | Rollout:
        """As `move`; where a deployment follows the ref, begin the rollout that moves it at its end."""
        move = self.let_pass(unit, asset, ref_name, candidate, verdicts, proposal)
        return self.follow.begin(unit, move) if self.follow.in_steps(unit.tx, move) else self._take(unit, move)

    def let_pass(
        self,
        unit: Unit,
        asset: Asset,
        ref_name: str,
        candidate: Version,
        verdicts: Sequence[Verdict],
        proposal: Proposal | None,
    ) -> Move:
        """The move, where everything lets it pass at this moment; what it rests on is locked. Raises: as `move`."""
        self._lock(unit, asset)
        self.fit(unit.tx, asset, candidate)
        check_live(asset, candidate)
        holder = self.ref(unit.tx, asset, ref_name, lock=True)
        found = self.guards_of(unit.tx, asset, ref_name)
        locked = [self.verdict(unit.tx, v.id, lock=True) for v in verdicts]
        used = guard_rules.check_move(
            str(Thing(asset.name, asset.kind, ref_name)),
            candidate,
            holder,
            found,
            {v.gate: v for v in locked if v},
            proposal,
            self.approvals(unit.tx, proposal.id) if proposal else (),
            self.asked_approvals(unit.tx, asset, ref_name, holder),
        )
        return Move(asset=asset, ref=ref_name, candidate=candidate, holder=holder, verdicts=used, proposal=proposal)

    def _take(self, unit: Unit, move: Move) -> RefMove:
        self.spend(unit, move.verdicts, move.proposal, "moved")
        sort = "promote" if move.verdicts else "move"
        return self._move(unit, move.asset, move.holder, move.ref, move.candidate, sort, move.proposal)

    def spend(
        self, unit: Unit, verdicts: Sequence[Verdict], proposal: Proposal | None, state: Literal["moved", "withdrawn"]
    ) -> None:
        """Use verdicts up, and end their proposal: they let nothing pass a second time. The caller says the entry."""
        for verdict in verdicts:
            unit.put(VERDICT, msgspec.structs.replace(verdict, used_by=unit.entry_id))
        if proposal:
            unit.put(PROPOSAL, msgspec.structs.replace(proposal, state=state))

    def check_proposal(self, tx: Transaction, asset: Asset, proposal: Proposal) -> tuple[Version, list[Verdict]]:
        """What an open proposal rests on, as long as it still stands: its candidate, and its verdicts.

        Raises: GuardRefused where the gate, the holder or the candidate changed since.
        """
        ASSET.get(tx, asset.id, lock=True)
        candidate = self.version(tx, asset, proposal.version)
        holder = self.ref(tx, asset, proposal.ref, lock=True)
        where = str(Thing(asset.name, asset.kind, proposal.ref))
        verdicts = [v for v in (self.verdict(tx, i) for i in proposal.verdicts) if v]
        guard_rules.check_proposal(where, candidate, holder, proposal)
        found = self.guards_of(tx, asset, proposal.ref)
        guard_rules.check_verdicts(where, candidate, holder, found, {v.gate: v for v in verdicts})
        return candidate, verdicts

    def mark(self, unit: Unit, asset: Asset, ref_name: str, version: Version) -> RefMove:
        """Point a ref at a version that is not live, so that people find it: what was rejected. No guard, no rule."""
        holder = self.ref(unit.tx, asset, ref_name, lock=True)
        return self._move(unit, asset, holder, ref_name, version, "move", None)

    def propose(
        self,
        unit: Unit,
        asset: Asset,
        ref_name: str,
        version: int,
        holder: int | None,
        verdicts: tuple[str, ...],
        reason: str = "",
    ) -> Proposal:
        """Write down somebody's wish to move a ref. The caller says the entry."""
        return unit.add(
            PROPOSAL,
            Proposal(
                id=new_id(),
                project=asset.project,
                asset=asset.id,
                ref=ref_name,
                version=version,
                holder=holder,
                verdicts=verdicts,
                at=unit.now,
                by=unit.actor.principal,
                person=unit.actor.person,
                reason=reason[:1000],
            ),
        )

    def expect(self, tx: Transaction, asset: Asset, ref_name: str, version: int | None) -> None:
        """Raises: RefConflict where the ref is not held by the version that the caller expects (None: any)."""
        if version is None:
            return
        ASSET.get(tx, asset.id, lock=True)
        holder = self.ref(tx, asset, ref_name, lock=True)
        held = holder.version if holder else 0
        if held != version:
            raise RefConflict(
                f"{asset.name}@{ref_name} is held by v{held}, not by v{version}",
                next_step=f"falaj log {asset.name}@{ref_name}",
            )

    def roll_back(self, unit: Unit, asset: Asset, ref_name: str, to: int | None = None) -> RefMove:
        """Move a ref back to a version that held it before: `to`, or the one that the holder was moved on from.

        Scores are not judged again. Where a move needs another person's yes, so does going back: an earlier gate may
        ask for less. The caller says the entry. Raises: RollbackRefused, NotFound.
        """
        where = f"{asset.name}@{ref_name}"
        self._lock(unit, asset)
        holder = self.ref(unit.tx, asset, ref_name, lock=True)
        if holder is None:
            raise missing(Thing(asset.name, asset.kind, ref_name))
        moves = self.history(unit.tx, asset, ref_name, limit=10_000)
        if to is None:  # what it was moved on from: going back again goes further back, never to what was left
            to = next((m.previous for m in moves if m.sort != "rollback" and m.version == holder.version), None)
        if to == holder.version or to not in {m.version for m in moves}:
            why = f"v{to} never held it" if to else "no version held it before"
            raise RollbackRefused(
                f"{where} stays at v{holder.version}: {'it is there' if to == holder.version else why}",
                next_step=f"falaj log {asset.name}@{ref_name}",
            )
        candidate = self.version(unit.tx, asset, to)
        if candidate.state != "live":
            raise RollbackRefused(
                f"{where}: v{to} is {candidate.state}", next_step=f"falaj log {asset.name}@{ref_name}"
            )
        if self.asked_approvals(unit.tx, asset, ref_name, holder):
            raise RollbackRefused(
                f"{asset.kind}/{where} stays at v{holder.version}: another person approves each of its moves",
                next_step=f"falaj promote {asset.kind}/{where} {to}",
            )
        self.fit(unit.tx, asset, candidate)
        return self._move(unit, asset, holder, ref_name, candidate, "rollback", None)

    def rebuild_projections(self, tx: Transaction) -> int:
        """Write every declared field anew from the payloads; returns how many versions were read."""
        return projections.rebuild(tx, self.kinds)

    def _lock(self, unit: Unit, asset: Asset) -> None:
        """Moves of an asset's refs, and changes of what guards them, go one after the other until they commit.

        Everyone takes this lock before that of a ref: two who waited for each other would both fail.
        """
        unit.lock(ASSET, asset.id)

    def _move(
        self,
        unit: Unit,
        asset: Asset,
        holder: Ref | None,
        ref_name: str,
        candidate: Version,
        sort: Any,
        proposal: Proposal | None,
    ) -> RefMove:
        revision = holder.revision + 1 if holder else 1
        unit.put(
            REF,
            Ref(
                asset=asset.id,
                name=name(ref_name, "ref"),
                version=candidate.number,
                revision=revision,
                moved_at=unit.now,
            ),
        )
        move = RefMove(
            asset=asset.id,
            ref=ref_name,
            revision=revision,
            version=candidate.number,
            previous=holder.version if holder else None,
            sort=sort,
            at=unit.now,
            by=unit.actor.principal,
            person=unit.actor.person,
            entry=unit.entry_id,
            proposal=proposal.id if proposal else None,
        )
        try:
            unit.add(REF_MOVE, move)
        except Exists as error:
            raise RefConflict(
                f"{asset.name}@{ref_name} moved at this moment", next_step="look, then try again"
            ) from error
        if ref_name == "main":
            self._set_guards(unit, asset, candidate)
        self.follow.moved(unit, asset, move)
        return move

    def _set_guards(self, unit: Unit, asset: Asset, version: Version) -> None:
        kind = self.kinds[asset.kind]
        if not kind.can_guard:
            return
        wanted = [Thing.parse(g, kind="model") for g in kind.guards(kind.decode(version.payload))]
        for thing in sorted(wanted, key=str):
            self.kinds[thing.kind or "model"]
            if guarded := self.find_asset(unit.tx, asset.project, thing.kind or "model", thing.name):
                self._lock(unit, guarded)
        old = GUARD.where(unit.tx, "gate = :gate", {"gate": asset.id})
        new = [
            Guard(
                gate=asset.id,
                project=asset.project,
                kind=t.kind or "model",
                name=t.name,
                ref=t.ref or "production",
                gate_version=version.number,
            )
            for t in wanted
        ]
        kept = {GUARD.key_of(g) for g in new}
        for guard in old:
            if GUARD.key_of(guard) not in kept:
                unit.drop(GUARD, guard)
        for guard in new:
            unit.put(GUARD, guard)


def check_live(asset: Asset, version: Version) -> None:
    """Raises: Refused where the version is rejected, retired or erased."""
    if version.state != "live":
        raise Refused(
            f"{asset.name} v{version.number} is {version.state}: no ref moves to it",
            next_step="choose a live version",
        )


def missing(thing: Thing) -> NotFound:
    """The one answer for what is not there and for what is not for this principal."""
    return NotFound(f"{thing}: no such thing, or not for you", next_step=f"falaj {thing.kind or 'asset'} list")
