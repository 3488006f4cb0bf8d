"""Nodes of a manifest: a Merkle tree of directories and chunk lists, in MessagePack. Pure; see docs/formats.md.

A long directory or chunk list is cut into pages at places chosen by its own content (the name of the entry, the name
of the chunk), so a small change touches a few pages, and equal content gives equal pages whatever its history.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec
from blake3 import blake3

from falaj.store.objects.errors import TreeDamaged

FORMAT = 1
MAX_LEVELS = 12
_DIRECTORY_MEAN, _DIRECTORY_MOST = 128, 512
_CHUNKS_MEAN, _CHUNKS_MOST = 512, 2048
_CHUNK = struct.Struct(">32sI")
_PAGE = struct.Struct(">32sQ")
IS_DIRECTORY = -1


class Root(msgspec.Struct, frozen=True, array_like=True, tag="tree"):
    """The root of a manifest: how its files were cut, its directory, and its sums."""

    v: int
    chunking: str
    directory: bytes
    file_count: int
    size_bytes: int


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One name in a directory.

    Attributes:
        ref: name of the chunk, of the chunk list's top node, or of the directory's top node.
        levels: IS_DIRECTORY, or the height of the chunk list, 0 for one chunk.
        sha256: 32 raw bytes over the plain content, or None.
    """

    name: str
    ref: bytes
    size: int
    levels: int
    files: int
    sha256: bytes | None


class Names(msgspec.Struct, frozen=True, array_like=True, tag="names"):
    """A page of a directory, sorted by name."""

    entries: tuple[Entry, ...]


