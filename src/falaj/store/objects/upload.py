"""One upload: files in, packs and a manifest in the location, synced; then the caller commits the rows that name them.

An upload belongs to the process that began it and is never resumed. Its packs carry its id in their names, so that
garbage collection can tell the packs of a running upload from those of one that died.

Memory: the window, one pack, 41 bytes for each new chunk, and the files' own names; whatever the size of a file.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO, NamedTuple, Self

from falaj.core.digests import b3k
from falaj.core.errors import Invalid
from falaj.core.names import tree_path
from falaj.store.keys import DomainKeys
from falaj.store.keys.store import now
from falaj.store.objects import nodes
from falaj.store.objects.chunking import Chunking, Cutter
from falaj.store.objects.errors import ContentUnknown, LocationUnfit, UploadClosed
from falaj.store.objects.index import ChunkIndex
from falaj.store.objects.location import Buffer, Location
from falaj.store.objects.nodes import IS_DIRECTORY, Entry, Root, Span
from falaj.store.objects.pack import CAPACITY, CHUNK, MAX_OBJECT, NODE, TARGET_SIZE, PackWriter, Squeezer, name_of
from falaj.store.objects.records import FileEntry, PackRecord, Staged, StagedPack

PACKS = "packs/"
MAX_DEPTH = 64
_WINDOW = 4 << 20
_REMEMBERED = 1 << 18


class _Waiting(NamedTuple):
    """A chunk in the window, cut and named, not yet looked up."""

    name: bytes
    offset: int
    length: int


class _Directory:
    """A directory while the tree is being built."""

    def __init__(self) -> None:
        self.files: dict[str, FileEntry] = {}
        self.folders: dict[str, _Directory] = {}


class _Tally:
    """What is learnt of a file while its stream is read."""

    def __init__(self, *, sha256: bool) -> None:
        self.size = 0
        self._plain = hashlib.sha256() if sha256 else None

    def add(self, data: memoryview) -> None:
        self.size += len(data)
        if self._plain is not None:
            self._plain.update(data)

    @property
    def sha256(self) -> str | None:
        return "sha256:" + self._plain.hexdigest() if self._plain is not None else None


def pack_name(pack: str) -> str:
    """A pack's name in its location."""
    return PACKS + pack


def upload_of(pack: str) -> str:
    """The upload that wrote a pack: its id without the number."""
    return pack.partition("-")[0]


