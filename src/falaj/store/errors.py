"""What can go wrong on the ground; below the one root."""

from __future__ import annotations

from falaj.core.errors import Conflict, Damaged, Refused, Unavailable


class StoreBusy(Unavailable):
    """Another process holds the database for longer than we wait."""

    code = "store_busy"


class StoreFull(Unavailable):
    """The disk under the database or the objects is full. Nothing was committed."""

    code, status = "store_full", 507


class StoreReadOnly(Unavailable):
    """The store is on a read-only disk, or was opened read-only."""

    code = "store_read_only"


class StoreAway(Unavailable):
    """The database cannot be reached."""

    code = "store_away"


class StoreDamaged(Damaged):
    """The database file is not a sound database."""

    code = "store_damaged"


class SchemaNewer(Unavailable):
    """The store was written by a newer Falaj than this one."""

    code = "schema_newer"


class RefConflict(Conflict):
    """The ref, or something the decision rests on, moved in between."""

    code = "ref_moved"


class Exists(Conflict):
    """There is one already."""

    code = "exists"


class RolloutNeeded(Refused):
    """A deployment follows the ref, which therefore moves at the end of a rollout only."""

    code = "rollout_needed"


class GuardRefused(Refused):
    """A guarded ref moves only by an unused, passed verdict on exactly this move."""

    code = "guard_refused"


class EvidenceSealed(Refused):
    """A gate measures on this version: whoever trains may not read it."""

    code = "evidence_sealed"


class RollbackRefused(Refused):
    """A rollback goes only to a version that held this ref before and is still fit to hold it."""

    code = "rollback_refused"
