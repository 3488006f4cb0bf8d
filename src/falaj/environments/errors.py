"""What can be wrong with a lock, and with what was built from one."""

from __future__ import annotations

from falaj.core.errors import FalajError, Invalid

HOW = "uv pip compile --generate-hashes requirements.in -o requirements.txt, or pip-compile with the same option"


class LockInvalid(Invalid):
    """A lock does not name exact distributions by hash, and nothing else."""

    code = "lock_invalid"
    usual_step = HOW


class BuildFailed(FalajError):
    """pip could not install what the lock names, or installed something else."""

    code, status, exit_code = "build_failed", 502, 8
    usual_step = "python -m pip download --no-deps --require-hashes -r LOCK shows what pip finds here"
