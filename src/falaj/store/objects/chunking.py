"""Content-defined cut points, behind one class.

A changed cut silently costs all deduplication, so a golden test holds the cuts of known bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyfastcdc import FastCDC

from falaj.core.records import Record
from falaj.store.objects.location import Buffer


class Chunking(Record, frozen=True, kw_only=True):
    """How files are cut; recorded in every manifest.

    Attributes:
        average: the mean a chunk grows beyond `smallest`, in bytes. Real chunks average `smallest` + `average`.
        smallest, largest: bounds in bytes; the last chunk of a file may be smaller.
    """

    average: int = 65536
    smallest: int = 16384
    largest: int = 262144

    def __str__(self) -> str:
        return f"fastcdc-2020 avg={self.average} min={self.smallest} max={self.largest} nc=1 seed=0"


class Cutter:
    """Cuts one stream's buffers; for one thread at a time."""

    def __init__(self, chunking: Chunking) -> None:
        self.chunking = chunking
        self._cdc = FastCDC(
            chunking.average,
            min_size=chunking.smallest,
            max_size=chunking.largest,
            normalized_chunking=1,
            seed=0,
        )

    def cut(self, data: Buffer, *, last: bool) -> Iterator[tuple[int, int]]:
        """(offset, length) of the chunks of a buffer that starts at a cut.

        Args:
            last: whether the stream ends with this buffer. Else only chunks that more data cannot change are given;
                the rest belongs at the start of the next buffer.
        """
        end = len(data)
        for chunk in self._cdc.cut_buf(data):
            if not last and end - chunk.offset < self.chunking.largest:
                return
            yield chunk.offset, chunk.length