class Child(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A page below: the last name in it."""

    last: str
    ref: bytes


class NamesAbove(msgspec.Struct, frozen=True, array_like=True, tag="names+"):
    """Pages of a directory, in order."""

    pages: tuple[Child, ...]


class Chunks(msgspec.Struct, frozen=True, array_like=True, tag="chunks"):
    """A page of a chunk list: 36 bytes each, 32 of name and 4 of length."""

    data: bytes


class ChunksAbove(msgspec.Struct, frozen=True, array_like=True, tag="chunks+"):
    """Pages of a chunk list: 40 bytes each, 32 of name and 8 of the total length below."""

    data: bytes


Node = Root | Names | NamesAbove | Chunks | ChunksAbove
_decoder = msgspec.msgpack.Decoder(Node)
_encode = msgspec.msgpack.Encoder().encode
N = TypeVar("N", Root, Names, NamesAbove, Chunks, ChunksAbove)
I = TypeVar("I")  # noqa: E741  item
Store = Callable[[bytes], bytes]
Load = Callable[[bytes], Node]


class Span(NamedTuple):
    """A chunk, or a page of chunks, and how many bytes of the file it covers."""

    ref: bytes
    length: int


def decode(data: bytes) -> Node:
    """A node from its bytes. Raises: TreeDamaged."""
    try:
        node: Node = _decoder.decode(data)
        return node
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TreeDamaged(f"a tree node is of another format: {error}") from error


def expect(node: Node, kind: type[N]) -> N:
    """The node as the kind that its place requires. Raises: TreeDamaged."""
    if not isinstance(node, kind):
        raise TreeDamaged(f"a tree node is {type(node).__name__}, where {kind.__name__} belongs")
    return node


def store_root(root: Root, store: Store) -> bytes:
    """Store the root node; returns its name."""
    return store(_encode(root))


def store_directory(entries: Iterable[Entry], store: Store) -> bytes:
    """Store a directory; returns the name of its top node.

    Args:
        entries: sorted by name, each once.
        store: keeps a node's bytes and returns their name.
    """
    pages = [
        Child(page[-1].name, store(_encode(Names(tuple(page)))))
        for page in _pages(entries, lambda e: e.name.encode(), _DIRECTORY_MEAN, _DIRECTORY_MOST)
    ]
    if not pages:
        return store(_encode(Names(())))
    while len(pages) > 1:
        pages = [
            Child(page[-1].last, store(_encode(NamesAbove(tuple(page)))))
            for page in _pages(pages, lambda c: c.last.encode() + c.ref, _DIRECTORY_MEAN, _DIRECTORY_MOST)
        ]
    return pages[0].ref


def store_chunks(chunks: Iterable[Span], store: Store) -> tuple[bytes, int]:
    """Store a file's chunk list of two or more, page by page; returns (name of the top node, levels)."""
    spans, levels = _store_spans(chunks, _CHUNK, Chunks, store), 1
    while len(spans) > 1:
        spans, levels = _store_spans(spans, _PAGE, ChunksAbove, store), levels + 1
    return spans[0].ref, levels


def chunks_between(ref: bytes, levels: int, start: int, end: int, load: Load) -> Iterator[tuple[int, Span]]:
    """(offset in the file, chunk) of every chunk that covers a byte of [start, end)."""
    if levels > MAX_LEVELS:
        raise TreeDamaged(f"a chunk list of {levels} levels")
    if levels == 1:
        spans = _spans(expect(load(ref), Chunks).data, _CHUNK)
    else:
        spans = _spans(expect(load(ref), ChunksAbove).data, _PAGE)
    at = 0
    for name, length in spans:
        if at >= end:
            return
        if at + length > start:
            if levels == 1:
                yield at, Span(name, length)
            else:
                for inner, span in chunks_between(name, levels - 1, start - at, end - at, load):
                    yield at + inner, span
        at += length


def pages_below(node: Node) -> list[bytes]:
    """Names of the nodes right below a page of pages; of a list's or directory's own nodes only."""
    if isinstance(node, NamesAbove):
        return [page.ref for page in node.pages]
    if isinstance(node, ChunksAbove):
        return [name for name, _ in _spans(node.data, _PAGE)]
    return []


def chunk_spans(node: Chunks) -> list[Span]:
    """The chunks of a page."""
    return [Span(name, length) for name, length in _spans(node.data, _CHUNK)]


def entries_of(ref: bytes, load: Load) -> Iterator[Entry]:
    """All entries of a directory, in order of their names."""
    node = load(ref)
    if isinstance(node, NamesAbove):
        for page in node.pages:
            yield from entries_of(page.ref, load)
    else:
        yield from expect(node, Names).entries


def find_entry(ref: bytes, name: str, load: Load) -> Entry | None:
    """One entry of a directory, by one page at each level."""
    node = load(ref)
    while isinstance(node, NamesAbove):
        page = next((page for page in node.pages if page.last >= name), None)
        if page is None:
            return None
        node = load(page.ref)
    return next((entry for entry in expect(node, Names).entries if entry.name == name), None)


def differing_entries(a: bytes, b: bytes, load: Load) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Entries in pages that one directory has and the other has not; equal pages are skipped unread.

    Returns: two maps by name; a name in both may still be equal.
    """
    left, right = {a: True}, {b: True}
    while True:
        left, right = (
            {r: t for r, t in left.items() if r not in right},
            {r: t for r, t in right.items() if r not in left},
        )
        if not any(left.values()) and not any(right.values()):
            break
        left, right = _expanded(left, load), _expanded(right, load)
    return _entries_in(left, load), _entries_in(right, load)


def _expanded(refs: dict[bytes, bool], load: Load) -> dict[bytes, bool]:
    """Each unread node as the pages below it; what is a leaf is marked as read."""
    out: dict[bytes, bool] = {}
    for ref, unread in refs.items():
        below = pages_below(load(ref)) if unread else []
        out.update(dict.fromkeys(below, True) if below else {ref: False})
    return out


def _entries_in(leaves: dict[bytes, bool], load: Load) -> dict[str, Entry]:
    return {e.name: e for ref in leaves for e in expect(load(ref), Names).entries}


def _spans(data: bytes, form: struct.Struct) -> Iterator[tuple[bytes, int]]:
    if len(data) % form.size:
        raise TreeDamaged("a chunk list is cut short")
    spans: Iterator[tuple[bytes, int]] = form.iter_unpack(data)
    return spans


def _store_spans(
    spans: Iterable[Span], form: struct.Struct, kind: type[Chunks] | type[ChunksAbove], store: Store
) -> list[Span]:
    return [
        Span(store(_encode(kind(b"".join(form.pack(*s) for s in page)))), sum(s.length for s in page))
        for page in _pages(spans, lambda s: s.ref, _CHUNKS_MEAN, _CHUNKS_MOST)
    ]


def _pages(items: Iterable[I], key: Callable[[I], bytes], mean: int, most: int) -> Iterator[list[I]]:
    """Pages of `mean` items on average, at most `most`; a page ends at an item whose key's hash says so."""
    page: list[I] = []
    for item in items:
        page.append(item)
        if len(page) >= 2 and (
            len(page) >= most or int.from_bytes(blake3(key(item)).digest(length=4), "big") % mean == 0
        ):
            yield page
            page = []
    if page:
        yield page
