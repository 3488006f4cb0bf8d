"""The custodian: who holds the root keys. A key file now; a vault, a cloud's KMS or a PKCS#11 token fit the same port.

A custodian may hold several roots while a rotation runs: it wraps under the current one and unwraps under any.
"""

from __future__ import annotations

from typing import Protocol

from falaj.store.keys.material import Secret


class Custodian(Protocol):
    """Wraps and unwraps keys under roots that it keeps to itself."""

    @property
    def current(self) -> str:
        """Id of the root that wraps now."""
        ...

    @property
    def roots(self) -> tuple[str, ...]:
        """Ids of all roots held, oldest first."""
        ...

    def wrap(self, key: Secret, context: bytes) -> bytes:
        """Wrap under the current root, bound to the context."""
        ...

    def unwrap(self, root: str, wrapped: bytes, context: bytes, *, what: str) -> Secret:
        """Raises: WrongKey where the root is not held here; KeyRowDamaged where the bytes do not unwrap."""
        ...

    def rotate(self) -> str:
        """Add a new root, durably, and make it the current one; earlier roots still unwrap. Returns its id."""
        ...

    def forget(self, root: str) -> None:
        """Destroy an earlier root. Raises: KeyInUse for the current one, WrongKey for one not held."""
        ...
