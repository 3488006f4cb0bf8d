"""What the operations on features answer."""

from __future__ import annotations

import msgspec


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What joining features came to: a version of a dataset."""

    dataset: str
    version: int
    previous: int | None
    ref: str
    rows: int
    service: str
    features: tuple[str, ...]
    stored_bytes: int
    run: str
    entry_id: str
    entry: int | None = None
