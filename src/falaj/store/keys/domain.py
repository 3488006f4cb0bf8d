"""The keys of one key domain (a dataset, or a project's artifacts): what the objects are named and encrypted by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from falaj.store.keys.errors import KeyDestroyed, KeyRowDamaged, WrongKey
from falaj.store.keys.material import Secret, context_of, derived, fingerprint, unwrap, wrap


class Sealed(NamedTuple):
    """A pack's key, wrapped by an epoch's."""

    epoch: int
    fingerprint: str
    wrapped: bytes


class DomainKeys:
    """Unwrapped keys of one domain, held for as long as one piece of work.

    Args:
        identity: the id key, from which the names of chunks and nodes are keyed.
        epochs: the epoch keys that still exist, by number.
        destroyed: numbers of the epochs whose keys were destroyed.
        epoch: the epoch that new packs are encrypted under.
    """

    def __init__(
        self, domain: str, identity: Secret, epochs: Mapping[int, Secret], *, epoch: int, destroyed: frozenset[int]
    ) -> None:
        self.domain, self.epoch = domain, epoch
        self._epochs, self._destroyed = dict(epochs), destroyed
        self.chunk_key = derived(identity, "chunk name")
        self.node_key = derived(identity, "node name")

    def __repr__(self) -> str:
        return f"DomainKeys({self.domain!r}, epoch={self.epoch})"

    def seal(self, key: Secret, pack: str) -> Sealed:
        """Wrap a pack's key under the current epoch, bound to the pack's id."""
        parent = self._epochs[self.epoch]
        return Sealed(
            self.epoch, fingerprint(parent), wrap(parent, key, context_of("pack", self.domain, self.epoch, pack))
        )

    def unseal(self, sealed: Sealed, pack: str) -> Secret:
        """A pack's key.

        Raises: KeyDestroyed where its epoch was destroyed; WrongKey where the pack was encrypted under another key of
        that number; KeyRowDamaged where the wrapped bytes were changed.
        """
        what = f"pack {pack} of {self.domain}"
        if sealed.epoch in self._destroyed:
            raise KeyDestroyed(f"{what}: the key of epoch {sealed.epoch} was destroyed")
        parent = self._epochs.get(sealed.epoch)
        if parent is None or fingerprint(parent) != sealed.fingerprint:
            raise WrongKey(
                f"{what}: encrypted under epoch {sealed.epoch}, key {sealed.fingerprint}, which is not held here",
                next_step="open the store with its own database and key file",
            )
        key = unwrap(parent, sealed.wrapped, context_of("pack", self.domain, sealed.epoch, pack), what=what)
        if len(key.raw) != 32:
            raise KeyRowDamaged(f"{what}: its key has {len(key.raw)} bytes")
        return key
