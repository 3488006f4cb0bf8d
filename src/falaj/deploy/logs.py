"""The prediction log as people look at it: newest first, or on from where they have read to. Reading only.

A place in the log is the newest segment and, of each segment that was being written, how far it was read, as one word:
`SEGMENT/SEGMENT:OFFSET,SEGMENT:OFFSET`. Segments keep their names when they are sealed, so a place outlives that.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Set
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from falaj.core import predictions
from falaj.core.encoding import canonical, parse_moment
from falaj.core.errors import Damaged, Invalid
from falaj.core.predictions import Prediction

MOST: Final = 10_000
_PLACE: Final = re.compile(r"([0-9A-Za-z]{1,64})?/((?:[0-9A-Za-z]{1,64}:[0-9]{1,18},?)*)")
_encoder = msgspec.json.Encoder()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are looked for.

    Attributes:
        version: 0 for every one; `role`, `prediction`: "" for every one.
        since, until: moments between which they were answered; None for no bound.
        failed: those alone that the model failed at.
        drop: inputs that are not told.
        limit: so many lines at most.
    """

    version: int = 0
    role: str = ""
    prediction: str = ""
    since: datetime | None = None
    until: datetime | None = None
    failed: bool = False
    drop: Set[str] = frozenset()
    limit: int = 100

    def has(self, line: Prediction) -> bool:
        """Whether a line is one of them."""
        if (self.version and line.version != self.version) or (self.role and line.role != self.role):
            return False
        if (self.prediction and line.id != self.prediction) or (self.failed and line.error is None):
            return False
        at = parse_moment(line.at) if self.since or self.until else None
        return at is None or not ((self.since and at < self.since) or (self.until and at > self.until))


class Place(msgspec.Struct, frozen=True):
    """How far the log was read: every segment up to `newest`, but of the open ones only so many bytes."""

    newest: str
    open: dict[str, int]

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises: Invalid."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise Invalid("after: not a place in a log", next_step="give the one that the last line said")
        parts = (part.partition(":") for part in match[2].split(",") if part)
        return cls(match[1] or "", {stem: int(offset) for stem, _, offset in parts})

    def __str__(self) -> str:
        return f"{self.newest}/{','.join(f'{stem}:{offset}' for stem, offset in sorted(self.open.items()))}"


def newest_first(log: Path, wanted: Wanted) -> Iterator[bytes]:
    """The newest lines, newest first, segment by segment; the last line is where to go on.

    A segment that is damaged is told as such, and passed over.
    """
    found = _segments(log)
    ends = {path.stem: 0 for path in found if path.suffix == predictions.OPEN}
    left = wanted.limit
    for path in reversed(found):
        if left and not _is_before(path, wanted.since):
            kept: deque[Prediction] = deque(maxlen=left)
            end, damaged = _read(path, 0, wanted, kept.append)
            if damaged:
                yield canonical({"damaged": path.name}) + b"\n"
            left = max(0, left - len(kept))
            yield b"".join(_told(line, wanted) for line in reversed(kept))
        else:
            end = _size(path)
        if path.stem in ends:
            ends[path.stem] = end
    yield _where(Place(found[-1].stem if found else "", ends))


def since(log: Path, wanted: Wanted, place: Place) -> Iterator[bytes]:
    """What came after a place, oldest first; the last line is where to go on."""
    ends, newest, left = {}, place.newest, wanted.limit
    for path in _segments(log):
        start = place.open.get(path.stem, 0 if path.stem > place.newest else None)
        if start is None:
            continue
        kept: list[Prediction] = []
        end, damaged = _read(path, start, wanted, kept.append, most=left)
        if damaged:
            yield canonical({"damaged": path.name}) + b"\n"
        left = max(0, left - len(kept))
        yield b"".join(_told(line, wanted) for line in kept)
        if path.suffix == predictions.OPEN or not left:
            ends[path.stem] = end
        newest = max(newest, path.stem)
        if not left:
            break
    yield _where(Place(newest, ends))


def _segments(log: Path) -> list[Path]:
    """Every segment, oldest first; of one that is being sealed at this moment the sealed one."""
    found = {path.stem: path for path in (*predictions.unsealed(log), *predictions.sealed(log))}
    return [found[stem] for stem in sorted(found)]


def _read(
    path: Path, start: int, wanted: Wanted, keep: Callable[[Prediction], None], most: int = 0
) -> tuple[int, bool]:
    """Hand over what is wanted of a segment from an offset on; where that ended, and whether it is damaged there.

    Args:
        most: stop after the piece (16 MiB) in which so many lines were found; 0 for never.
    """
    offset, kept = start, 0
    while True:
        try:
            lines, end = predictions.read(path, offset)
        except FileNotFoundError:  # sealed at this moment: under its new name
            if path.suffix != predictions.OPEN:
                return offset, False
            path = path.with_suffix(predictions.SEALED)
            continue
        except Damaged:
            return _size(path), True
        if end == offset:
            return offset, False
        for line in lines:
            if wanted.has(line):
                keep(line)
                kept += 1
        offset = end
        if most and kept >= most:
            return offset, False


def _told(line: Prediction, wanted: Wanted) -> bytes:
    inputs = {name: value for name, value in line.inputs.items() if name not in wanted.drop}
    return _encoder.encode(replace(line, inputs=inputs)) + b"\n"


def _where(place: Place) -> bytes:
    return canonical({"next": str(place)}) + b"\n"


def _is_before(path: Path, since: datetime | None) -> bool:
    """Whether nothing of a segment is as young: it was written to for the last time before that."""
    if since is None:
        return False
    try:
        return path.stat().st_mtime < since.timestamp() - 1
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    for one in (path, path.with_suffix(predictions.SEALED)):
        try:
            return one.stat().st_size
        except FileNotFoundError:
            continue
    return 0
