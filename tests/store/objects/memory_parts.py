"""Uploads without a database: a location and an index in memory, and keys that are made in a moment."""

from __future__ import annotations

import io
from collections.abc import Mapping

from falaj.core.ids import new_id
from falaj.store.keys import DomainKeys, Secret
from falaj.store.objects import Chunking, Location, MemoryIndex, MemoryLocation, Reader, Staged, Tree, Upload

FINE = Chunking(average=1024, smallest=256, largest=4096)


def domain_keys(seed: int = 0, domain: str = "flights") -> DomainKeys:
    identity, epoch = Secret(bytes([seed]) * 32), Secret(bytes([seed, 1]) * 16)
    return DomainKeys(domain, identity, {1: epoch}, epoch=1, destroyed=frozenset())


class Memory:
    """One domain in one location."""

    def __init__(self, keys: DomainKeys | None = None, location: Location | None = None) -> None:
        self.keys = keys or domain_keys()
        self.location = location or MemoryLocation()
        self.index = MemoryIndex()

    def upload(self, chunking: Chunking | None = None) -> Upload:
        return Upload(self.location, self.keys, self.index, upload=new_id(), chunking=chunking)

    def store(self, files: Mapping[str, bytes], chunking: Chunking | None = None) -> Staged:
        """Upload and commit."""
        with self.upload(chunking) as upload:
            for path, data in files.items():
                upload.add_file(path, io.BytesIO(data))
            staged = upload.finish()
        self.index.add(staged.packs)
        return staged

    def tree(self, root: str) -> Tree:
        return Tree(Reader(self.location, self.keys, self.index), root)

    def read_all(self, root: str) -> dict[str, bytes]:
        tree = self.tree(root)
        return {file.path: b"".join(tree.stream(file)) for file in tree.files()}
