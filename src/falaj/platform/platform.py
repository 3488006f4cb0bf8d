"""The platform: one open store with all its operations, as the faces reach it.

platform = Platform.open(Path("flights"))
session = platform.session("flights")
session.call("asset.list", {})
platform.close()
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

from falaj.access import rules as access_rules
from falaj.access import scopes, tokens
from falaj.access.records import Principal
from falaj.access.rows import TOKEN
from falaj.access.state import AccessState, raise_revision
from falaj.compliance.residency import Residency
from falaj.core.entries import What
from falaj.core.errors import Conflict, FalajError, NotFound
from falaj.deploy.bundles import BUNDLES, WAIT_S, Bundles
from falaj.deploy.following import Deployments
from falaj.door import Caller, Door
from falaj.environments import ENVIRONMENTS
from falaj.models.verification import check_fit
from falaj.pipelines import lending
from falaj.pipelines.engine import ELSEWHERE, ENGINE, Elsewhere
from falaj.platform import opening
from falaj.platform.embedded import EmbeddedSession
from falaj.platform.facts import Facts
from falaj.platform.layout import Layout, StepSettings, read_settings
from falaj.platform.rooms import KINDS, every_operation
from falaj.platform.staging import StagedFiles, sweep_scratch
from falaj.store import runs
from falaj.store.kinds import Kind
from falaj.store.ledger.log import Sequencer
from falaj.store.ledger.publish import Publisher
from falaj.store.rows import RUN
from falaj.triggers.port import ACTING, Acting
from falaj.trust.access_operations import claim as claim_store
from falaj.trust.records import PrincipalView
from falaj.trust.rules import span

STAGING_OPERATIONS = ("data.add", "model.register", "pipeline.apply", "step.commit")
ONE_TIME = "24h"


class OwnerExists(Conflict):
    """Somebody owns the store already: the one-time token is for the first owner only."""

    code = "owner_exists"


class Platform:
    """One open store. Made by `create` or `open`; safe to use from several threads.

    Attributes:
        caller: the operating-system user who opened it, who is its owner.
    """

    def __init__(
        self, layout: Layout, opened: opening.Opened, *, server: bool, publisher: Publisher, steps: StepSettings
    ) -> None:
        self.layout = layout
        self.ground = opened.ground
        self.operations = every_operation()
        self.staging = StagedFiles(layout.staging)
        self.access = AccessState(self.ground.database, self.operations.roles(), opened.token_key)
        self.door = Door(self.ground, self.operations, self.access, self.staging, opened.token_key)
        self._store = opened.actor
        self._server = server
        self._steps, self._ends = steps, ExitStack()
        self.ground.publish_to(publisher)
        self.caller = Caller(principal=opening.owner_of(self.ground, opened.actor), embedded=True)
        self._fill_ports()
        self._sequencer: Sequencer | None = None
        if server:
            self._sequencer = Sequencer(self.ground.log, self.ground.database, self.ground.signer, publisher.publish)
            self._sequencer.start()

    def _fill_ports(self) -> None:
        """What rooms ask for without knowing who does it: where steps run, what other rooms do for a run."""

        def engine() -> object:
            from falaj import capture
            from falaj.engines.keeper import Keeper
            from falaj.engines.local import LocalEngine

            kept = Keeper(idle_s=self._steps.idle_s, most=self._steps.kept)
            made = LocalEngine(capture.environment, keeper=kept, built=self.ground.port(ENVIRONMENTS))
            self._ends.callback(made.close)
            return made

        def call(caller: Caller, project: str, operation: str, args: Mapping[str, Any]) -> Any:
            return self.door.call(operation, args, caller=caller, project=project)

        def stage(caller: Caller, path: Path) -> dict[str, str]:
            told = self.staging.name(path, caller)
            return {"staged": told["staged"], "name": told["name"]}

        self.ground.fill(ENGINE, engine)
        self.ground.fill(ELSEWHERE, lambda: Elsewhere(call, stage))
        self.ground.fill(ACTING, lambda: Acting(self.caller, self.door.call))

    @classmethod
    def create(cls, place: Path, project: str, *, database: str = "", kinds: Iterable[Kind[Any]] = ()) -> Self:
        """Make the store of a project folder, and the project in it; what is there already stays.

        Raises: FalajError. May be run again after it was interrupted.
        """
        layout = Layout(place)
        opening.create(layout, read_settings(layout.place), database)
        platform = cls.open(place, database=database, kinds=kinds)
        try:
            with platform.ground.database.read() as tx:
                known = platform.ground.project_by_name(tx, project)
            if known is None:
                platform.session("").call("project.create", {"name": project})
        except BaseException:
            platform.close()
            raise
        return platform

    @classmethod
    def open(
        cls,
        place: Path,
        *,
        server: bool = False,
        database: str = "",
        read_only: bool = False,
        kinds: Iterable[Kind[Any]] = (),
    ) -> Self:
        """Open the store of a project folder.

        Args:
            server: it is opened to be served: persons can be told apart, so four eyes count. That stays so.
            database: address of the metadata, where it is not the one of `falaj.toml`.
            kinds: declared beside Falaj's own.
        Raises: NoProject, NoStore, ServedStore, and what keys or database raise.
        """
        layout = Layout(place)
        settings = read_settings(layout.place)
        opened = opening.open_store(
            layout, settings, (*KINDS, *kinds), server=server, asked=database, read_only=read_only
        )
        try:
            bundles = Bundles(opened.ground, layout.serving, settings.project)
            publisher = Publisher(layout.checkpoints)
            if settings.ledger:
                publisher = Publisher.at(settings.ledger.publish, layout.place)
            platform = cls(layout, opened, server=server, publisher=publisher, steps=settings.steps)
            opened.ground.residency = Residency(opened.ground.catalog, settings.region).check
            platform.door.facts = Facts(opened.ground, settings.region)
            opened.ground.catalog.fit = check_fit(opened.ground)
            opened.ground.catalog.follow = Deployments(opened.ground.catalog, opened.ground.keys, bundles.published)
            opened.ground.fill(BUNDLES, lambda: bundles)
            platform._tidy(bundles)
        except BaseException:
            opened.ground.close()
            raise
        return platform

    def session(self, project: str) -> EmbeddedSession:
        """A session of the operating-system user."""
        return EmbeddedSession(self.door, self.staging, self.caller, project)

    def close(self) -> None:
        """End what waits for runs; number, sign and publish what is left, and let the store go."""
        self._ends.close()
        if self._sequencer is not None:
            self._sequencer.stop()
        elif not self.ground.database.read_only:
            with suppress(FalajError):  # the entries are committed; whoever opens the store next signs them
                self.sign()
        self.ground.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def own_caller(self) -> Caller:
        """The store itself, for what nobody asked for."""
        store = self._store
        own = Principal(id=store.principal, person=store.person, name=store.name, sort="service")
        return Caller(principal=own, embedded=True)

    def number_and_sign(self) -> None:
        """As `sign`, where no sequencer does it. For whoever keeps an embedded store open for long."""
        if self._sequencer is None and not self.ground.database.read_only:
            self.sign()

    def sign(self) -> str | None:
        """Number what is pending, sign the head where it grew, publish it; returns the note."""
        return self.ground.heads.renew()

    # a server's platform

    def authenticate(self, token_text: str) -> Caller:
        """Who a token speaks for. Raises: Unauthenticated."""
        principal, token = self.access.authenticate(token_text)
        return Caller(principal=principal, token=token)

    def note_unauthenticated(self, count: int) -> None:
        """One entry for so many requests that came without a valid token."""
        with self.ground.units.begin(self._store, "http.authenticate") as unit:
            unit.say(What.REQUESTS_UNAUTHENTICATED, [], detail={"count": count})

    def stage(self, caller: Caller, project: str, name: str, stream: BinaryIO, limit: int) -> dict[str, Any]:
        """Keep the bytes of a stream until an operation names them.

        Returns: {"staged", "name", "size", "sha256"}.
        Raises: NotFound where the caller may stage nothing in the project; ResidencyRefused; TooLarge, StoreFull.
        """
        with self.ground.database.read() as tx:
            row = self.ground.project_by_name(tx, project)
            if row is None or not self._may_stage(caller, project):
                raise NotFound("no such thing, or not for you", next_step="falaj asset list")
            self.ground.residency(tx, row.id, f"{name}: staging")
        return self.staging.take(stream, name, caller, limit)

    def _may_stage(self, caller: Caller, project: str) -> bool:
        snapshot = self.door.snapshot(caller)
        if snapshot is None:
            return True
        here = scopes.project(project)
        for operation in STAGING_OPERATIONS:
            for found in access_rules.reach(self.door.request(caller, operation, (here,)), snapshot):
                if found.scope == scopes.STORE or scopes.covers(here, found.scope) or scopes.covers(found.scope, here):
                    return True
        return False

    def check_ready(self) -> None:
        """Raises: FalajError while the database cannot be read."""
        with self.ground.database.read() as tx:
            tx.row("SELECT 1")

    def ledger_pending(self) -> int:
        """Entries that are committed and not yet under a root."""
        with self.ground.database.read() as tx:
            return self.ground.log.pending(tx)

    def mark_lost(self, run_ids: Sequence[str]) -> None:
        """End runs that will not be waited for any longer."""
        with self.ground.units.begin(self._store, "run.lose") as unit:
            for run_id in run_ids:
                run = RUN.get(unit.tx, run_id, lock=True)
                if run is not None and run.state == "running":
                    runs.end(unit, run, "lost")
                    unit.say(What.RUN_ENDED, [run.id], project=run.project)
                    lending.give_back(unit, run)

    def lose_dead_runs(self) -> list[str]:
        """End runs whose process on this host is no more, and lent ones that are over their time. Returns their ids."""
        with self.ground.database.read() as tx:
            dead = [run.id for run in runs.running(tx) if runs.is_alive(run.owner) is False]
        if dead:
            self.mark_lost(dead)
        return dead

    def _tidy(self, bundles: Bundles) -> None:
        """What dead processes left behind: staged files, data in the clear, lost runs, bundles not written."""
        if self.ground.database.read_only:
            return
        with suppress(FalajError):  # a damaged deployment keeps nobody from opening the store, and naming it
            # Who runs one command waits for nobody who writes a bundle at this moment: that one has it in hand.
            bundles.reconcile_all(deep=self._server, wait_s=WAIT_S if self._server else 0)
        self.staging.sweep()
        sweep_scratch(self.layout.scratch)
        self.lose_dead_runs()

    # the first owner

    def bootstrap_token(self) -> str | None:
        """A one-time token by which the first owner comes in, good for a day; None where somebody owns the store.

        Tokens made before are void.
        """
        if access_rules.owners(self.access.current(), at=datetime.now(UTC)):
            return None
        now = datetime.now(UTC)
        owner = Principal(id=self._store.principal, person=self._store.person, name=self._store.name, sort="service")
        minted = tokens.mint_bootstrap(owner, key=self.door.token_key, now=now, expires_at=now + span(ONE_TIME))
        with self.ground.units.begin(self._store, "token.bootstrap") as unit:
            for old in TOKEN.where(unit.tx, "single_use = 1 AND revoked_at IS NULL", {}):
                unit.put(TOKEN, tokens.revoke(old, now=now))
            unit.add(TOKEN, minted.row)
            raise_revision(unit)
            unit.say(What.TOKEN_ISSUED, [minted.row.id], detail={"one_time": True})
        return minted.reveal()

    def claim(self, one_time_token: str, person: str) -> tuple[PrincipalView, str]:
        """The first owner comes in by the one-time token; returns the person and the text of a token of their own.

        Raises: Unauthenticated for any token that is not the one; OwnerExists; InvalidName.
        """
        _, token = self.access.authenticate(one_time_token, single_use=True)
        actor = self._store
        with self.ground.units.begin(actor, "store.claim") as unit:
            if access_rules.owners(self.access.snapshot_of(unit.tx), at=datetime.now(UTC)):
                raise OwnerExists("somebody owns this store already", next_step="ask an owner for a role")
            owner, minted = claim_store(unit, token, person, self.door.token_key)
        view = PrincipalView(id=owner.id, name=owner.name, person=owner.person, sort=owner.sort, groups=owner.groups)
        return view, minted.reveal()