class Upload:
    """Files on their way into one key domain. For one thread and one process; a context that abandons unless finished.

    Args:
        index: of the domain in this location.
        upload: id of the upload, whose row the caller has committed before, so that nothing it counts on is collected.
        chunking: how files are cut; at most 512 KiB a chunk.
        pack_size: the size at which a pack is full, in bytes; at most 32 MiB.
        alive: told after each pack; keeps the upload's row from expiring.
    """

    def __init__(
        self,
        location: Location,
        keys: DomainKeys,
        index: ChunkIndex,
        *,
        upload: str,
        chunking: Chunking | None = None,
        pack_size: int = TARGET_SIZE,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.id, self.domain = upload, keys.domain
        self._location, self._keys, self._index, self._alive = location, keys, index, alive
        self._pack_size = pack_size
        self._cutter = Cutter(chunking or Chunking())
        if not 0 < self._cutter.chunking.largest <= MAX_OBJECT // 2:
            raise Invalid(f"chunking: largest is {self._cutter.chunking.largest}, at most {MAX_OBJECT // 2}")
        self._squeezer = Squeezer()
        self._window = _memory(_WINDOW)
        self._filled = 0
        self._waiting: list[_Waiting] = []
        self._seen: dict[bytes, None] = {}
        self._top = _Directory()
        self._buffer: memoryview | None = None
        self._writer: PackWriter | None = None
        self._packs: list[StagedPack] = []
        self._reused: set[str] = set()
        self._pid = os.getpid()
        self._closed = ""

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
        path = self._free(path)
        tally = _Tally(sha256=sha256)
        spans = self._spans(source, tally)
        head = list(islice(spans, 2))
        if len(head) == 2:
            ref, levels = nodes.store_chunks(chain(head, spans), self._store_node)
        else:
            ref, levels = head[0].ref if head else name_of(self._keys, CHUNK, b""), 0
        entry = FileEntry(path=path, size=tally.size, digest=b3k(ref), levels=levels, sha256=tally.sha256)
        return self._put(path, entry)

    def keep(self, entries: Sequence[FileEntry]) -> None:
        """Put content that the domain holds in this location at the paths of its entries: no byte is moved.

        Raises: ContentUnknown where one is not held: then none is put; InvalidName, Invalid.
        """
        self._check_open()
        refs = {_raw(entry.digest): entry for entry in entries if entry.size}
        held = self._index.find(list(refs))
        for ref, entry in refs.items():
            if ref not in held:
                raise ContentUnknown(
                    f"{entry.path}: {entry.digest} is not in key domain {self._keys.domain}",
                    next_step="add the file itself",
                )
        for entry in entries:
            self._put(self._free(entry.path), entry)
        self._reused.update(place.pack for place in held.values())

    def finish(self) -> Staged:
        """Store the manifest and the last pack; all is synced when this returns. Ends the upload."""
        self._check_open()
        self._flush()
        top = self._store_directory(self._top)
        chunking = str(self._cutter.chunking)
        root = nodes.store_root(Root(nodes.FORMAT, chunking, top.ref, top.files, top.size), self._store_node)
        self._put_pack()
        self._close("is finished")
        return Staged(
            domain=self._keys.domain,
            location=self._location.place.name,
            upload=self.id,
            root=b3k(root),
            size_bytes=top.size,
            stored_bytes=sum(pack.record.size for pack in self._packs),
            files=top.files,
            packs=tuple(self._packs),
            reused=frozenset(self._reused),
        )

    def abandon(self) -> None:
        """End the upload and remove its packs; nothing where it is finished. Raises: UploadClosed."""
        self._check_process()
        if self._closed == "is finished":
            return
        self._close("was given up")
        while self._packs:
            self._location.delete(pack_name(self._packs[-1].record.id))
            self._packs.pop()

    # files into chunks

    def _spans(self, source: BinaryIO, tally: _Tally) -> Iterator[Span]:
        """Cut the stream through the window; the chunks of several small files wait in it together."""
        start, ended = self._filled, False  # what a source that failed left behind is not cut
        while not ended:
            if _WINDOW - self._filled < self._cutter.chunking.largest:
                start = self._turn(start)
            ended = self._fill(source, tally)
            data = self._window[start : self._filled]
            cut = 0
            for offset, length in self._cutter.cut(data, last=ended):
                name = name_of(self._keys, CHUNK, data[offset : offset + length])
                self._waiting.append(_Waiting(name, start + offset, length))
                cut = offset + length
                yield Span(name, length)
            start += cut

    def _fill(self, source: BinaryIO, tally: _Tally) -> bool:
        """Read until the window is full; whether the stream has ended."""
        while self._filled < _WINDOW:
            room = self._window[self._filled :]
            count = _read_into(source, room)
            if not count:
                return True
            tally.add(room[:count])
            self._filled += count
        return False

    def _turn(self, start: int) -> int:
        """Store what waits and bring the uncut rest, from `start`, to the front of the window."""
        self._flush()
        rest = bytes(self._window[start : self._filled])
        self._window[: len(rest)] = rest
        self._filled = len(rest)
        return 0

    # chunks into packs

    def _flush(self) -> None:
        """Look the waiting chunks up together; store those that neither the domain nor this upload has."""
        names = {waiting.name for waiting in self._waiting if waiting.name not in self._seen}
        held = self._index.find(list(names)) if names else {}
        self._reused.update(place.pack for place in held.values())
        for name, offset, length in self._waiting:
            if name in self._seen:
                continue
            if name not in held:
                self._store(CHUNK, name, self._window[offset : offset + length])
            self._remember(name)
        self._waiting.clear()

    def _store_node(self, data: bytes) -> bytes:
        name = name_of(self._keys, NODE, data)
        if name not in self._seen:
            place = self._index.find([name]).get(name)
            if place is None:
                self._store(NODE, name, data)
            else:
                self._reused.add(place.pack)
            self._remember(name)
        return name

    def _remember(self, name: bytes) -> None:
        """Bounded: a chunk that comes again after very many others is stored twice, which is waste and no error."""
        if len(self._seen) >= _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[name] = None

    def _store(self, kind: bytes, name: bytes, data: Buffer) -> None:
        if self._writer is not None and self._writer.is_full:
            self._put_pack()
        if self._writer is None:
            self._buffer = self._buffer or _memory(CAPACITY)
            pack = f"{self.id}-{len(self._packs) + 1}"
            self._writer = PackWriter(self._keys, pack, self._buffer, target=self._pack_size)
        self._writer.add(kind, name, self._squeezer.squeeze(data), len(data))

    def _put_pack(self) -> None:
        """Put the open pack. Where that fails the upload is over: a pack is never sealed twice."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        closed, self._closed = self._closed, "failed to put a pack"
        body = writer.finish()
        record = PackRecord(
            id=writer.id,
            location=self._location.place.name,
            domain=self._keys.domain,
            epoch=writer.epoch,
            size=len(body),
            upload=self.id,
            created_at=now(),
        )
        self._packs.append(StagedPack(record=record, start=writer.start, directory=writer.directory))
        if not self._location.put_if_absent(pack_name(writer.id), body):
            raise LocationUnfit(f"pack {writer.id}: the name is taken in location {record.location}")
        self._alive()
        self._closed = closed

    # files into a tree

    def _free(self, path: str) -> str:
        """The path in its normal form, where a file may still be put. Raises: InvalidName, Invalid."""
        self._check_open()
        path = tree_path(path)
        *folders, name = path.split("/")
        if len(folders) >= MAX_DEPTH:
            raise Invalid(f"{path}: nested deeper than {MAX_DEPTH} folders", next_step="flatten the tree")
        at: _Directory | None = self._top
        for part in folders:
            if at is not None and part in at.files:
                raise Invalid(f"{path}: {part} is a file of the tree already", next_step="give each file one path")
            at = at.folders.get(part) if at is not None else None
        if at is not None and (name in at.files or name in at.folders):
            raise Invalid(f"{path}: is in the tree already", next_step="give each file one path")
        return path

    def _put(self, path: str, entry: FileEntry) -> FileEntry:
        *folders, name = path.split("/")
        at = self._top
        for part in folders:
            at = at.folders.setdefault(part, _Directory())
        at.files[name] = entry
        return entry

    def _store_directory(self, directory: _Directory) -> Entry:
        """Store a directory with all below; its entry, without a name."""
        entries = [
            Entry(name, _raw(f.digest), f.size, f.levels, 1, _raw(f.sha256) if f.sha256 else None)
            for name, f in directory.files.items()
        ]
        for name, folder in directory.folders.items():
            below = self._store_directory(folder)
            entries.append(Entry(name, below.ref, below.size, IS_DIRECTORY, below.files, None))
        entries.sort(key=lambda entry: entry.name)
        ref = nodes.store_directory(entries, self._store_node)
        return Entry("", ref, sum(e.size for e in entries), IS_DIRECTORY, sum(e.files for e in entries), None)

    # open, finished, given up

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise UploadClosed(
                f"upload {self.id}: was begun in process {self._pid}, this is {os.getpid()}",
                next_step="begin an upload in this process: a pack is never written by two",
            )

    def _check_open(self) -> None:
        self._check_process()
        if self._closed:
            raise UploadClosed(f"upload {self.id}: {self._closed}", next_step="begin another one")

    def _close(self, how: str) -> None:
        self._closed = how
        self._writer = self._buffer = None


def _memory(size: int) -> memoryview:
    """Memory of which only what is used is ever touched: most uploads are small."""
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def _raw(digest: str) -> bytes:
    return bytes.fromhex(digest.partition(":")[2])


def _read_into(source: BinaryIO, room: memoryview) -> int:
    """Read once, into the window itself where the stream can. 0 at the end."""
    readinto = getattr(source, "readinto", None)
    if readinto is not None:
        count: int | None = readinto(room)
        if count is None:
            raise BlockingIOError("the stream would block: give one that waits for its bytes")
        return count
    data = source.read(len(room))
    room[: len(data)] = data
    return len(data)
