"""The context: what an operation works with while the door holds it. Made by the door alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from falaj.access import rules as access_rules
from falaj.access.records import ANY_ROLE, Decision
from falaj.access.roles import BUILT_IN
from falaj.access.scopes import STORE
from falaj.access.snapshot import Snapshot
from falaj.core.entries import What
from falaj.core.errors import FalajError, Forbidden, Invalid
from falaj.core.names import Thing
from falaj.core.records import Project, Run
from falaj.door.deciding import Caller, Deciding, resource_of
from falaj.door.declared import Operation
from falaj.store import runs
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.unit import Unit


class SamePerson(Forbidden):
    """Proposer and approver are the same person."""

    code = "same_person"


class Context:
    """What an operation works with. Made by the door alone."""

    def __init__(
        self,
        door: Deciding,
        operation: Operation,
        caller: Caller,
        project: Project | None,
        resources: tuple[str, ...],
        snapshot: Snapshot | None,
        attributes: Mapping[str, Any],
        parts: tuple[str, ...] | None,
    ) -> None:
        self.door = door
        self.ground: Ground = door.ground
        self.operation = operation
        self.caller = caller
        self.resources = resources
        self.snapshot = snapshot
        self.attributes = attributes
        self.row = project
        self.parts = parts
        self._tx: Transaction | None = None
        self._unit: Unit | None = None
        self.run: Run | None = None
        self.result: dict[str, Any] = {}
        self.concluded = False
        self.used_staged: list[str] = []
        self.progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None

    @property
    def project(self) -> Project:
        """The project at hand. Raises: Invalid where the operation was called without one."""
        if self.row is None:
            raise Invalid("this operation needs a project", next_step="name the project")
        return self.row

    @property
    def owner(self) -> str:
        """Id of the project at hand, "" for the store itself."""
        return self.row.id if self.row else ""

    @property
    def tx(self) -> Transaction:
        """The open transaction of a query or command."""
        if self._unit is not None:
            return self._unit.tx
        if self._tx is None:
            raise Invalid(f"{self.operation.name} has no open transaction")
        return self._tx

    @property
    def unit(self) -> Unit:
        """The open unit of a command."""
        if self._unit is None:
            raise Invalid(f"{self.operation.name} has no open unit of work")
        return self._unit

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A snapshot, for the part of a job that looks."""
        with self.ground.database.read() as tx:
            yield tx

    @contextmanager
    def begin(self) -> Iterator[Unit]:
        """A unit of work, for a part of a job that commits before its end."""
        with self.ground.units.begin(self.caller.actor, self.operation.name, self.owner) as unit:
            self.check_still_allowed(unit.tx)
            yield unit

    @contextmanager
    def conclude(self, refusal: FalajError | None = None) -> Iterator[Unit]:
        """The unit that commits a job's effect and ends its run, together. `result` is kept in the run's row.

        Args:
            refusal: where the job is a refusal that leaves something behind (a rejected version, a verdict): the run
                ends as failed, and the caller raises it after the block.
        """
        with self.begin() as unit:
            yield unit
            if self.run is not None:
                error = refusal.as_dict() if refusal else None
                self.run = runs.end(unit, self.run, "failed" if refusal else "done", result=self.result, error=error)
                unit.say(What.RUN_ENDED, [self.run.id])
        self.concluded = True

    def staged(self, word: str) -> Path:
        """The file that was staged under this word by this caller. Raises: NotFound, or that it changed meanwhile."""
        self.used_staged.append(word)
        return self.door.staging.path(word, self.caller)

    def check_staged(self) -> None:
        """Raises: as `staged`, where a staged file changed since it was first read. Asked before a conclusion."""
        for word in dict.fromkeys(self.used_staged):
            self.door.staging.path(word, self.caller)

    @contextmanager
    def watching_staged(self) -> Iterator[None]:
        """For the part of a job that reads staged files.

        Raises: as `staged`, where something failed and a file changed: then that is the cause; Invalid where one cannot
            be read.
        """
        try:
            yield
        except (FalajError, OSError) as error:
            self.check_staged()
            if isinstance(error, OSError):
                what = Path(str(error.filename or "a file")).name
                raise Invalid(f"{what}: {error.strerror}", next_step="make it readable, then try again") from error
            raise

    def check_residency(self, what: str) -> None:
        """Raises: ResidencyRefused where the project's policies do not let bytes rest or be read on this host."""
        with self.reading() as tx:
            self.ground.residency(tx, self.project.id, what)

    def check_still_allowed(self, tx: Transaction) -> None:
        """Raises: Unauthenticated, NotFound, Forbidden where what was decided does not hold any more."""
        self.door.check_still_allowed(
            tx, self.caller, self.operation.name, self.resources, self.snapshot, self.attributes
        )

    def decide(self, operation: str, resource: str, **attributes: Any) -> Decision:
        """Would this caller be allowed another operation on a resource?"""
        return self.door.decide(
            self.caller, self.door.operations[operation].name, (resource,), self.snapshot, attributes
        )

    def thing(self, text: str) -> Thing:
        """An address with its kind, as the operation means it."""
        return self.door.thing(self.project.name, text, self.operation.kind)

    def roles_on(self, thing: Thing) -> tuple[str, ...]:
        """Every role that the caller holds on a thing."""
        if self.snapshot is None:
            return BUILT_IN
        token = self.caller.token
        return access_rules.roles_on(
            self.caller.principal,
            self.resource(thing),
            self.snapshot,
            datetime.now(UTC),
            token_scope=token.scope if token else (STORE,),
            token_roles=token.roles if token else (ANY_ROLE,),
            attributes=self.attributes,
        )

    def require_other_person(self, person: str, thing: Thing) -> None:
        """Four eyes. Raises: Forbidden where the caller is that person, whatever token they hold."""
        if self.caller.principal.person == person:
            raise SamePerson(
                f"{thing}: the one who proposes does not approve",
                next_step="ask another person with the role maintainer"
                + (" (embedded, there is one person only: use a server)" if self.caller.embedded else ""),
            )

    def parts_of(self, sort: str) -> tuple[str, ...] | None:
        """Of a list: the paths inside the project of what may be listed, `kind/name` of assets; None for everything."""
        if self.parts is None:
            return None
        start = f"{sort}:{self.project.name}/"
        return tuple(scope.removeprefix(start) for scope in self.parts if scope.startswith(start))

    def resource(self, thing: Thing) -> str:
        """The thing as a resource of this project."""
        return resource_of(self.project.name, thing)
