"""The prediction log read as evidence: the canary's answers, and beside each the next one of the stable version.

Only what was answered under one routing revision counts: that is since the present step began. The slice of the stable
version is as large as the canary's and as old, so what changes with the hour changes for both. What the stable version
answered because the canary had failed is not among it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from falaj.core import predictions
from falaj.core.predictions import Prediction
from falaj.deploy.rules import LATENCY_BINS, OUTPUT_BINS, Evidence, Look, Sample, is_look, latency_bin, output_bin
from falaj.deploy.statistics import Clusters

_CLOCKS: Final = 60.0
_PAIRS: Final = 20_000
"""Answers that wait for the other half of a comparison with the shadow; most are never copied to it."""


class Counts:
    """A sample that grows."""

    def __init__(self) -> None:
        self.requests = self.errors = 0
        self._latencies = [0] * LATENCY_BINS
        self._outputs = [0] * OUTPUT_BINS
        self._predicted = Clusters()

    def add(self, line: Prediction) -> None:
        """One line; the first of an answer counts as its request."""
        if line.row == 0:
            self.requests += 1
            self.errors += line.error is not None
            self._latencies[latency_bin(line.ms)] += 1
            self._predicted.begin()
        if line.output is not None:
            self._predicted.add(line.output)
            self._outputs[output_bin(line.output)] += 1

    def sample(self) -> Sample:
        """As it stands."""
        return Sample(
            requests=self.requests,
            errors=self.errors,
            predictions=self._predicted.values,
            latencies=tuple(self._latencies),
            outputs=tuple(self._outputs),
            draws=self._predicted.independent(),
        )


class Compared:
    """What a shadow answered, beside what was answered to the same rows: by the version that clients heard.

    Attributes:
        rows: that both answered; `difference`: the sum of what their probabilities are apart.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.difference = 0.0
        self._waiting: dict[tuple[str, int, bool], float] = {}

    def add(self, line: Prediction) -> None:
        """One line. Of two answers to a row (the canary failed, or did not) the one that came counts."""
        if line.output is None:
            return
        is_shadow = line.role == "shadow"
        other = self._waiting.pop((line.id, line.row, not is_shadow), None)
        if other is not None:
            self.rows += 1
            self.difference += abs(line.output - other)
            return
        self._waiting[line.id, line.row, is_shadow] = line.output
        if len(self._waiting) > _PAIRS:
            del self._waiting[next(iter(self._waiting))]

    @property
    def mean(self) -> float | None:
        """The mean absolute difference, None without rows."""
        return self.difference / self.rows if self.rows else None


class Tally:
    """What was answered under one routing revision. Goes on where it stopped reading; not for several threads.

    Args:
        since: when the revision came into force: segments that were finished before hold nothing of it.
        newest: read so many segments at most, the newest ones.
        shadowed: compare what a shadow answered.

    `known` is what the last reading came to, None before the first; any thread may look at it.
    """

    def __init__(self, revision: int, since: datetime, newest: int | None = None, *, shadowed: bool = False) -> None:
        self.revision = revision
        self.known: Evidence | None = None
        self._newest = newest
        self.everything: dict[int, Counts] = {}
        self.compared = Compared() if shadowed else None
        self._since = since.timestamp() - _CLOCKS
        self._offsets: dict[str, int] = {}
        self._canary, self._slice = Counts(), Counts()
        self._owed = 0
        self._taking = ""
        self._failed: set[str] = set()
        self._looks: list[Look] = []

    def read(self, log: Path) -> Evidence:
        """What is known now. Raises: Damaged for a line that is none."""
        found = sorted((*predictions.sealed(log), *predictions.unsealed(log)), key=lambda p: p.stem)
        for path in found[-self._newest :] if self._newest else found:
            try:
                if path.stat().st_mtime >= self._since:
                    self._read_segment(path)
            except FileNotFoundError:
                continue  # it was sealed at this moment, and is read under its new name the next time
        self.known = self.evidence()
        return self.known

    def evidence(self) -> Evidence:
        """What is known from what was read."""
        return Evidence(looks=tuple(self._looks), now=self._now())

    def add(self, lines: Iterable[Prediction]) -> None:
        """Lines, in the order in which they were written."""
        for line in lines:
            if line.revision == self.revision:
                self.everything.setdefault(line.version, Counts()).add(line)
                if self.compared is not None:
                    self.compared.add(line)
                if line.role != "shadow":
                    self._add(line)

    def _read_segment(self, path: Path) -> None:
        while True:
            offset = self._offsets.get(path.stem, 0)
            lines, end = predictions.read(path, offset)
            if end == offset:
                return
            self.add(lines)
            self._offsets[path.stem] = end

    def _add(self, line: Prediction) -> None:
        if line.role == "canary":
            if line.row == 0 and is_look(self._canary.requests):
                self._looks.append(self._now())
            self._canary.add(line)
            self._owed += line.row == 0
            if line.error is not None:
                self._failed.add(line.id)
        elif line.id not in self._failed:
            if line.row == 0 and self._owed:
                self._taking, self._owed = line.id, self._owed - 1
            if line.id == self._taking:
                self._slice.add(line)

    def _now(self) -> Look:
        return Look(canary=self._canary.sample(), stable=self._slice.sample())
