"""One upload: files in, packs and a manifest in the location, synced; then the caller commits the rows that name them.

An upload belongs to the process that began it and is never resumed. Its packs carry its id in their names, so that
garbage collection can tell the packs of a running upload from those of one that died.
"""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO, NamedTuple, Self

from falaj.core.digests import b3k
from falaj.core.errors import Conflict, Invalid
from falaj.core.names import tree_path
from falaj.store.keys import DomainKeys
from falaj.store.keys.store import now
from falaj.store.objects import nodes
from falaj.store.objects.chunking import Chunking, Cutter
from falaj.store.objects.errors import ContentUnknown, UploadClosed
from falaj.store.objects.index import ChunkIndex
from falaj.store.objects.location import Location
from falaj.store.objects.nodes import IS_DIRECTORY, Entry, Root, Span
from falaj.store.objects.pack import CAPACITY, CHUNK, MAX_OBJECT, NODE, PackWriter, Squeezer, name_of
from falaj.store.objects.records import ChunkPlace, ChunkRecord, FileEntry, PackRecord, Staged

PACKS = "packs/"
_WINDOW = 4 << 20
_SHRINKS = 15 / 16


class _Waiting(NamedTuple):
    """A chunk in the window, cut and named, not yet looked up."""

    name: bytes
    offset: int
    length: int
    file: int


class _Directory:
    """A directory while the tree is being built."""

    def __init__(self) -> None:
        self.files: dict[str, FileEntry] = {}
        self.folders: dict[str, _Directory] = {}


def pack_name(pack: str) -> str:
    """A pack's name in its location."""
    return PACKS + pack


def upload_of(pack: str) -> str:
    """The upload that wrote a pack: its id without the number."""
    return pack.partition("-")[0]


class Upload:
    """Files on their way into one key domain. For one thread and one process; a context that abandons unless finished.

    Args:
        upload: id of the upload, whose row the caller has committed before, so that nothing it counts on is collected.
        chunking: how files are cut; at most 512 KiB a chunk.
    """

    def __init__(
        self, location: Location, keys: DomainKeys, index: ChunkIndex, *, upload: str, chunking: Chunking | None = None
    ) -> None:
        self.id = upload
        self._location, self._keys, self._index = location, keys, index
        self._cutter = Cutter(chunking or Chunking())
        if not 0 < self._cutter.chunking.largest <= MAX_OBJECT // 2:
            raise Invalid(f"chunking: largest is {self._cutter.chunking.largest}, at most {MAX_OBJECT // 2}")
        self._squeezer = Squeezer()
        self._window = bytearray(_WINDOW)
        self._filled = 0
        self._waiting: list[_Waiting] = []
        self._files: dict[str, FileEntry] = {}
        self._file_number = 0
        self._raw_file = -1
        self._seen: dict[bytes, ChunkPlace | None] = {}
        self._buffer = bytearray(CAPACITY)
        self._writer: PackWriter | None = None
        self._packs: list[PackRecord] = []
        self._put: list[str] = []
        self._chunks: list[ChunkRecord] = []
        self._reused: set[str] = set()
        self._pid: int | None = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._pid == os.getpid():
            self.abandon()

    def add_file(self, path: str, source: BinaryIO, *, sha256: bool = False) -> FileEntry:
        """Read a stream to its end into the tree, at that path.

        Args:
            sha256: whether to record SHA-256 of the plain bytes as well (models and code, which leave the house).
        Raises: InvalidName, Invalid where the path is taken; whatever the source raises: the file is then not in the
            tree, and the upload may go on.
        """
        path = self._free_path(path)
        plain = hashlib.sha256() if sha256 else None
        spans, size = self._read(source, plain)
        digest, levels = self._content(spans)
        mark = "sha256:" + plain.hexdigest() if plain else None
        entry = FileEntry(path=path, size=size, digest=digest, levels=levels, sha256=mark)
        self._files[path] = entry
        return entry

    def keep(self, path: str, entry: FileEntry) -> FileEntry:
        """Put content that the domain already holds at a path: no byte is read or written.

        Raises: ContentUnknown where the domain does not hold it; InvalidName, Invalid.
        """
        path = self._free_path(path)
        ref = bytes.fromhex(entry.digest.removeprefix("b3k:"))
        if entry.size and not self._has(ref):
            raise ContentUnknown(
                f"{path}: {entry.digest} is not in key domain {self._keys.domain}", next_step="add the file itself"
            )
        kept = FileEntry(path=path, size=entry.size, digest=entry.digest, levels=entry.levels, sha256=entry.sha256)
        self._files[path] = kept
        return kept

    def finish(self) -> Staged:
        """Store the manifest and the last pack; all is synced when this returns. Ends the upload."""
        self._check_open()
        self._flush()
        top = _Directory()
        for path, entry in self._files.items():
            self._place(top, path, entry)
        size = sum(entry.size for entry in self._files.values())
        directory, _ = self._store_directory(top)
        root = Root(nodes.FORMAT, str(self._cutter.chunking), directory, len(self._files), size)
        name = nodes.store_root(root, self._store_node)
        self._put_pack()
        self._pid = None
        return Staged(
            domain=self._keys.domain,
            upload=self.id,
            root=b3k(name),
            size_bytes=size,
            stored_bytes=sum(pack.size for pack in self._packs),
            file_count=len(self._files),
            packs=tuple(self._packs),
            chunks=tuple(self._chunks),
            reused=frozenset(self._reused),
        )

    def abandon(self) -> None:
        """End the upload and remove its packs; nothing where it is finished. Raises: UploadClosed in another process."""
        if self._pid is None:
            return
        self._check_open()
        self._pid = None
        for pack in self._put:
            self._location.delete(pack_name(pack))

    # files into chunks

    def _free_path(self, path: str) -> str:
        self._check_open()
        path = tree_path(path)
        if path in self._files:
            raise Invalid(f"{path}: is in the tree already", next_step="give each file one path")
        return path

    def _read(self, source: BinaryIO, plain: hashlib._Hash | None) -> tuple[list[Span], int]:  # noqa: SLF001
        """Cut the stream through the window; the chunks of several small files wait in it together."""
        self._file_number += 1
        spans: list[Span] = []
        largest = self._cutter.chunking.largest
        start, size, ended = self._filled, 0, False
        with memoryview(self._window) as window:
            while True:
                if _WINDOW - self._filled < largest:
                    start = self._turn(start, window)
                while not ended and self._filled < _WINDOW:
                    with window[self._filled :] as room:
                        count = _read_into(source, room)
                    ended = not count
                    if plain and count:
                        plain.update(window[self._filled : self._filled + count])
                    self._filled, size = self._filled + count, size + count
                with window[start : self._filled] as data:
                    for offset, length in self._cutter.cut(data, last=ended):
                        name = name_of(self._keys, CHUNK, data[offset : offset + length])
                        self._waiting.append(_Waiting(name, start + offset, length, self._file_number))
                        spans.append(Span(name, length))
                start += sum(s.length for s in spans) - (start - self._base(start, spans)) if False else 0
                if ended:
                    return spans, size

    def _content(self, spans: list[Span]) -> tuple[str, int]:
        if not spans:
            return b3k(name_of(self._keys, CHUNK, b"")), 0
        if len(spans) == 1:
            return b3k(spans[0].ref), 0
        ref, levels = nodes.store_chunks(spans, self._store_node)
        return b3k(ref), levels
