"""The small world that the tests of access speak about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from falaj.access.records import Binding, Principal, Request
from falaj.access.roles import Roles
from falaj.access.snapshot import Snapshot
from falaj.core.encoding import moment

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PAST, LATER = moment(NOW - timedelta(days=1)), moment(NOW + timedelta(days=1))

REGISTRY: Mapping[str, frozenset[str]] = {
    "asset.show": frozenset({"viewer"}),
    "data.read": frozenset({"viewer"}),
    "data.add": frozenset({"contributor"}),
    "ref.promote": frozenset({"maintainer"}),
    "proposal.approve": frozenset({"maintainer"}),
    "access.grant": frozenset({"owner"}),
    "ledger.log": frozenset({"auditor"}),
    "access.who_can": frozenset({"auditor", "maintainer"}),
    "store.retired_op": frozenset(),
}
CHANGING = {"data.add", "ref.promote", "proposal.approve", "access.grant"}
JUDGED = {
    "asset.show": {"classification"},
    "data.read": {"classification", "residency", "purpose"},
    "data.add": {"residency"},
    "ref.promote": set[str](),
    "proposal.approve": {"four_eyes"},
}
CUSTOM = {"labeller": {"data.add", "data.read", "see"}, "blind_writer": {"data.add"}}

ROLES = Roles(REGISTRY, changing=CHANGING, judged=JUDGED, custom=CUSTOM)

AMINA = Principal(id="P-amina", person="H-amina", name="amina", groups=("science",))
BADR = Principal(id="P-badr", person="H-badr", name="badr", groups=("risk", "science"))
AMINAS_ROBOT = Principal(id="P-robot", person="H-amina", name="robot", sort="service")
STRANGER = Principal(id="P-stranger", person="H-stranger", name="stranger")
PEOPLE = (AMINA, BADR, AMINAS_ROBOT, STRANGER)

REF = "ref:flights/model/delay@production"
ASSET = "asset:flights/model/delay"
PROJECT = "project:flights"


def binding(
    subject: str, role: str, scope: str, *conditions: str, named: str = "", expires_at: str | None = None
) -> Binding:
    return Binding(
        id=named or f"B-{subject}-{role}-{scope}",
        subject=subject,
        role=role,
        scope=scope,
        conditions=conditions,
        granted_by="P-root",
        created_at=PAST,
        expires_at=expires_at,
    )


def snapshot(*bindings: Binding, principals: Iterable[Principal] = PEOPLE, revision: int = 1) -> Snapshot:
    return Snapshot.build(bindings, principals, ROLES, revision=revision)


def ask(principal: Principal, operation: str, *resources: str, **rest: Any) -> Request:
    return Request(principal=principal, operation=operation, resources=resources, at=rest.pop("at", NOW), **rest)
