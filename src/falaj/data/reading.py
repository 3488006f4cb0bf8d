"""May somebody read a dataset that an operation does not name itself: the source of a feature, the input of a step?"""

from __future__ import annotations

from falaj.access import rules
from falaj.core.encoding import convert
from falaj.core.names import Thing
from falaj.core.records import Asset, Version
from falaj.door import Caller, Context
from falaj.store.metadata import Transaction


def check_allowed(ctx: Context, thing: Thing, purpose: str, caller: Caller) -> None:
    """As if the caller asked for the files of the dataset, judged on its facts. Not inside of a transaction.

    Raises: NotFound, Forbidden.
    """
    if ctx.snapshot is None:
        return
    get, project = ctx.door.operations["data.get"], ctx.project.name
    resources = (f"asset:{project}/dataset/{thing.name}",)
    asked = convert({"thing": str(thing), "purpose": purpose}, get.params, get.name)
    facts = ctx.door.facts(get, asked, caller, project, resources)
    decision = ctx.door.decide(caller, get.name, resources, ctx.snapshot, facts)
    if not decision.allowed:
        raise rules.refusal(ctx.door.request(caller, get.name, resources, facts), decision, ctx.snapshot)


def check_evidence(ctx: Context, tx: Transaction, thing: Thing, asset: Asset, version: Version) -> None:
    """Evidence of a gate is read by maintainers and auditors only, so that nobody trains on it.

    Raises: EvidenceSealed.
    """
    if not {"maintainer", "auditor"} & set(ctx.roles_on(thing)):
        ctx.ground.catalog.check_unsealed(tx, asset, version, "a contributor")
