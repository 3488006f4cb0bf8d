"""What can go wrong with a model: its file, its signature, its answers."""

from __future__ import annotations

from falaj.core.errors import Damaged, FalajError, Invalid, Refused, Unavailable

WAY_OUT = (
    "save a scikit-learn model with skops.io.dump(model, 'model.skops'), or convert it to ONNX "
    "(skl2onnx.to_onnx(…, options={'zipmap': False})); Falaj opens nothing that can run code while it loads"
)


class ModelRefused(Refused):
    """A model file that is not opened: it could run code, hides something, or is of an unknown form."""

    code, status = "model_refused", 422


class SignatureInvalid(Damaged):
    """A signature does not hold for these files, this version or this key."""

    code, status = "signature_invalid", 409


class ModelUnsound(Refused):
    """A version of a model that is not used: its signature, digest, files or form do not hold."""

    code = "model_unsound"


class ModelNotPromoted(Refused):
    """A model that no gate let onto the ref it was asked for by."""

    code = "model_not_promoted"


class ScoringFailed(FalajError):
    """The model could not answer for these rows."""

    code, status, exit_code = "scoring_failed", 422, 6


class WrongColumns(Invalid):
    """The table lacks a column that the model reads, or has it in another type."""

    code = "wrong_columns"


class WrongOutput(ScoringFailed):
    """What the model answered is not one probability for each row."""

    code = "wrong_output"


class ScoringStopped(Unavailable):
    """The scoring process died, or was stopped for its time or memory."""

    code = "scoring_stopped"
