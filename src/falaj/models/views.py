"""What the operations on models answer."""

from __future__ import annotations

from typing import Literal

import msgspec

from falaj.models.records import Format
from falaj.models.verification import Checked


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A new version of a model.

    Attributes:
        inputs: the columns that it reads, `name type`.
        data: the versions that it was made from.
        key: hint of the key that signed it.
        conversion: what came of it, in words; "" where none was asked for.
        sandbox: what kept the process in that loaded it, of `jail.GUARDS`.
    """

    model: str
    version: int
    format: Format
    size_bytes: int
    stored_bytes: int
    sha256: str
    label: str
    inputs: tuple[str, ...]
    data: tuple[str, ...]
    code: str
    key: str
    run: str
    sandbox: tuple[str, ...]
    entry_id: str
    conversion: str = ""
    entry: int | None = None


class ModelVerified(msgspec.Struct, frozen=True, kw_only=True):
    """A model version that holds, with all that was looked at."""

    model: str
    version: int
    digest: str
    sound: Literal[True]
    checks: tuple[Checked, ...]


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions, kept as a version of a dataset.

    Attributes:
        mean_probability: over all rows; None for no rows.
        sandbox: what kept the scoring process in, of `jail.GUARDS`.
    """

    dataset: str
    version: int
    previous: int | None
    ref: str
    rows: int
    mean_probability: float | None
    model: str
    verdict: str
    data: str
    stored_bytes: int
    sandbox: tuple[str, ...]
    run: str
    entry_id: str
    entry: int | None = None
