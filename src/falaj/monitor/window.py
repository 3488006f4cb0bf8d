"""What a report looks at, and what it finds there. Apart from the measuring, which needs numpy and more."""

from __future__ import annotations

from typing import Final

import msgspec

from falaj.core.records import Version
from falaj.deploy.records import Watch
from falaj.monitor.records import ColumnDrift, LiveScore, VersionShare
from falaj.monitor.sources import Readable, Served

FIRST: Final = 5_000
"""So many of a version's first answers are what its later ones are compared with."""


class Growing(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that is added to: its version now, and the one that the window begins after."""

    now: Version
    before: Version | None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What a report looks at, as everything stood when it began.

    Attributes:
        predictions, outcomes: None where nothing was collected or joined yet.
        training: None where nothing that the version was trained on has its columns, or it is not asked for.
        before: the score that the live one is compared with, and on what it was measured; None where there is none yet.
    """

    served: Served
    watch: Watch
    predictions: Growing | None
    outcomes: Growing | None
    training: Readable | None
    before: tuple[float, str] | None

    @property
    def number(self) -> int:
        """Of the judged version."""
        return self.served.version.number

    @property
    def reference(self) -> str:
        """What columns are compared with, in words."""
        if self.watch.reference == "first":
            return f"the first {FIRST:,} answers of {self.served.asset.name} v{self.number}"
        return f"{self.training.asset.kind}/{self.training.shown}" if self.training else ""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; the fields are those of `records.Report`."""

    rows: int = 0
    first_at: str | None = None
    last_at: str | None = None
    columns: tuple[ColumnDrift, ...] = ()
    scored: LiveScore | None = None
    versions: tuple[VersionShare, ...] = ()
