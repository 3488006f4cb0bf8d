"""Every kind and every operation of Falaj, gathered from the rooms. A new room is named here once."""

from __future__ import annotations

from typing import Any

from falaj.assets import operations as assets
from falaj.compliance.kinds import LOCATION, POLICY
from falaj.data import operations as data
from falaj.data.kinds import CONTRACT, DATASET
from falaj.deploy import leaving_operations
from falaj.deploy import operations as deploy
from falaj.deploy.kinds import DEPLOYMENT
from falaj.door import Operations
from falaj.features import operations as features
from falaj.features.kinds import FEATURE_SERVICE, FEATURE_VIEW
from falaj.gates import evidence_operations
from falaj.gates import operations as gates
from falaj.gates.kinds import GATE
from falaj.models import operations as models
from falaj.models.kinds import MODEL
from falaj.monitor import lineage_operations
from falaj.monitor import operations as monitor
from falaj.monitor.kinds import REPORT
from falaj.pipelines import environment_operations, step_operations
from falaj.pipelines import operations as pipelines
from falaj.pipelines.kinds import ARTIFACT, PIPELINE
from falaj.store.kinds import Kind
from falaj.tracking import operations as tracking
from falaj.triggers import operations as triggers
from falaj.triggers.kinds import TRIGGER
from falaj.trust import access_operations, key_operations, ledger_operations, store_operations

KINDS: tuple[Kind[Any], ...] = (
    DATASET,
    CONTRACT,
    FEATURE_VIEW,
    FEATURE_SERVICE,
    PIPELINE,
    ARTIFACT,
    MODEL,
    GATE,
    DEPLOYMENT,
    REPORT,
    TRIGGER,
    POLICY,
    LOCATION,
)
ROOMS = (
    assets,
    access_operations,
    key_operations,
    ledger_operations,
    store_operations,
    data,
    features,
    tracking,
    pipelines,
    step_operations,
    environment_operations,
    models,
    gates,
    evidence_operations,
    deploy,
    leaving_operations,
    monitor,
    lineage_operations,
    triggers,
)


def every_operation() -> Operations:
    """The registry of all declared operations."""
    operations = Operations()
    operations.include(*ROOMS)
    return operations
