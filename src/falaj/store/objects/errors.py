"""What can go wrong with objects and the places where they rest."""

from __future__ import annotations

from falaj.core.errors import Conflict, Damaged, Invalid, NotFound, Unavailable


class BlobMissing(NotFound):
    """A location holds nothing of that name."""

    code = "blob_missing"


class FileMissing(NotFound):
    """The version holds no file at that path."""

    code = "file_missing"


class LocationAway(Unavailable):
    """The location cannot be reached, or refuses us."""

    code = "location_away"


class LocationUnfit(Unavailable):
    """The location does not keep the one promise that is asked of it: create if absent, exactly once."""

    code = "location_unfit"


class PackDamaged(Damaged):
    """A pack's bytes are not those that were written; the message names pack and chunk."""

    code = "pack_damaged"


class PackMissing(Damaged):
    """A pack that a version needs is not in its location."""

    code = "pack_missing"


class ChunkMissing(Damaged):
    """A chunk or tree node that a version needs is not in the chunk index."""

    code = "chunk_missing"


class TreeDamaged(Damaged):
    """A tree node does not say what its place in the tree requires."""

    code = "tree_damaged"


class ContentUnknown(Invalid):
    """An entry to be kept names content that this key domain does not hold."""

    code = "content_unknown"


class ContentErased(Unavailable):
    """The version's bytes were given up: it was retired, and then collected."""

    code, status = "content_erased", 410


class UploadClosed(Conflict):
    """The upload was finished, given up, collected, or begun in another process: a pack is never resumed."""

    code = "upload_closed"
