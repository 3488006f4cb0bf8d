"""From the folder to what is served: verified, loaded and tried in a thread, then handed over whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from falaj.core import bundle
from falaj.core.bundle import Bundle, BundleModel
from falaj.core.bundle_folder import BundleFolder
from falaj.core.errors import FalajError
from falaj.serving import engines
from falaj.serving.engines import Engine


class Loaded(NamedTuple):
    """A bundle that may be served.

    Attributes:
        engines: by version, for every model of the bundle.
    """

    bundle: Bundle
    document: bytes
    engines: Mapping[str, Engine]


class Loader:
    """Reads the folder. Asked one thing at a time, from whichever thread.

    What the last two bundles held stays in memory, so a rollback loads nothing.

    Args:
        keys: the public keys that are pinned.
    """

    def __init__(self, folder: BundleFolder, keys: Collection[bytes]) -> None:
        self._folder, self._keys = folder, keys
        self._last: Bundle | None = None
        self._kept: list[dict[BundleModel, Engine]] = []

    def first(self) -> tuple[Loaded | None, FalajError | None]:
        """What to begin with, and why it is not what is in force.

        Where the bundle in force is broken, it is what a server here took up last, if that still holds.
        """
        remembered = self._remembered()
        self._last = remembered[0] if remembered else None
        try:
            return self.load(), None
        except FalajError as error:
            if remembered is None:
                return None, error
            try:
                return self._loaded(*remembered), error
            except FalajError:
                return None, error

    def load(self) -> Loaded:
        """The bundle in force. Raises: BundleDamaged, BundleRefused, Unavailable, MissingPart; nothing changes then."""
        return self._loaded(*self._verified())

    def at_hand(self) -> Loaded | None:
        """As `load`, within a millisecond, where all models are in memory (a rollback, a share, a lease); else None."""
        found, document = self._verified()
        if all(self._in_memory(model) for model in found.models.values()):
            return self._loaded(found, document)
        return None

    def remember(self, loaded: Loaded) -> None:
        """Keep on disk what is served now. Raises: OSError."""
        self._folder.remember(loaded.document)

    def _verified(self) -> tuple[Bundle, bytes]:
        document = self._folder.document(self._folder.revision())
        found = bundle.verify(document, self._keys)
        bundle.check_follows(found, self._last)
        return found, document

    def _loaded(self, found: Bundle, document: bytes) -> Loaded:
        made = {version: self._engine(version, model) for version, model in found.models.items()}
        self._last = found
        self._kept = [{_content(model): made[version] for version, model in found.models.items()}, *self._kept[:1]]
        return Loaded(found, document, made)

    def _engine(self, version: str, model: BundleModel) -> Engine:
        if (there := self._in_memory(model)) is not None:
            return there
        files = [self._folder.file(version, file) for file in model.files]
        engine = engines.load(model, files[0], f"version {version}")
        engine.warm()
        return engine

    def _in_memory(self, model: BundleModel) -> Engine | None:
        return next((kept[_content(model)] for kept in self._kept if _content(model) in kept), None)

    def _remembered(self) -> tuple[Bundle, bytes] | None:
        try:
            document = self._folder.remembered()
            return None if document is None else (bundle.verify(document, self._keys), document)
        except FalajError:
            return None  # not ours, or of another key: it says nothing


def _content(model: BundleModel) -> BundleModel:
    """The model without its verdict: another one, for another ref, changes nothing of what is in memory."""
    return msgspec.structs.replace(model, verdict="")
