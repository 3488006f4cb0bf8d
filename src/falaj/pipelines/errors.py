"""What can go wrong with pipelines."""

from __future__ import annotations

from falaj.core.errors import Conflict, FalajError, Forbidden, Invalid


class PipelineInvalid(Invalid):
    """A pipeline or step cannot be meant: wrong wiring, types that do not fit, a file that fails when it is read."""

    code = "pipeline_invalid"


class StepFailed(FalajError):
    """A step of a pipeline did not come to its end; what other steps committed stays."""

    code, status = "step_failed", 422


class RunCancelled(Conflict):
    """The run was cancelled while it worked; what it had committed stays."""

    code = "run_cancelled"


class StaleAttempt(Conflict):
    """An attempt came to its end after it was given up: another one, or none, may commit in its place."""

    code = "stale_attempt"


class StepNotReady(Conflict):
    """What a step takes is not there yet: steps before it have not committed."""

    code = "step_not_ready"


class NotCovered(Forbidden):
    """An attempt asked for bytes that are no input of it."""

    code = "not_covered"
