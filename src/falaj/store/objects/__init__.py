"""Objects: content-defined chunks, named by keyed digests, encrypted into packs, in a location; trees of them.

A caller uploads (`Upload`), commits the rows that name what was staged, and reads (`Reader`, `Tree`). Order is all:
packs and manifest are in the location, synced, before the transaction that names them. Formats: docs/formats.md.
"""

from falaj.store.objects.checkout import CheckoutRefused, check_out
from falaj.store.objects.chunking import Chunking
from falaj.store.objects.folder import FolderLocation
from falaj.store.objects.index import ChunkIndex, MemoryIndex
from falaj.store.objects.location import Location, Place, probe
from falaj.store.objects.memory import MemoryLocation
from falaj.store.objects.reader import Reader
from falaj.store.objects.records import Change, ChunkPlace, FileEntry, PackRecord, Problem, Staged, StagedPack
from falaj.store.objects.tree import Tree, differences
from falaj.store.objects.upload import Upload

__all__ = [
    "Change",
    "CheckoutRefused",
    "ChunkIndex",
    "ChunkPlace",
    "Chunking",
    "FileEntry",
    "FolderLocation",
    "Location",
    "MemoryIndex",
    "MemoryLocation",
    "PackRecord",
    "Place",
    "Problem",
    "Reader",
    "Staged",
    "StagedPack",
    "Tree",
    "Upload",
    "check_out",
    "differences",
    "probe",
]
