"""A bundle that leaves the house: as a stream of one tar archive, and as a folder that `falaj serve` serves elsewhere.

What is written is what was signed: the document, the files of its models, the number in force. Whoever takes it in
verifies all of it against the key that they were told by the platform, and has the whole folder or none.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, cast

from falaj.core import bundle as b
from falaj.core.bundle import Bundle
from falaj.core.bundle_folder import BundleFolder
from falaj.core.errors import Damaged, FalajError
from falaj.core.names import tree_path

README, KEY = "README.md", "key"
MOST_FILES: Final = 20_000
_PIECE: Final = 1 << 20
_TEXT: Final = """\
# {deployment}, revision {revision}

A signed serving bundle, exported from Falaj. It needs neither the platform nor its database:

    falaj serve . --key {key}

Asked on http://127.0.0.1:7410, `POST /v2/models/{model}/infer`; see docs/serving.md of Falaj.

Compare the key with the one that `falaj deploy status {deployment}` says where this came from: a key that came with the
folder proves nothing. The server verifies the signature and every file before it serves any of it.

| | |
|---|---|
{routes}
| issued | {issued}, lease until {lease} |

What it cannot do here:

- It learns of no change. A version that is revoked, retired or rolled back where it came from goes on answering here
  until this folder is replaced: export again, into a new folder, and serve that one. Do so on every rollback.
- Its lease is not renewed. The server goes on after it is over, and says so (`falaj_serving_lease_seconds`).
- Its predictions are logged here, in `log/`, and nowhere else: nothing watches them for drift, and no outcome is joined
  to them, unless the folder is brought back.
"""


def pieces(folder: BundleFolder, bundle: Bundle, document: bytes, key: str) -> Iterator[bytes]:
    """The archive. Every file is opened before this returns, so what is replaced meanwhile spoils nothing.

    Raises: BundleDamaged where a file is missing.
    """
    files = ExitStack()
    opened: list[tuple[str, IO[bytes], int]] = []
    try:
        for version, model in bundle.models.items():
            for file in model.files:
                stream = files.enter_context(folder.opened(version, file))
                opened.append((f"models/{version}/{file.path}", stream, file.size_bytes))
    except BaseException:
        files.close()
        raise
    small = {
        README: _readme(bundle, key).encode(),
        KEY: f"{key}\n".encode(),
        f"{bundle.revision}.json": document,
        "current": b"%d\n" % bundle.revision,
    }
    return _archived(small, opened, files)


def write(archive: Iterable[bytes], into: Path, key: str) -> Bundle:
    """Take in an archive and verify it.

    Args:
        into: a folder that is being made: whoever calls throws it away where this raises.
        key: that the platform names (`core.bundle.key_name`); the one in the archive is not believed.
    Returns: the bundle.
    Raises: Damaged, BundleDamaged, BundleRefused; OSError.
    """
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Stream(archive)), mode="r|") as tar:
            for number, member in enumerate(tar):
                body = tar.extractfile(member) if member.isreg() else None
                if body is None or number >= MOST_FILES or member.size > b.MAX_FILE:
                    raise Damaged(f"{member.name[:80]}: no such thing belongs to an export", next_step="export again")
                _put(into, member.name, body)
    except tarfile.TarError as error:
        raise Damaged(f"the export is cut short: {error}", next_step="export again") from error
    folder = BundleFolder(into)
    found = b.verify(folder.document(folder.revision()), [b.parse_key(key)])
    for version, model in found.models.items():
        for file in model.files:
            folder.file(version, file)
    (into / KEY).write_text(f"{key}\n", encoding="utf-8")
    return found


def _put(into: Path, name: str, body: IO[bytes]) -> None:
    """Write one file at its place. Raises: Damaged for a place that leads out."""
    try:
        target = into / tree_path(name)
    except FalajError as error:
        raise Damaged(f"{name[:80]}: leads out of the folder", next_step="export again") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        while piece := body.read(_PIECE):
            out.write(piece)


def _readme(bundle: Bundle, key: str) -> str:
    rows = [f"| {route.role} | v{route.version}, {route.share / 100:g} % |" for route in bundle.routes]
    return _TEXT.format(
        deployment=bundle.deployment,
        revision=bundle.revision,
        model=bundle.model,
        key=key,
        routes="\n".join(rows),
        issued=bundle.issued_at,
        lease=bundle.lease_until,
    )


def _archived(small: dict[str, bytes], opened: list[tuple[str, IO[bytes], int]], files: ExitStack) -> Iterator[bytes]:
    with files:
        for name, data in small.items():
            yield _head(name, len(data)) + data + _padding(len(data))
        for name, stream, size in opened:
            yield _head(name, size)
            while piece := stream.read(_PIECE):
                yield piece
            yield _padding(size)
        yield bytes(2 * tarfile.BLOCKSIZE)


def _head(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


class _Stream:
    """Pieces as a file that is read once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """At most so many bytes, fewer at the end only."""
        parts, have = [self._rest], len(self._rest)
        while have < size and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]
