"""The kind of this room: `model`. A model has numbered versions and guarded refs; none of them is a `main`."""

from __future__ import annotations

from falaj.models.records import Model
from falaj.store.kinds import Kind

MODEL = Kind(
    "model",
    Model,
    bare=True,
    project_fields=lambda model: {
        "format": model.format,
        "label": model.label,
        "signed": int(model.signature is not None),
    },
)
