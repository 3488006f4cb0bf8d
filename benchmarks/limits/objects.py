"""The bare loop: files cut, named, compressed, encrypted and synced in packs. No manifest, no database, no index.

Usage: python -m benchmarks.limits.objects FILES OUT

The same libraries with the same settings as the store: pyfastcdc 16/64/256 KiB, BLAKE3 keyed, zstd level 1, AES-256-GCM
into one buffer, packs of 32 MiB, each written to a temporary file, synced, linked, its folder synced.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from backports.zstd import ZstdCompressor
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyfastcdc import FastCDC

PACK = 32 << 20
TAG = 16


class Packs:
    """Packs of one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.handle = folder, os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.view = memoryview(bytearray(PACK + (1 << 20)))
        self.at, self.count, self.stored = 0, 0, 0
        self.cipher = AESGCM(os.urandom(32))

    def add(self, data: bytes) -> None:
        """Encrypt one object behind the last."""
        end = self.at + len(data) + TAG
        self.cipher.encrypt_into(self.at.to_bytes(12, "big"), data, b"chunk", self.view[self.at : end])
        self.at = end
        if end >= PACK:
            self.put()

    def put(self) -> None:
        """Write what is there, durably, and begin another with a key of its own."""
        if not self.at:
            return
        self.count += 1
        temporary = self.folder / f"{self.count}.tmp"
        with temporary.open("wb", buffering=0) as file:
            written = 0
            while written < self.at:
                written += file.write(self.view[written : self.at])
            os.fsync(file.fileno())
        os.link(temporary, self.folder / f"{self.count}")
        temporary.unlink()
        os.fsync(self.handle)
        self.stored += self.at
        self.at, self.cipher = 0, AESGCM(os.urandom(32))


def chunks(paths: list[Path]) -> Iterator[memoryview]:
    """The chunks of the files."""
    for path in paths:
        cutter = FastCDC(65536, min_size=16384, max_size=262144, normalized_chunking=1, seed=0)
        with memoryview(path.read_bytes()) as data:
            for chunk in cutter.cut_buf(data):
                yield data[chunk.offset : chunk.offset + chunk.length]


def main(files: str, out: str) -> None:
    """Store the files; print the figures as JSON."""
    packs, key, squeezer, seen = Packs(Path(out)), os.urandom(32), ZstdCompressor(level=1), set()
    size = 0
    for chunk in chunks(sorted(Path(files).iterdir())):
        size += len(chunk)
        name = blake3(chunk, key=key).digest()
        if name not in seen:
            seen.add(name)
            packs.add(squeezer.compress(chunk, ZstdCompressor.FLUSH_FRAME))
    packs.put()
    figures = {"size_bytes": size, "stored_bytes": packs.stored, "chunks": len(seen), "packs": packs.count}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
