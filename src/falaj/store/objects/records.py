"""The records of the object store: files of a tree, packs and chunks as the metadata keeps them, problems found."""

from __future__ import annotations

from typing import Literal

import msgspec

from falaj.core.records import Record


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


class ChunkRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row of the chunk index."""

    domain: str
    name: bytes
    pack: str
    start: int
    length: int
    raw_length: int

    @property
    def place(self) -> ChunkPlace:
        """Where it rests."""
        return ChunkPlace(self.pack, self.start, self.length, self.raw_length)


class PackRecord(Record, frozen=True, kw_only=True):
    """A row of the pack table; `size` is that of the whole blob."""

    id: str
    location: str
    domain: str
    epoch: int
    size: int
    upload: str
    created_at: str


class Staged(Record, frozen=True, kw_only=True):
    """What an upload left in the location, synced; nothing names it until the caller commits these rows.

    Attributes:
        root: digest of the tree.
        size_bytes: of all files of the tree.
        stored_bytes: of the packs that this upload added.
        reused: packs of earlier uploads that this one counts on. The transaction that commits must see that each still
            has its row, and that the upload's own row is still there; else refuse, and the upload is done again.
    """

    domain: str
    upload: str
    root: str
    size_bytes: int
    stored_bytes: int
    file_count: int
    packs: tuple[PackRecord, ...]
    chunks: tuple[ChunkRecord, ...]
    reused: frozenset[str]


class Problem(Record, frozen=True, kw_only=True):
    """One thing that verification found wrong."""

    sort: Literal["damaged", "missing", "wrong_key", "destroyed"]
    message: str
    domain: str
    root: str = ""
    pack: str = ""
    chunk: str = ""
    path: str = ""
