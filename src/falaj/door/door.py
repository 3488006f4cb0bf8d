"""THE ONE DOOR. Nothing is done or shown but through an operation that is declared.

    declared operation -> authenticate -> authorise -> validate -> one transaction (effect + entry) -> result

A refusal (by policy, gate, contract, residency) is an entry of its own. Embedded and behind the server this code is
the same; only the caller differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from falaj.access import rules as access_rules
from falaj.access.records import Decision
from falaj.access.snapshot import Snapshot
from falaj.core.digests import sha256
from falaj.core.encoding import canonical, convert
from falaj.core.entries import What
from falaj.core.errors import Conflict, FalajError, Forbidden, Invalid, NotFound, Refused
from falaj.core.names import name
from falaj.core.records import Project, Run
from falaj.door.context import Context
from falaj.door.deciding import Caller, Deciding
from falaj.door.declared import Operation
from falaj.store import runs
from falaj.store.metadata import Transaction

MAX_KEY = 128


class KeyReused(Conflict):
    """An idempotency key came again with another request."""

    code, status = "idempotency_key_reused", 422


class AnswerNotKept(Conflict):
    """The answer that was given under this idempotency key held a secret, which is shown once and kept nowhere."""

    code = "answer_not_kept"


class Door(Deciding):
    """The door over one ground."""

    def call(
        self,
        operation_name: str,
        args: Mapping[str, Any] | msgspec.Struct,
        *,
        caller: Caller,
        project: str = "",
        idempotency_key: str = "",
        progress: Callable[[str, int, int], None] | None = None,
        on_run: Callable[[Run], None] | None = None,
    ) -> Any:
        """Do one operation for an authenticated caller.

        Args:
            args: plain values or the operation's own struct.
            idempotency_key: of a command or job: the same key with the same request gives the first answer again.
            on_run: told the run of a job as soon as it is committed.
        Raises: FalajError; whatever it is, nothing is half-done.
        """
        operation = self.operations[operation_name]
        if len(idempotency_key) > MAX_KEY:
            raise Invalid(f"idempotency key: {len(idempotency_key)} characters, at most {MAX_KEY}")
        params = self._validated(operation, args)
        if project:
            name(project, "project")
        context = self._admitted(operation, params, caller, project)
        if progress:
            context.progress = progress
        try:
            match operation.sort:
                case "query":
                    return self._query(context, params)
                case "command":
                    return self._numbered(self._command(context, params, idempotency_key))
                case "transfer":
                    return self._transfer(context, params)
                case "job":
                    return self._numbered(self._job(context, params, idempotency_key, on_run))
        except (Refused, Forbidden) as refusal:
            if not (operation.sort == "job" and context.run is not None):
                self._tell_refusal(caller, operation, context.row, context.resources, refusal)
            raise

    def _admitted(self, operation: Operation, params: msgspec.Struct, caller: Caller, project: str) -> Context:
        """The context of a call that is allowed. Raises: as `call`; a denial is an entry by then."""
        resources = self.resources(operation, params, project)
        snapshot = self.snapshot(caller)
        attributes: Mapping[str, Any] = {}
        if snapshot is not None and operation.judged:
            attributes = self.facts(operation, params, caller, project, resources)
        decision = self.decide(caller, operation.name, resources, snapshot, attributes)
        parts: tuple[str, ...] | None = None
        if not decision.allowed:
            parts = self.parts(caller, operation, resources, snapshot)
            if not parts:
                raise self._denied(operation, caller, project, resources, decision, snapshot)
        row = self._project_row(operation, project)
        return Context(self, operation, caller, row, resources, snapshot, attributes, parts)

    def _query(self, context: Context, params: msgspec.Struct) -> Any:
        with self.ground.database.read() as tx:
            context._tx = tx
            return context.operation.function(context, **_fields(params))

    def _command(self, context: Context, params: msgspec.Struct, key: str) -> Any:
        operation, caller = context.operation, context.caller
        request = _request(context, params)
        with self.ground.units.begin(caller.actor, operation.name, context.owner) as unit:
            context.check_still_allowed(unit.tx)
            if key and (earlier := self._earlier(unit.tx, caller, key, request)) is not None:
                if operation.shown_once:
                    raise AnswerNotKept(
                        f"{operation.name} was done under this idempotency key; its answer is kept nowhere",
                        next_step="where it did not reach you, revoke what it made and use a new key",
                    )
                return convert(msgspec.json.decode(earlier), operation.returns)
            context._unit = unit
            result = operation.function(context, **_fields(params))
            if key:
                answer = b"" if operation.shown_once else canonical(result)
                self.ground.remember(unit.tx, caller.principal.id, key, operation.name, request, answer, unit.now)
        return result

    def _earlier(self, tx: Transaction, caller: Caller, key: str, request: str) -> bytes | None:
        """The answer given under an idempotency key. Raises: KeyReused where that was to another request."""
        found = self.ground.remembered(tx, caller.principal.id, key)
        if found is not None and found[0] != request:
            raise KeyReused("this idempotency key came with another request before", next_step="use a new key")
        return found[1] if found else None

    def _transfer(self, context: Context, params: msgspec.Struct) -> Any:
        with self.ground.database.read() as tx:
            context._tx = tx
            stream = context.operation.function(context, **_fields(params))
        assert context.operation.what is not None  # noqa: S101  `Operations.add` refuses others
        with self.ground.units.begin(context.caller.actor, context.operation.name, context.owner) as unit:
            unit.say(context.operation.what, [], detail={"resources": list(context.resources)})
        return stream

    def _job(self, context: Context, params: msgspec.Struct, key: str, on_run: Callable[[Run], None] | None) -> Any:
        operation, principal = context.operation, context.caller.principal.id
        request = _request(context, params)
        with context.begin() as unit:
            if key and (earlier := self._earlier(unit.tx, context.caller, key, request)):
                kept = self._kept_answer(unit.tx, context, earlier)
                if kept is not None:
                    return kept
                self.ground.forget(unit.tx, principal, key)
            context.run = runs.start(unit, operation.name, params=_shown(params))
            if key:
                begun = canonical({"run": context.run.id, "result": None})
                self.ground.remember(unit.tx, principal, key, operation.name, request, begun, unit.now)
            unit.say(What.RUN_STARTED, [context.run.id])
        if on_run:
            on_run(context.run)
        try:
            result = operation.function(context, **_fields(params))
            if not context.concluded:
                with context.conclude():
                    pass
        except BaseException as error:
            with suppress(FalajError):  # the first error is the one to tell
                self._fail_run(context, error)
            raise
        finally:
            self.staging.done(context.used_staged)
        if key:
            with self.ground.database.write() as tx:
                answer = canonical({"run": context.run.id, "result": result})
                self.ground.answer(tx, principal, key, answer)
        return result

    def _kept_answer(self, tx: Transaction, context: Context, earlier: bytes) -> Any:
        """What an earlier job under the same key came to; None where it failed or was lost, and the key is free again.

        Raises: Conflict while it runs, and where the process died between its commit and its answer.
        """
        kept = msgspec.json.decode(earlier)
        if kept["result"] is not None:
            return convert(kept["result"], context.operation.returns)
        run = runs.get(tx, context.owner, kept["run"])
        if run.state in {"failed", "lost", "cancelled"} or (
            run.state == "running" and runs.is_alive(run.owner) is False
        ):
            return None
        raise Conflict(
            f"run {run.id} came under this idempotency key and is {run.state}",
            next_step=f"falaj run show {run.id}",
            facts={"run": run.id},
        )

    def _fail_run(self, context: Context, error: BaseException) -> None:
        """End the run of a job that raised, unless it concluded as a refusal; the error learns its run and entry."""
        if context.run is None:
            return
        ours = error if isinstance(error, FalajError) else None
        if not context.concluded:
            told = ours.as_dict() if ours else {"code": "error", "message": type(error).__name__}
            stopped = isinstance(error, KeyboardInterrupt)
            if stopped:
                told = {"code": "interrupted", "message": "stopped by the one who ran it"}
            actor = context.caller.actor
            with self.ground.units.begin(actor, context.operation.name, context.owner) as unit:
                runs.end(unit, context.run, "cancelled" if stopped else "failed", error=told)
                what = What.REQUEST_REFUSED if isinstance(error, Refused | Forbidden) else What.RUN_ENDED
                entry = unit.say(what, [context.run.id], detail=told)
            if ours is not None:
                ours.facts = {**ours.facts, "entry_id": entry.id}
        if ours is not None:
            leaf = self._leaf(str(ours.facts.get("entry_id", "")))
            ours.facts = {**ours.facts, "run": context.run.id, "entry": leaf}

    # words and entries

    def _numbered(self, result: Any) -> Any:
        """The result with its entry's leaf number, where it has one by now."""
        if getattr(result, "entry", 0) is not None or not result.entry_id:
            return result
        return msgspec.structs.replace(result, entry=self._leaf(result.entry_id))

    def _leaf(self, entry_id: str) -> int | None:
        with self.ground.database.read() as tx:
            return self.ground.log.leaf_of(tx, entry_id)

    def _validated(self, operation: Operation, args: Mapping[str, Any] | msgspec.Struct) -> msgspec.Struct:
        if isinstance(args, operation.params):
            return args
        return convert(args if isinstance(args, msgspec.Struct) else dict(args), operation.params, operation.name)

    def _project_row(self, operation: Operation, project: str) -> Project | None:
        if not operation.needs_project:
            return None
        if not project:
            raise Invalid(f"{operation.name} needs a project", next_step="name the project")
        with self.ground.database.read() as tx:
            return self.ground.catalog.project(tx, project)

    def _denied(
        self,
        operation: Operation,
        caller: Caller,
        project: str,
        resources: tuple[str, ...],
        decision: Decision,
        snapshot: Snapshot | None,
    ) -> FalajError:
        # Nothing here looks at whether the thing is there: unknown and forbidden are the same words and work.
        assert snapshot is not None  # noqa: S101  the owner of an embedded store is never denied
        error = access_rules.refusal(self.request(caller, operation.name, resources), decision, snapshot)
        if isinstance(error, NotFound):
            # The kind of a bare name was looked up, so the resource in full would tell whether the thing is there.
            error = NotFound("no such thing, or not for you", next_step="falaj asset list")
        with self.ground.database.read() as tx:
            row = self.ground.project_by_name(tx, project)
        self._tell_refusal(caller, operation, row, resources, error, decision.reason)
        return error

    def _tell_refusal(
        self,
        caller: Caller,
        operation: Operation,
        project: Project | None,
        resources: tuple[str, ...],
        error: FalajError,
        reason: str = "",
    ) -> None:
        if self.ground.database.read_only:
            return
        with self.ground.units.begin(caller.actor, operation.name, project.id if project else "") as unit:
            told = {**error.as_dict(), "resources": list(resources)}
            entry = unit.say(What.REQUEST_REFUSED, [], detail={**told, "reason": reason} if reason else told)
        error.facts = {**error.facts, "entry_id": entry.id, "entry": self._leaf(entry.id)}


def _request(context: Context, params: msgspec.Struct) -> str:
    return sha256(canonical([context.operation.name, context.owner, params]))


def _fields(params: msgspec.Struct) -> dict[str, Any]:
    return {f: getattr(params, f) for f in params.__struct_fields__}


def _shown(params: msgspec.Struct) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(params)
    return shown
