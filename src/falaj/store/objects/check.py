"""One pack, checked whole: every object decrypts to what its name commits to, and is where the index says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from falaj.core.errors import Damaged, FalajError
from falaj.store.keys import DomainKeys
from falaj.store.keys.errors import KeyDestroyed, WrongKey
from falaj.store.objects.errors import BlobMissing, ChunkMissing, PackDamaged, PackMissing
from falaj.store.objects.location import Location
from falaj.store.objects.pack import CHUNK, MAX_HEADER, NODE, TRAILER_SIZE, Held, OpenPack, directory_place
from falaj.store.objects.records import ChunkPlace, PackRecord, Problem, ProblemSort
from falaj.store.objects.upload import pack_name

_READ_AT_ONCE = 4 << 20
_RESTORE = "restore the pack from a backup or a second location"
_SORTS: tuple[tuple[type[FalajError], ProblemSort], ...] = (
    (KeyDestroyed, "destroyed"),
    (WrongKey, "wrong_key"),
    (BlobMissing, "missing"),
    (PackMissing, "missing"),
    (ChunkMissing, "missing"),
    (Damaged, "damaged"),
)
Indexed = Sequence[tuple[bytes, ChunkPlace]]


def check_pack(
    location: Location, keys: DomainKeys, pack: PackRecord, indexed: Indexed, read: Callable[[int], None]
) -> Iterator[Problem]:
    """All that is wrong with a pack.

    Args:
        indexed: what the chunk index says lies in it.
        read: told the bytes read.
    """
    name = pack_name(pack.id)
    try:
        size = location.size(name)
        opened = OpenPack(keys, pack.id, location.read_range(name, 0, MAX_HEADER))
    except FalajError as error:
        yield problem_of(error, pack.domain, pack.id)
        return
    if size != pack.size:
        yield _damaged(pack, "", f"has {size} bytes, {pack.size} were written")
    try:
        held = _directory(location, opened, size)
    except FalajError as error:
        yield problem_of(error, pack.domain, pack.id)
        held = [Held(b"", chunk, place) for chunk, place in indexed]  # each may still be read by its own place
    there = {(h.name, h.place) for h in held}
    for chunk, place in indexed:
        if (chunk, place) not in there:
            yield _damaged(pack, f"b3k:{chunk.hex()}", "is not where the index says")
    for group in _groups(held):
        start, end = group[0].place.offset, group[-1].place.offset + group[-1].place.length
        try:
            sealed = location.read_range(name, start, end - start)
        except FalajError as error:
            yield problem_of(error, pack.domain, pack.id)
            return
        read(len(sealed))
        yield from _check_group(opened, pack, group, sealed)


def problem_of(error: FalajError, domain: str, pack: str = "", path: str = "") -> Problem:
    """The error as a problem, with what it names."""
    sort: ProblemSort = next((word for kind, word in _SORTS if isinstance(error, kind)), "away")
    return Problem(
        sort=sort,
        message=error.message,
        next_step=error.next_step or (_RESTORE if sort in {"damaged", "missing"} else ""),
        domain=domain,
        pack=str(error.facts.get("pack", pack)),
        chunk=str(error.facts.get("chunk", "")),
        path=str(error.facts.get("path", path)),
    )


def _directory(location: Location, opened: OpenPack, size: int) -> list[Held]:
    name = pack_name(opened.id)
    tail = location.read_range(name, max(size - TRAILER_SIZE, 0), TRAILER_SIZE)
    start, length = directory_place(opened.id, size, tail)
    return opened.directory(size, tail, location.read_range(name, start, length))


def _groups(held: Sequence[Held]) -> Iterator[list[Held]]:
    """Objects that lie back to back, a few MiB at a time."""
    group: list[Held] = []
    for each in held:
        if group and (
            each.place.offset != group[-1].place.offset + group[-1].place.length
            or each.place.offset + each.place.length - group[0].place.offset > _READ_AT_ONCE
        ):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _check_group(opened: OpenPack, pack: PackRecord, group: Sequence[Held], sealed: bytes) -> Iterator[Problem]:
    base = group[0].place.offset
    with memoryview(sealed) as view:
        for kind, name, place in group:
            at = place.offset - base
            try:
                _open(opened, kind, name, place, view[at : at + place.length])
            except PackDamaged as error:
                yield problem_of(error, pack.domain, pack.id)


def _open(opened: OpenPack, kind: bytes, name: bytes, place: ChunkPlace, sealed: memoryview) -> None:
    """Read an object; where the directory that says its kind is lost, it must open as one of them."""
    if kind:
        opened.read(kind, name, place, sealed)
        return
    try:
        opened.read(CHUNK, name, place, sealed)
    except PackDamaged:
        opened.read(NODE, name, place, sealed)


def _damaged(pack: PackRecord, chunk: str, what: str) -> Problem:
    message = f"pack {pack.id}: chunk {chunk} {what}" if chunk else f"pack {pack.id}: {what}"
    return Problem(sort="damaged", message=message, next_step=_RESTORE, domain=pack.domain, pack=pack.id, chunk=chunk)
