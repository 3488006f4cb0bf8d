"""What can go wrong with keys. No message ever holds key bytes or a passphrase."""

from __future__ import annotations

from falaj.core.errors import Conflict, Damaged, Forbidden, NotFound, Unavailable


class KeyMissing(NotFound):
    """No key of that purpose and domain was ever made."""

    code = "key_missing"
    usual_step = "open the store it belongs to, or restore the key's row from a backup"


class KeyExists(Conflict):
    """There is one already; keys are made once and never overwritten."""

    code = "key_exists"


class KeyDestroyed(Unavailable):
    """The key was destroyed on purpose: what it encrypted cannot be read again by anyone."""

    code, status = "key_destroyed", 410
    usual_step = "nothing brings it back; falaj keys list says when it was destroyed"


class WrongKey(Unavailable):
    """The custodian's root key or the domain's key is not the one that this was encrypted under."""

    code = "wrong_key"
    usual_step = "open the store with its own database and key file"


class WrongPassphrase(Forbidden):
    """The passphrase does not open the key file."""

    code = "wrong_passphrase"


class KeyFileExposed(Forbidden):
    """Others than its owner may read or replace the key file."""

    code = "key_file_exposed"


class KeyFileDamaged(Damaged):
    """The key file is not one, or is cut short."""

    code = "key_file_damaged"


class KeyRowDamaged(Damaged):
    """A stored, wrapped key was changed: it does not unwrap as what its row says."""

    code = "key_row_damaged"


class KeyInUse(Conflict):
    """Something still rests under the key that was to be destroyed or forgotten."""

    code = "key_in_use"
