"""What can go wrong in the ledger; below the one root."""

from __future__ import annotations

from falaj.core.errors import Damaged, Invalid, Unavailable
from falaj.store.errors import Exists


class LedgerDamaged(Damaged):
    """Entries, tree nodes or a checkpoint are not what was committed."""

    code = "ledger_damaged"


class CheckpointInvalid(Damaged):
    """A checkpoint is malformed, or is not signed by the key it should be."""

    code = "checkpoint_invalid"


class ProofImpossible(Invalid):
    """There is no such proof: the leaf or the older size is not inside the tree."""

    code = "proof_impossible"


class ExportExists(Exists):
    """The folder to export to already holds something."""

    code = "export_exists"


class ExportFailed(Unavailable):
    """The export could not be written. Nothing is left behind."""

    code = "export_failed"
