"""Verification of bytes: every pack whole, then every tree against the index.

Packs are read once and in order, whatever many versions share them; the walk of a tree reads its nodes only, and
skips subtrees that an earlier tree had. A file with a SHA-256 is read once more, to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby, islice

from msgspec.structs import replace

from falaj.core.errors import FalajError
from falaj.core.records import Record
from falaj.store.content import rows
from falaj.store.content.reading import Readers
from falaj.store.content.rows import VersionRow
from falaj.store.objects import FileEntry, PackRecord, Problem, Reader, Tree
from falaj.store.objects.check import check_pack, problem_of
from falaj.store.objects.tree import Reached, reached

Progress = Callable[[str, int, int], None]
_AT_ONCE = 512
_RESTORE_ROWS = "restore the metadata from a backup"


class Report(Record, frozen=True, kw_only=True):
    """What verification found. Bytes are those of packs."""

    versions: int
    packs: int
    bytes_read: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class _Checker:
    def __init__(self, readers: Readers, progress: Progress) -> None:
        self._readers, self._progress = readers, progress
        self._total = 0
        self.bytes_read = 0
        self.problems: list[Problem] = []
        self._known: frozenset[str] = frozenset()
        self._chunks: dict[str, int] = {}  # a damaged chunk -> its problem, to be told which file needs it

    def check(self, versions: Iterable[VersionRow], packs: list[PackRecord]) -> None:
        self._total = sum(pack.size for pack in packs)
        self._known = frozenset(pack.id for pack in packs)
        for (domain, location), group in groupby(packs, key=lambda p: (p.domain, p.location)):
            self._check_packs(domain, location, list(group))
        for (domain, location), of_domain in groupby(versions, key=lambda v: (v.domain, v.location)):
            self._check_trees(domain, location, list(of_domain))

    def _check_packs(self, domain: str, location: str, packs: list[PackRecord]) -> None:
        try:
            reader = self._readers.reader(domain, location)
        except FalajError:
            return  # told for the versions that need it
        for pack in packs:
            with self._readers.database.read() as tx:
                indexed = list(rows.chunks_of(tx, pack.id))
            for problem in check_pack(reader.location, reader.keys, pack, indexed, self._read):
                if problem.chunk:
                    self._chunks[problem.chunk] = len(self.problems)
                self.problems.append(problem)

    def _check_trees(self, domain: str, location: str, versions: list[VersionRow]) -> None:
        try:
            reader = self._readers.reader(domain, location)
        except FalajError as error:
            found = problem_of(error, domain)
            self.problems += [replace(found, version=version.key) for version in versions]
            return
        seen: set[bytes] = set()
        for version in versions:
            self._check_tree(Tree(reader, version.content), version, seen)

    def _check_tree(self, tree: Tree, version: VersionRow, seen: set[bytes]) -> None:
        needed = reached(tree, seen, lambda path, error: self._tell(error, version, path))
        while batch := list(islice(needed, _AT_ONCE)):
            self._look_up(tree.reader, version, batch)
            for need in batch:
                if need.file is not None and need.file.sha256 is not None:
                    self._check_plain(tree, version, need.file)

    def _look_up(self, reader: Reader, version: VersionRow, batch: list[Reached]) -> None:
        places = reader.index.find([need.name for need in batch])
        for need in batch:
            chunk = f"b3k:{need.name.hex()}"
            known = self._chunks.get(chunk)
            if known is not None:
                self.problems[known] = _needed(self.problems[known], version, need.path)
                continue
            place = places.get(need.name)
            if place is None or place.pack not in self._known:
                where = "is not in the index" if place is None else f"is in pack {place.pack}, of which there is no row"
                missing = Problem(
                    sort="missing", message=f"chunk {chunk} {where}", next_step=_RESTORE_ROWS, chunk=chunk
                )
                self._add(missing, version, need.path)

    def _tell(self, error: FalajError, version: VersionRow, path: str) -> None:
        self._add(problem_of(error, version.domain), version, path)

    def _add(self, problem: Problem, version: VersionRow, path: str) -> None:
        """A chunk is told once, whatever many trees and steps come across it."""
        if problem.chunk in self._chunks:
            return
        if problem.chunk:
            self._chunks[problem.chunk] = len(self.problems)
        self.problems.append(_needed(replace(problem, domain=version.domain), version, path))

    def _check_plain(self, tree: Tree, version: VersionRow, file: FileEntry) -> None:
        """Compare the SHA-256 of the plain bytes with the one that the tree says."""
        try:
            for _ in tree.stream(file):
                pass
        except FalajError as error:
            self._tell(error, version, file.path)

    def _read(self, count: int) -> None:
        self.bytes_read += count
        self._progress("verifying", self.bytes_read, self._total)


def verify(readers: Readers, progress: Progress) -> Report:
    """Check every pack and every tree. See `Contents.verify`."""
    with readers.database.read() as tx:
        versions, packs = rows.content_versions(tx), rows.packs(tx)
    checker = _Checker(readers, progress)
    checker.check(versions, packs)
    problems = _still(readers, checker.problems, {pack.id for pack in packs})
    return Report(versions=len(versions), packs=len(packs), bytes_read=checker.bytes_read, problems=problems)


def _still(readers: Readers, problems: list[Problem], known: set[str]) -> tuple[Problem, ...]:
    """Without those that are none: of packs and versions that were given up while the rest was read."""
    if not problems:
        return ()
    with readers.database.read() as tx:
        versions, packs = {v.key for v in rows.content_versions(tx)}, {pack.id for pack in rows.packs(tx)}
    gone = known - packs
    return tuple(p for p in problems if p.pack not in gone and (not p.version or p.version in versions))


def _needed(problem: Problem, version: VersionRow, path: str) -> Problem:
    """The problem with the first version and path that need it."""
    if problem.version:
        return problem
    return replace(problem, version=version.key, path=problem.path or path)
