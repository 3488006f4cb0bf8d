"""The records of the object store: files of a tree, packs and chunks as the metadata keeps them, problems found."""

from __future__ import annotations

from typing import Literal

import msgspec

from falaj.core.records import Record

ProblemSort = Literal["damaged", "missing", "wrong_key", "destroyed", "away"]


class FileEntry(Record, frozen=True, kw_only=True):
    """One file of a tree.

    Attributes:
        path: names joined by `/`.
        digest: `b3k:` keyed digest of the content: of its one chunk, or of the list of its chunks. Equal content in
            one key domain, cut the same way, has an equal digest.
        levels: 0 where the content is one chunk (or empty), else the height of its list of chunks.
        sha256: `sha256:` digest of the plain bytes, where it was asked for.
    """

    path: str
    size: int
    digest: str
    levels: int
    sha256: str | None = None


class Change(Record, frozen=True, kw_only=True):
    """One path that differs between two trees: added (no `before`), removed (no `after`), or changed."""

    path: str
    before: FileEntry | None
    after: FileEntry | None


class ChunkPlace(msgspec.Struct, frozen=True, gc=False):
    """Where a chunk rests: `length` sealed bytes (ciphertext and 16 of tag) at `offset` of the pack."""

    pack: str
    offset: int
    length: int
    raw_length: int


class PackRecord(Record, frozen=True, kw_only=True):
    """A row of the pack table; `size` is that of the whole blob."""

    id: str
    location: str
    domain: str
    epoch: int
    size: int
    upload: str
    created_at: str


class StagedPack(Record, frozen=True, kw_only=True):
    """A pack that an upload wrote; what its directory lists becomes rows of the chunk index.

    Attributes:
        start: where its first object begins.
        directory: as in the pack, 41 bytes an object.
    """

    record: PackRecord
    start: int
    directory: bytes


class Staged(Record, frozen=True, kw_only=True):
    """What an upload left in the location, synced; nothing names it until the caller commits these rows.

    Attributes:
        location: name of the location where all of it rests.
        root: digest of the tree.
        size_bytes: of all files of the tree.
        stored_bytes: of the packs that this upload added.
        reused: packs of earlier uploads that hold a chunk which this one met again. The transaction that commits must
            see that each still has its row, and that the upload's own row is still there; else refuse.
    """

    domain: str
    location: str
    upload: str
    root: str
    size_bytes: int
    stored_bytes: int
    files: int
    packs: tuple[StagedPack, ...]
    reused: frozenset[str]


class Problem(Record, frozen=True, kw_only=True):
    """One thing that verification found wrong.

    Attributes:
        version: the first version met that needs it, `asset id/number`; "" where none does.
        path: the first file met that needs it; "" where it is not of one file.
    """

    sort: ProblemSort
    message: str
    next_step: str = ""
    domain: str = ""
    pack: str = ""
    chunk: str = ""
    version: str = ""
    path: str = ""
