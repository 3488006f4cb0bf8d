"""What the monitor refuses."""

from __future__ import annotations

from falaj.core.errors import Conflict, Damaged


class NothingServed(Conflict):
    """The ref that a deployment follows is held by no version: there is nothing to watch."""

    code = "nothing_served"


class DatasetTaken(Conflict):
    """The dataset that the monitor keeps its rows in was made by something else."""

    code = "dataset_taken"


class SegmentChanged(Damaged):
    """A segment of a prediction log is not any more what was collected from it."""

    code = "segment_changed"
