"""One tree of files, read: list, find, stream, compare. Every byte given is checked against the tree's root."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from falaj.core.digests import b3k
from falaj.core.errors import Damaged, FalajError, InvalidName
from falaj.core.names import name as checked_part
from falaj.core.names import printable
from falaj.store.objects import nodes
from falaj.store.objects.errors import FileMissing, TreeDamaged
from falaj.store.objects.nodes import IS_DIRECTORY, Chunks, Entry, Names, Node, Root, Span
from falaj.store.objects.reader import Reader
from falaj.store.objects.records import Change, FileEntry


class Tree:
    """A tree by its root digest.

    Everything raises what `Reader.node` raises, TreeDamaged where a node does not say what its place requires, and
    names the path that it was reading in the error's facts.
    """

    def __init__(self, reader: Reader, root: str) -> None:
        self.reader = reader
        self.root = bytes.fromhex(root.removeprefix("b3k:"))

    def head(self) -> Root:
        """The root node. Raises: TreeDamaged where it is of a newer format."""
        found = nodes.expect(self.reader.node(self.root), Root)
        if found.v != nodes.FORMAT:
            raise TreeDamaged(f"tree {b3k(self.root)}: format {found.v}, this Falaj knows {nodes.FORMAT}")
        return found

    def files(self) -> Iterator[FileEntry]:
        """All files, directory by directory, each in order of its names."""
        waiting = [("", self.head().directory)]
        while waiting:
            prefix, ref = waiting.pop()
            below = []
            for entry in nodes.entries_of(ref, self.reader.node):
                path = _joined(prefix, entry.name)
                if entry.levels == IS_DIRECTORY:
                    below.append((path, entry.ref))
                else:
                    yield _file(path, entry)
            waiting += reversed(below)

    def find(self, path: str) -> FileEntry:
        """One file, by one page a level. Raises: FileMissing."""
        ref = self.head().directory
        *folders, name = path.split("/")
        for part in folders:
            entry = nodes.find_entry(ref, part, self.reader.node)
            if entry is None or entry.levels != IS_DIRECTORY:
                raise _missing(path)
            ref = entry.ref
        entry = nodes.find_entry(ref, name, self.reader.node)
        if entry is None or entry.levels == IS_DIRECTORY:
            raise _missing(path)
        return _file(path, entry)

    def stream(self, file: FileEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes of a file in [start, end), whole by default; then SHA-256 is checked too, where it is known."""
        end = file.size if end is None else min(end, file.size)
        plain = hashlib.sha256() if file.sha256 and (start, end) == (0, file.size) else None
        at = start
        try:
            for offset, data in self._chunks(file, start, end):
                part = data[max(start - offset, 0) : end - offset]
                at += len(part)
                if plain is not None:
                    plain.update(part)
                yield part
        except Damaged as error:
            error.facts.setdefault("path", file.path)
            raise
        if at < end or (plain is not None and f"sha256:{plain.hexdigest()}" != file.sha256):
            what = f"gives {at - start} of {end - start} bytes" if at < end else "is not what its SHA-256 says"
            raise TreeDamaged(f"{file.path}: {what}", facts={"path": file.path, "root": b3k(self.root)})

    def _chunks(self, file: FileEntry, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(offset in the file, bytes) of every chunk that covers a byte of [start, end)."""
        if start >= end:
            return
        offsets: list[int] = []
        for data in self.reader.chunks(self._spans(file, start, end, offsets)):
            yield offsets.pop(0), data

    def _spans(self, file: FileEntry, start: int, end: int, offsets: list[int]) -> Iterator[Span]:
        ref = bytes.fromhex(file.digest.removeprefix("b3k:"))
        if not file.levels:
            offsets.append(0)
            yield Span(ref, file.size)
            return
        for offset, span in nodes.chunks_between(ref, file.levels, start, end, self.reader.node):
            offsets.append(offset)
            yield span


class Reached(NamedTuple):
    """An object that a tree needs.

    Attributes:
        path: of the file or directory that it is part of.
        file: where it is the whole of a file or the top of its chunk list.
    """

    name: bytes
    path: str
    file: FileEntry | None = None


def reached(tree: Tree, seen: set[bytes], failed: Callable[[str, FalajError], None] | None = None) -> Iterator[Reached]:
    """Every object that a tree needs: its nodes, each before what is below it, and its chunks.

    Args:
        seen: names of the nodes whose subtrees were walked before: they are skipped, and this walk's are added.
        failed: told the path and the error where a node cannot be read; the walk goes on beside it. Without it the
            error is raised.
    """
    waiting = [Reached(tree.root, "")]
    while waiting:
        at = waiting.pop()
        if at.name in seen:
            continue
        seen.add(at.name)
        yield at
        try:
            node = tree.reader.node(at.name)
            waiting += _nodes_below(node, at.path)
        except FalajError as error:
            if failed is None:
                raise
            failed(at.path, error)
            continue
        if isinstance(node, Names):
            for entry in node.entries:
                if entry.levels == 0 and entry.size:
                    yield _reach(at.path, entry)
        elif isinstance(node, Chunks):
            for span in nodes.chunk_spans(node):
                yield Reached(span.ref, at.path)


def _nodes_below(node: Node, path: str) -> list[Reached]:
    if isinstance(node, Root):
        return [Reached(node.directory, path)]
    if isinstance(node, Names):
        return [_reach(path, entry) for entry in reversed(node.entries) if entry.levels]
    return [Reached(ref, path) for ref in reversed(nodes.pages_below(node))]


def _reach(prefix: str, entry: Entry) -> Reached:
    path = _joined(prefix, entry.name)
    return Reached(entry.ref, path, None if entry.levels == IS_DIRECTORY else _file(path, entry))


def differences(before: Tree, after: Tree) -> Iterator[Change]:
    """Every path that differs between two trees of one key domain; equal subtrees are skipped unread.

    A file that became a directory, or the reverse, is told as files removed and files added.
    """
    if before.root == after.root:
        return
    waiting = [("", before.head().directory, after.head().directory)]
    while waiting:
        prefix, left, right = waiting.pop()
        old, new = nodes.differing_entries(left, right, before.reader.node)
        for name in sorted(old.keys() | new.keys()):
            path, was, now = _joined(prefix, name), old.get(name), new.get(name)
            if was == now:
                continue
            if was and now and was.levels == now.levels == IS_DIRECTORY:
                waiting.append((path, was.ref, now.ref))
                continue
            yield from _changed(path, was, now, before, after)


def _changed(path: str, was: Entry | None, now: Entry | None, before: Tree, after: Tree) -> Iterator[Change]:
    old = {f.path: f for f in _below(path, was, before)}
    new = {f.path: f for f in _below(path, now, after)}
    for each in sorted(old.keys() | new.keys()):
        yield Change(path=each, before=old.get(each), after=new.get(each))


def _below(path: str, entry: Entry | None, tree: Tree) -> Iterator[FileEntry]:
    """The file, or every file of the directory."""
    if entry is None:
        return
    if entry.levels != IS_DIRECTORY:
        yield _file(path, entry)
        return
    for inner in nodes.entries_of(entry.ref, tree.reader.node):
        yield from _below(_joined(path, inner.name), inner, tree)


def _joined(prefix: str, name: str) -> str:
    """A path of the tree; a name that could lead out of a folder is no name of ours, whoever wrote it."""
    try:
        part = checked_part(name)
    except InvalidName as error:
        raise TreeDamaged(f"a tree holds the name {printable(name)}") from error
    return f"{prefix}/{part}" if prefix else part


def _file(path: str, entry: Entry) -> FileEntry:
    sha256 = f"sha256:{entry.sha256.hex()}" if entry.sha256 else None
    return FileEntry(path=path, size=entry.size, digest=b3k(entry.ref), levels=entry.levels, sha256=sha256)


def _missing(path: str) -> FileMissing:
    return FileMissing(f"{printable(path)}: no such file in this version", next_step="list its files")
