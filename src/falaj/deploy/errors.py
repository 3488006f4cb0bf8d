"""What can go wrong with deployments; below the one root."""

from __future__ import annotations

from falaj.core.errors import Conflict, Refused, Unavailable


class RolloutUnderway(Conflict):
    """A version is on its way to this ref already; one at a time."""

    code = "rollout_underway"


class NoRollout(Conflict):
    """There is no rollout underway, or it is not in the state that the command is for."""

    code = "no_rollout"


class LogBusy(Unavailable):
    """The prediction log is being read for the first time since the routes changed; there is no evidence yet."""

    code = "log_busy"


class RefDeployed(Refused):
    """Another deployment follows the ref already, or this deployment has served another one."""

    code = "ref_deployed"


class NotGated(Refused):
    """No gate guards the ref: a deployment serves only what a gate let in."""

    code = "not_gated"
