"""One answer found again by its id: in the prediction log of a deployment, or among what was collected from it.

Ids sort by time, so files are looked through from the one in which the answer should be; but an id is only a hint, and
every file is looked at before an answer is said not to be there.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from falaj.core import predictions
from falaj.core.bundle import Role
from falaj.core.encoding import moment
from falaj.core.errors import Damaged, MissingPart
from falaj.core.predictions import Prediction

SHADOW: Final = "shadow"
AT: Final = "answered_at"
COLUMNS: Final = ("prediction", "row", AT, "revision", "model", "version", "role", "output", "ms", "error")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an answer, as the log or the dataset has it; `where` names the file."""

    row: int
    at: str
    revision: int
    model: str
    version: int
    role: Role
    output: float | None
    ms: float
    error: str | None
    where: str


def in_log(log: Path, prediction: str) -> list[Found]:
    """The lines of an answer in a log, in their order; none where it is not there.

    Raises: Damaged for a line with that id that is no prediction.
    """
    for _ in range(2):  # a segment that was sealed meanwhile has another name by now
        missed = False
        for path in nearest(
            [*predictions.sealed(log), *predictions.brought(log), *predictions.unsealed(log)], prediction
        ):
            try:
                found = _in_segment(path, prediction)
            except FileNotFoundError:
                missed = True
                continue
            if found:
                return _told([_of_line(line, path.name) for line in found])
        if not missed:
            break
    return []


def in_files(names: Sequence[str], fetch: Callable[[str], Path], prediction: str) -> list[Found]:
    """The lines of an answer in collected files.

    Args:
        fetch: brings one of them, by its name.
    Raises: MissingPart without PyArrow.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingPart("PyArrow is not installed", next_step="pip install 'falaj[local]'") from error
    for path in nearest([Path(name) for name in names], prediction):
        table = pq.read_table(fetch(str(path)), columns=list(COLUMNS), filters=[("prediction", "=", prediction)])
        if table.num_rows:
            rows = table.drop_columns(["prediction"]).to_pylist()
            return _told([Found(at=moment(row.pop(AT)), where=path.name, **row) for row in rows])
    return []


def nearest(paths: Iterable[Path], prediction: str) -> list[Path]:
    """Files by how likely they hold an answer: the last that was begun before it, those before, then those after.

    Segments are named by an id; files of a dataset by their day and the id of their first segment.
    """
    begun = sorted((path.stem[-len(prediction) :], path) for path in paths)
    earlier = [path for stem, path in reversed(begun) if stem <= prediction]
    return [*earlier, *(path for stem, path in begun if stem > prediction)]


def _told(found: list[Found]) -> list[Found]:
    """What was answered with, or tried; what a shadow made of the rows reached nobody."""
    return [one for one in found if one.role != SHADOW]


def answered(found: Sequence[Found]) -> tuple[list[Found], list[Found]]:
    """The rows that were answered, in their order, and those at which a canary failed before another answered."""
    last = next((one for one in reversed(found) if one.output is not None), found[-1])
    mine = [one for one in found if (one.role, one.version) == (last.role, last.version)]
    return sorted(mine, key=lambda one: one.row), [one for one in found if one not in mine]


def _in_segment(path: Path, prediction: str) -> list[bytes]:
    """The lines of a segment in which an id stands."""
    if path.stat().st_size == 0:
        return []
    found, needle = [], b'"' + prediction.encode() + b'"'
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(needle)
        while at >= 0:
            begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            if end < 0:  # still being written
                break
            found.append(data[begin:end])
            at = data.find(needle, end)
    return [line for line in found if _id_of(line, path.name) == prediction]


class _Id(msgspec.Struct):
    id: str = ""


def _id_of(line: bytes, name: str) -> str:
    try:
        return msgspec.json.decode(line, type=_Id).id
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{name}: not a prediction", next_step="restore it") from error


def _of_line(line: bytes, where: str) -> Found:
    try:
        one = msgspec.json.decode(line, type=Prediction)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{where}: not a prediction", next_step="restore it") from error
    return Found(
        row=one.row,
        at=one.at,
        revision=one.revision,
        model=one.model,
        version=one.version,
        role=one.role,
        output=one.output,
        ms=one.ms,
        error=one.error,
        where=where,
    )
