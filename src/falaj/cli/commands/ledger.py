"""The ledger into a folder for strangers: checked while it is written, there whole or not at all."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

from falaj.cli import target
from falaj.core.errors import Damaged
from falaj.session import Progress, Session

MAX_HEAD = 1 << 20


class ExportCut(Damaged):
    """What came is not an export of a ledger: cut short, or of another form."""

    code, status = "export_cut", 502


def export(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Write leaves, checkpoint and key into a new or empty folder.

    Raises: ExportExists, ExportFailed, ExportCut, CheckpointInvalid, LedgerDamaged; nothing is left behind then.
    """
    from falaj.store.ledger.export import export as write

    into = target.below(options, args["into"])
    lines = lines_of(session.stream("ledger.export"))
    note, vkey = _head(next(lines, b""))
    checkpoint = write(into, _told(lines, _size(note), progress), note, vkey)
    return {"folder": str(into), "size": checkpoint.size, "root": b64encode(checkpoint.root).decode()}


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream without their newlines; the last must have one. Raises: ExportCut."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        raise ExportCut(f"the export ends within a line, after {len(rest)} bytes", next_step="export again")


def _head(line: bytes) -> tuple[str, str]:
    import json

    try:
        head = json.loads(line) if len(line) <= MAX_HEAD else {}
        return str(head["checkpoint"]), str(head["vkey"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExportCut("the export does not begin with its checkpoint", next_step="export again") from error


def _size(note: str) -> int:
    """How many leaves a note says there are, before its signature is checked: for the bar alone."""
    size = note.split("\n")[1:2]
    return int(size[0]) if size and size[0].isdecimal() and len(size[0]) < 19 else 0


def _told(leaves: Iterable[bytes], total: int, progress: Progress) -> Iterator[bytes]:
    for done, leaf in enumerate(leaves):
        if done % 1000 == 0:
            progress("exporting", done, total)
        yield leaf
