"""The prediction log: what inference servers write, and what watches a rollout and a model's fate reads.

A folder of segments. `<id>.open` is being written by a living server, which holds a lock on it; `<id>.jsonl` is sealed
and never changes again. Ids sort by time. A line is one row of one answer, written before the answer was sent.
Segments of servers on other hosts may be brought into folders below it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from falaj.core.bundle import Role
from falaj.core.errors import Damaged

SEALED: Final = ".jsonl"
OPEN: Final = ".open"
_ASK: Final = "seal"
_PIECE: Final = 16 << 20

Value = str | int | float | bool | None


class Prediction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line.

    Attributes:
        id: of the answer, as its client was told; rows of one answer share it.
        row: place in the answer, from 0.
        at: `encoding.moment` of the answer.
        key: what the client called the thing that the prediction is about; "" where it did not say.
        inputs: by name, without those that the bundle's log rule drops.
        output: probability that the label is true; None where the model failed, then `error` says how.
        ms: from the request's last byte to the answer.
    """

    id: str
    at: str
    deployment: str
    revision: int
    model: str
    version: int
    role: Role
    inputs: dict[str, Value]
    ms: float
    key: str = ""
    row: int = 0
    output: float | None = None
    error: str | None = None


_decoder = msgspec.json.Decoder(Prediction)


def sealed(log: Path) -> list[Path]:
    """The segments that never change again, oldest first."""
    return sorted(log.glob(f"*{SEALED}"))


def brought(log: Path) -> list[Path]:
    """Sealed segments that were brought from other hosts, those of each in a folder of its own below the log."""
    return sorted(log.glob(f"*/*{SEALED}"))


def unsealed(log: Path) -> list[Path]:
    """The segments being written, oldest first."""
    return sorted(log.glob(f"*{OPEN}"))


def read(path: Path, offset: int = 0) -> tuple[list[Prediction], int]:
    """The whole lines from an offset on, at most about 16 MiB of them, and the offset after them.

    Raises: Damaged for a line that is none, FileNotFoundError where it was sealed (renamed) meanwhile.
    """
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(_PIECE)
    end = data.rfind(b"\n") + 1
    try:
        return _decoder.decode_lines(data[:end]), offset + end
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{path.name}: not a prediction, at byte {offset} or after", next_step="restore it") from error


def ask_seal(log: Path) -> None:
    """Ask the living server to seal what it has; it does so within a quarter of a second."""
    log.mkdir(parents=True, exist_ok=True)
    (log / _ASK).touch()


def take_ask(log: Path) -> bool:
    """Whether a seal was asked for since the last time."""
    try:
        (log / _ASK).unlink()
    except OSError:
        return False
    return True


def seal_left(log: Path) -> list[Path]:
    """Seal what servers left behind that are no more; segments of living ones stay. A torn last line is cut off."""
    done = []
    for path in unsealed(log):
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, _end_of_lines(handle))
            if (target := seal(handle, path)) is not None:
                done.append(target)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
    return done


def seal(handle: int, path: Path) -> Path | None:
    """Seal an open segment whose lock the caller holds; an empty one is removed. Returns: where it is now."""
    if os.fstat(handle).st_size == 0:
        path.unlink(missing_ok=True)
        return None
    os.fsync(handle)
    target = path.with_suffix(SEALED)
    path.rename(target)
    return target


def _end_of_lines(handle: int) -> int:
    at = os.fstat(handle).st_size
    while at > 0:
        start = max(0, at - 65536)
        found = os.pread(handle, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0
