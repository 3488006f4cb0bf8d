"""Keys: root at a custodian, then project keys, then a domain's epoch and id keys; signing and commitment keys."""

from falaj.store.keys.custodian import Custodian
from falaj.store.keys.domain import DomainKeys, Sealed
from falaj.store.keys.keyfile import Argon, KeyFile
from falaj.store.keys.material import Secret
from falaj.store.keys.rows import KeyRow, KeyRows, MemoryKeyRows
from falaj.store.keys.signing import SigningKey, VerifyKey
from falaj.store.keys.store import DestroyedKey, KeyStore, Receipt, Rekey

__all__ = [
    "Argon",
    "Custodian",
    "DestroyedKey",
    "DomainKeys",
    "KeyFile",
    "KeyRow",
    "KeyRows",
    "KeyStore",
    "MemoryKeyRows",
    "Receipt",
    "Rekey",
    "Sealed",
    "Secret",
    "SigningKey",
    "VerifyKey",
]
