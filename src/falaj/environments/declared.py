"""`[environments.NAME]` in `falaj.toml`: the lock that steps of that environment run by, and the version of Python."""

from __future__ import annotations

from typing import Annotated

import msgspec


class EnvironmentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One environment.

    Attributes:
        lock: its file, below the project's folder.
        python: such as `3.12`; the version that Falaj itself runs by where it is empty.
    """

    lock: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    python: Annotated[str, msgspec.Meta(pattern=r"^(3\.\d{1,2})?$")] = ""
