"""What the inference server refuses or cannot do. Each protocol has a form of its own for them."""

from __future__ import annotations

from falaj.core.errors import FalajError, Invalid, Unavailable


class BadRequest(Invalid):
    """A request of the wrong form: shape, type, name or value."""

    code, status = "bad_request", 400


class NotServing(Unavailable):
    """The inference server has no bundle that it may serve yet, or is stopping."""

    code = "not_serving"


class Overloaded(Unavailable):
    """More rows wait for the model than the inference server keeps, or one waited too long."""

    code = "overloaded"


class NotLogged(Unavailable):
    """The prediction could not be written to the log, so it was not given."""

    code = "prediction_not_logged"


class ModelFailed(FalajError):
    """The model gave no probability for rows that have the form it asks for."""

    code = "model_failed"


class CannotListen(Unavailable):
    """The address is taken, or not this machine's."""

    code = "cannot_listen"
