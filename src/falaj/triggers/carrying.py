"""Carrying out a start: the pipeline runs, what it registered is judged; each stage is written down before the next.

Whoever dies on the way leaves a row that says how far it came, and the next process goes on from there: a run that
ended is not run again, a run that did not end is run again from what it had committed, a version that was judged is not
judged again. Every write is fenced by the attempt, so of two processes that both believe to be the one, one can write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from falaj.access.records import Principal
from falaj.access.rows import principal_named
from falaj.assets.rules import words
from falaj.core.encoding import moment
from falaj.core.entries import What
from falaj.core.errors import FalajError, Refused, Unavailable
from falaj.core.names import Thing
from falaj.core.records import Asset, Run
from falaj.deploy.errors import RolloutUnderway
from falaj.door import Caller, Context
from falaj.pipelines.records import Pipeline
from falaj.pipelines.rules import values_of
from falaj.store import triggers
from falaj.store.metadata import Transaction
from falaj.store.rollouts import ROLLOUT
from falaj.store.rows import PROPOSAL, REF_MOVE, RUN
from falaj.store.triggers import Start
from falaj.store.unit import Unit
from falaj.triggers import rules
from falaj.triggers.errors import NobodyActs, NothingRegistered, TakenOver
from falaj.triggers.port import ACTING, Acting
from falaj.triggers.reading import InForce

RENEW: Final = timedelta(minutes=1)


def pinned(ctx: Context, tx: Transaction, at: InForce) -> tuple[str, dict[str, Any]]:
    """The pipeline and its parameters, with the versions that are in force now.

    A start that goes on after a crash reads what it read before, wherever refs have moved by then.

    Raises: NotFound, PipelineInvalid.
    """
    catalog, project = ctx.ground.catalog, ctx.project.id
    held = catalog.resolve(tx, project, Thing.parse(at.trigger.start, kind="pipeline"))
    payload: Pipeline = catalog.payload(held.asset, held.version)
    values = values_of(payload.graph, at.trigger.params)
    params = dict(at.trigger.params)
    for param in payload.graph.params:
        if param.type == "dataset":
            read = catalog.resolve(tx, project, Thing.parse(values[param.name], kind="dataset"))
            params[param.name] = f"{read.asset.kind}/{read.asset.name}:{read.version.number}"
    return f"{held.asset.name}:{held.version.number}", params


class Carrying:
    """One attempt of one start.

    Args:
        at: the trigger at the version of the start.
        start: as this attempt has claimed it.

    Attributes:
        entry_id: of what was written down last.
    """

    def __init__(self, ctx: Context, at: InForce, start: Start) -> None:
        self.ctx, self.at, self.start = ctx, at, start
        self.acting: Acting = ctx.ground.port(ACTING)
        self.entry_id = ""
        self._renewed = datetime.now(UTC)

    def carry_out(self) -> Start:
        """Bring the start to its end. Raises: what ended it, once that is written down; TakenOver."""
        try:
            caller = self._caller()
            if not self.start.registered:
                self._run(caller)
            return self._end("done", outcome=self._promote(caller) if self.at.trigger.propose else {})
        except TakenOver:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it was, the row tells how the attempt ended
            self._fail(error)

    # who acts

    def _caller(self) -> Caller:
        """Who acts: embedded the operating-system user, on a server the trigger's service.

        Whoever writes a trigger may let it act by nobody but a service that they answer for, or one whose person has
        approved the trigger: else a proposal could be put into another person's mouth, and be approved by its author.

        Raises: NobodyActs.
        """
        if not self.ctx.ground.four_eyes:
            return self.acting.owner
        called, told = self.at.trigger.principal, f"trigger {self.at.asset.name}"
        if not called:
            raise NobodyActs(f"{told}: it says nobody to act as", next_step="as: SERVICE in triggers.yaml")
        with self.ctx.reading() as tx:
            found = principal_named(tx, called)
            persons = self._persons(tx)
        if found is None or found.sort != "service":
            raise NobodyActs(f"{told}: {called} is no service", next_step=f"falaj principal add {called} --service")
        if found.person not in persons:
            raise NobodyActs(
                f"{told}: {called} is the service of somebody else than whoever applied or approved the trigger",
                next_step="the person who answers for the service applies the trigger, or approves it",
            )
        return Caller(principal=Principal(id=found.id, person=found.person, name=found.name, sort=found.sort))

    def _persons(self, tx: Transaction) -> set[str]:
        """Who stands for the trigger as it is: its author, and those who approved that it came into force."""
        catalog, version = self.ctx.ground.catalog, self.at.version
        clause = "asset = :asset AND ref = 'main' AND version = :version"
        moves = REF_MOVE.where(tx, clause, {"asset": version.asset, "version": version.number})
        approvals = [one for move in moves if move.proposal for one in catalog.approvals(tx, move.proposal)]
        return {version.person, *(one.person for one in approvals)}

    # running

    def _run(self, caller: Caller) -> None:
        """Have a version registered: by the run that ended already, or by another one that takes what it committed."""
        registered = self._ended_run()
        if registered is None:
            told = self._call(
                caller,
                "pipeline.run",
                {"pipeline": self.start.pipeline, "params": self.start.params, "purpose": self.at.trigger.purpose},
                lambda run: self._go_on(runs=(*self.start.runs, run.id)),
            )
            registered = list(told.registered)
        self._go_on(registered=self._chosen(registered))

    def _ended_run(self) -> list[str] | None:
        """What the newest run of an earlier attempt registered; None where there was none, or it did not end well."""
        if not self.start.runs:
            return None
        with self.ctx.reading() as tx:
            run = RUN.get(tx, self.start.runs[-1])
        return list(run.result.get("registered", ())) if run is not None and run.state == "done" else None

    def _chosen(self, registered: list[str]) -> str:
        """The version to propose. Raises: NothingRegistered."""
        if not self.at.trigger.propose:
            return registered[-1] if registered else ""
        wanted = Thing.parse(self.at.trigger.propose, kind="model").name
        found = [one for one in registered if Thing.parse(one, kind="model").name == wanted]
        if not found:
            raise NothingRegistered(
                f"{self.start.pipeline}: it registered no version of {wanted}",
                next_step=f"return fj.register({wanted!r}, …) in the pipeline",
            )
        return found[-1]

    # promoting

    def _promote(self, caller: Caller) -> dict[str, Any]:
        """Have the version judged and promoted; returns what became of it. Raises: what refuses it."""
        candidate = Thing.parse(self.start.registered, kind="model")
        if (known := self._judged(candidate)) is not None:
            return known
        leaf = self._leaf()
        reason = f"trigger {self.at.asset.name}, start {self.start.number}" + (f", entry {leaf}" if leaf else "")
        told = self._call(
            caller,
            "ref.promote",
            {"thing": self.at.trigger.propose, "version": candidate.version, "reason": reason},
            lambda run: self._go_on(promotion=run.id),
        )
        return _outcome(told.sort, told.proposal, told.rollout, told.verdicts)

    def _judged(self, candidate: Thing) -> dict[str, Any] | None:
        """What an earlier attempt came to before it could write it down; None where the version was not judged."""
        with self.ctx.reading() as tx:
            asset = self.ctx.ground.catalog.asset(tx, self.ctx.project.id, candidate)
            ref = Thing.parse(self.at.trigger.propose, kind="model").ref or ""
            run = RUN.get(tx, self.start.promotion) if self.start.promotion else None
            if run is None or run.state != "done":
                self._check_free(tx, asset, ref)
                return None
            verdicts = list(run.result.get("verdicts", ()))
            params = {"asset": asset.id, "version": candidate.version, "ref": ref}
            rollouts = ROLLOUT.where(tx, "asset = :asset AND ref = :ref AND candidate = :version", params)
            proposals = PROPOSAL.where(tx, "asset = :asset AND ref = :ref AND version = :version", params)
        rollout = next((one for one in rollouts if list(one.verdicts) == verdicts), None)
        proposal = next((one for one in proposals if verdicts and list(one.verdicts) == verdicts), None)
        sort = "rollout" if rollout else "proposed" if proposal else "promote"
        return _outcome(sort, proposal.id if proposal else None, rollout.id if rollout else None, verdicts)

    def _check_free(self, tx: Transaction, asset: Asset, ref: str) -> None:
        """Raises: RolloutUnderway, before anything is measured in vain. The start is attempted again later."""
        clause = "asset = :asset AND ref = :ref AND state IN ('running', 'paused')"
        for one in ROLLOUT.where(tx, clause, {"asset": asset.id, "ref": ref}, limit=1):
            raise RolloutUnderway(
                f"{self.at.trigger.propose}: v{one.candidate} is on its way already",
                next_step="nothing: the version is proposed when the rollout has ended",
                facts={"rollout": one.id, "candidate": one.candidate},
            )

    def _leaf(self) -> int | None:
        with self.ctx.reading() as tx:
            return self.ctx.ground.log.leaf_of(tx, self.start.entry)

    # writing down

    def _call(self, caller: Caller, operation: str, args: dict[str, Any], on_run: Callable[[Run], None]) -> Any:
        return self.acting.call(
            operation, args, caller=caller, project=self.ctx.project.name, progress=self._progress, on_run=on_run
        )

    def _progress(self, what: str, done: int, total: int) -> None:
        now = datetime.now(UTC)
        if now - self._renewed > RENEW:
            self._renewed = now
            with self.ctx.ground.database.write() as tx:
                is_mine = triggers.renew_lease(tx, self.start, moment(now + rules.LEASE))
            if not is_mine:
                raise self._taken_over()  # which stops what still runs of this attempt
        self.ctx.progress(what, done, total)

    def _go_on(self, **changes: Any) -> None:
        """Write down how far this attempt came. Raises: TakenOver."""
        with self.ctx.begin() as unit:
            self.start = self._change(unit, What.TRIGGER_CONTINUED, **changes)

    def _change(self, unit: Unit, what: What, **changes: Any) -> Start:
        now = triggers.current(unit.tx, self.start)
        if now is None:
            raise self._taken_over()
        changed = triggers.change(unit, now, **changes)
        on = [self.start.trigger, *changed.runs[-1:]]
        told: dict[str, Any] = {**words(Thing(self.at.asset.name, self.at.asset.kind)), "number": changed.number}
        told |= {key: value for key, value in changes.items() if key in {"state", "registered", "outcome", "error"}}
        self.entry_id = unit.say(what, on, detail=told, cause=changed.entry).id
        return changed

    def _taken_over(self) -> TakenOver:
        return TakenOver(
            f"start {self.start.number} of {self.at.asset.name}: attempt {self.start.attempt} was given up",
            next_step=f"falaj trigger list {self.at.asset.name}",
        )

    def _end(self, state: triggers.StartState, **changes: Any) -> Start:
        ctx = self.ctx
        ctx.result = {"trigger": self.at.asset.name, "start": self.start.number, "state": state}
        with ctx.conclude() as unit:
            return self._change(unit, What.TRIGGER_ENDED, state=state, ended_at=unit.now, **changes)

    def _fail(self, error: BaseException) -> NoReturn:
        """Write down why the attempt ended. What is away for a while, was stopped or must wait, is attempted again."""
        ours = error if isinstance(error, FalajError) else None
        error_told = told(error)
        again = isinstance(error, Unavailable | RolloutUnderway) or not isinstance(error, Exception)
        state: triggers.StartState = "due" if again else "refused" if isinstance(error, Refused) else "failed"
        verdicts = list(ours.facts.get("verdicts", ())) if ours else []
        changes: dict[str, Any] = {"state": state, "error": error_told}
        if verdicts:
            changes["outcome"] = _outcome("refused", None, None, verdicts)
        refusal = ours or FalajError(error_told["message"])
        self.ctx.result = {"trigger": self.at.asset.name, "start": self.start.number, "state": state}
        with self.ctx.conclude(refusal) as unit:
            ended = None if again else unit.now
            self._change(unit, What.TRIGGER_ENDED, ended_at=ended, **changes)
        raise error


def _outcome(sort: str, proposal: str | None, rollout: str | None, verdicts: Sequence[str]) -> dict[str, Any]:
    return {"sort": sort, "proposal": proposal, "rollout": rollout, "verdicts": list(verdicts)}


def told(error: BaseException) -> dict[str, Any]:
    """An error as the row keeps it: what a refusal found stands in its verdict."""
    if not isinstance(error, FalajError):
        return {"code": "error", "message": type(error).__name__}
    kept = {"code": error.code, "message": error.message[:2000], "next_step": error.next_step}
    return {key: value for key, value in kept.items() if value}
