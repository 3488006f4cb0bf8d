"""The key hierarchy: root (custodian) → project key → a domain's id key and epoch keys; signing and commitment keys.

Rotation rewraps and touches no data. A new epoch makes new packs unreadable by the old key; `rekey` says which packs
must be rewritten when a key leaked. Destruction forgets the wrapped bytes: nobody can unwrap them again from this
store (backups of the database and unwrapped keys in running processes are the receipt's honest limit).

Every call reads the rows, so what another process destroyed is destroyed here too; only unwrapping is cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from msgspec.structs import replace

from falaj.core.encoding import moment
from falaj.core.ids import new_id
from falaj.core.records import Record
from falaj.store.keys.custodian import Custodian
from falaj.store.keys.domain import DomainKeys
from falaj.store.keys.errors import KeyDestroyed, KeyExists, KeyInUse, KeyMissing, KeyRowDamaged
from falaj.store.keys.material import Secret, context_of, fingerprint, fresh_secret, unwrap, wrap
from falaj.store.keys.rows import KeyRow, KeyRows, Purpose
from falaj.store.keys.signing import SigningKey, VerifyKey, public_bytes, public_mark

_ALGORITHM: dict[Purpose, str] = {
    "project": "aes-256",
    "epoch": "aes-256",
    "id": "blake3-keyed",
    "commit": "blake3-keyed",
    "sign": "ed25519",
    "ledger": "ed25519",
    "serving": "ed25519",
}


class DestroyedKey(Record, frozen=True, kw_only=True):
    """One key that is no more."""

    id: str
    purpose: str
    domain: str
    epoch: int
    fingerprint: str


class Receipt(Record, frozen=True, kw_only=True):
    """What was destroyed, and when. The keys named can be unwrapped by nobody from this store's rows."""

    domain: str
    keys: tuple[DestroyedKey, ...]
    destroyed_at: str


class Rekey(Record, frozen=True, kw_only=True):
    """A fresh epoch, and the packs that still rest under earlier ones and must be rewritten."""

    domain: str
    epoch: int
    packs: tuple[str, ...]


def now() -> str:
    """The time as rows carry it."""
    return moment(datetime.now(UTC))


class KeyStore:
    """The keys of one store.

    Args:
        custodian: holds the roots.
        rows: where wrapped keys rest.
        clock: gives the time as text, `encoding.moment`.
    """

    def __init__(self, custodian: Custodian, rows: KeyRows, *, clock: Callable[[], str] = now) -> None:
        self._custodian, self._rows, self._clock = custodian, rows, clock
        self._cache: dict[str, tuple[bytes, Secret]] = {}

    def __repr__(self) -> str:
        return f"KeyStore({self._custodian!r})"

    def using(self, rows: KeyRows) -> KeyStore:
        """The same hierarchy over other rows, such as those of an open transaction; the cache is shared."""
        other = KeyStore(self._custodian, rows, clock=self._clock)
        other._cache = self._cache
        return other

    # projects and domains

    def create_project(self, project: str) -> str:
        """Make a project's key; returns its id. Raises: KeyExists."""
        if self._rows.list(purpose="project", domain=project):
            raise KeyExists(f"project {project}: has a key already")
        return self._make("project", project, 1, None).id

    def create_domain(self, project: str, domain: str) -> DomainKeys:
        """Make the id key and the first epoch key of a domain. Raises: KeyExists, KeyMissing, KeyDestroyed."""
        if self._rows.list(purpose="id", domain=domain):
            raise KeyExists(f"key domain {domain}: exists already")
        parent = self._project(project)
        self._make("id", domain, 0, parent)
        self._make("epoch", domain, 1, parent)
        return self.domain_keys(domain)

    def has_domain(self, domain: str) -> bool:
        """Whether the domain was ever made, destroyed ones included."""
        return bool(self._rows.list(purpose="id", domain=domain))

    def domain_keys(self, domain: str) -> DomainKeys:
        """The unwrapped keys of a domain. Raises: KeyMissing, KeyDestroyed, WrongKey, KeyRowDamaged."""
        identity, epochs = self._domain_rows(domain)
        kept = [row for row in epochs if row.state != "destroyed"]
        live = [row.epoch for row in kept if row.state == "live"]
        if not live:
            raise KeyRowDamaged(f"key domain {domain}: no epoch of its {len(epochs)} is live")
        return DomainKeys(
            domain,
            self._open(identity),
            {row.epoch: self._open(row) for row in kept},
            epoch=live[-1],
            destroyed=frozenset(row.epoch for row in epochs if row.state == "destroyed"),
        )

    def new_epoch(self, domain: str) -> int:
        """Retire the current epoch key and make the next; returns its number. Older packs stay readable."""
        _, epochs = self._domain_rows(domain)
        current = epochs[-1]
        fresh = self._make("epoch", domain, current.epoch + 1, self._rows.get(current.parent))
        for row in epochs:
            if row.state == "live":
                self._rows.replace(replace(row, state="retired"))
        return fresh.epoch

    def rekey(self, domain: str, packs: Iterable[tuple[str, int]]) -> Rekey:
        """Start a fresh epoch because an old key leaked.

        Args:
            packs: (pack id, epoch) of all packs of the domain.
        Returns: the packs to rewrite; when they are gone, `drop_epochs` destroys the old keys. What an attacker
            copied before stays readable to them; and chunk names keep their id key, which rekey does not change.
        """
        epoch = self.new_epoch(domain)
        return Rekey(domain=domain, epoch=epoch, packs=tuple(sorted(p for p, e in packs if e < epoch)))

    def drop_epochs(self, domain: str, packs: Iterable[tuple[str, int]]) -> Receipt:
        """Destroy the retired epoch keys. Raises: KeyInUse while a pack rests under one."""
        _, epochs = self._domain_rows(domain)
        retired = [row for row in epochs if row.state == "retired"]
        numbers = {row.epoch for row in retired}
        held = sorted(pack for pack, epoch in packs if epoch in numbers)
        if held:
            raise KeyInUse(
                f"key domain {domain}: {len(held)} packs rest under retired epochs, first {held[0]}",
                next_step="rewrite them under the current epoch, then try again",
            )
        return self._destroy(domain, retired)

    # rotation

    def rotate_project(self, project: str) -> str:
        """Make a new project key and rewrap everything below it; returns the new key's id. Data is untouched."""
        old = self._project(project)
        fresh = self._make("project", project, old.epoch + 1, None)
        for row in self._rows.list():
            if row.parent == old.id and row.wrapped is not None:
                self._rows.replace(self._rewrapped(row, fresh))
        self._destroy(project, [old])
        return fresh.id

    def rotate_root(self) -> str:
        """Let the custodian make a new root and rewrap all that roots wrap; returns the new root's id.

        Safe to repeat: after a crash, run it again. Old roots stay until `forget_roots`, called after the rows
        are committed.
        """
        root = self._custodian.rotate()
        for row in self._rows.list():
            if row.wrapped is not None and row.parent in self._custodian.roots and row.parent != root:
                self._rows.replace(self._rewrapped(row, None))
        return root

    def forget_roots(self) -> tuple[str, ...]:
        """Destroy the custodian's earlier roots; returns their ids. Raises: KeyInUse while a row needs one."""
        old = tuple(r for r in self._custodian.roots if r != self._custodian.current)
        held = [row for row in self._rows.list() if row.wrapped is not None and row.parent in old]
        if held:
            raise KeyInUse(
                f"{len(held)} keys are still wrapped by an earlier root, first {held[0].id}",
                next_step="rotate the root again, then forget the earlier ones",
            )
        for root in old:
            self._custodian.forget(root)
        return old

    # destruction

    def destroy(self, domain: str) -> Receipt:
        """Destroy a domain's id key and all its epoch keys. Raises: KeyMissing, KeyDestroyed."""
        identity, epochs = self._domain_rows(domain)
        return self._destroy(domain, [identity, *(e for e in epochs if e.state != "destroyed")])

    def destroy_project(self, project: str) -> Receipt:
        """Destroy a project's key and all that it wraps. Raises: KeyMissing, KeyDestroyed."""
        key = self._project(project)
        below = [row for row in self._rows.list() if row.parent == key.id and row.state != "destroyed"]
        return self._destroy(project, [key, *below])

    # signing and commitments

    def create_signing_key(self, purpose: Purpose, domain: str = "") -> SigningKey:
        """Make the next signing key of a purpose ("sign", "ledger", "serving"); the one before is retired.

        Args:
            domain: the project whose key wraps it, "" for the store itself (wrapped by the root).
        """
        if _ALGORITHM.get(purpose) != "ed25519":
            raise KeyMissing(f"purpose {purpose}: not one that signs")
        rows = self._rows.list(purpose=purpose, domain=domain)
        parent = self._project(domain) if domain else None
        fresh = self._make(purpose, domain, rows[-1].epoch + 1 if rows else 1, parent)
        for row in rows:
            if row.state == "live":
                self._rows.replace(replace(row, state="retired"))
        return SigningKey(fresh.id, self._open(fresh))

    def signing_key(self, purpose: Purpose, domain: str = "") -> SigningKey:
        """The live signing key. Raises: KeyMissing, KeyDestroyed."""
        row = self._live(purpose, domain)
        return SigningKey(row.id, self._open(row))

    def signing_seed(self, purpose: Purpose, domain: str = "") -> Secret:
        """The seed of the live signing key, for a signer of another form. Raises: KeyMissing, KeyDestroyed."""
        return self._open(self._live(purpose, domain))

    def verify_keys(self, purpose: Purpose, domain: str = "") -> tuple[VerifyKey, ...]:
        """Public keys of all signing keys of a purpose, retired and destroyed ones too, oldest first."""
        return tuple(
            VerifyKey(id=row.id, raw=public_bytes(row.fingerprint), state=row.state)
            for row in self._rows.list(purpose=purpose, domain=domain)
        )

    def create_commit_key(self, domain: str = "") -> Secret:
        """Make the 32-byte key of commitments, once. Raises: KeyExists."""
        if self._rows.list(purpose="commit", domain=domain):
            raise KeyExists(f"commitment key of {domain or 'the store'}: exists already")
        return self._open(self._make("commit", domain, 1, self._project(domain) if domain else None))

    def commit_key(self, domain: str = "") -> Secret:
        """The 32-byte key of commitments. Raises: KeyMissing, KeyDestroyed."""
        return self._open(self._live("commit", domain))

    # inside

    def _domain_rows(self, domain: str) -> tuple[KeyRow, list[KeyRow]]:
        identity = self._rows.list(purpose="id", domain=domain)
        epochs = self._rows.list(purpose="epoch", domain=domain)
        if not identity or not epochs:
            raise KeyMissing(f"key domain {domain}: has no keys", next_step="make the dataset or project first")
        if identity[0].state == "destroyed":
            raise _destroyed(f"key domain {domain}", identity[0])
        return identity[0], list(epochs)

    def _project(self, project: str) -> KeyRow:
        return self._live("project", project)

    def _live(self, purpose: Purpose, domain: str) -> KeyRow:
        rows = self._rows.list(purpose=purpose, domain=domain)
        what = f"{purpose} key of {domain or 'the store'}"
        if not rows:
            raise KeyMissing(f"{what}: is not in this store", next_step="restore the key's row from a backup")
        live = [row for row in rows if row.state == "live"]
        if not live:
            raise _destroyed(what, rows[-1])
        return live[-1]

    def _make(self, purpose: Purpose, domain: str, epoch: int, parent: KeyRow | None) -> KeyRow:
        key_id, key = new_id(), fresh_secret()
        context = context_of(purpose, domain, epoch, key_id)
        algorithm = _ALGORITHM[purpose]
        row = KeyRow(
            id=key_id,
            purpose=purpose,
            domain=domain,
            epoch=epoch,
            parent=self._custodian.current if parent is None else parent.id,
            wrapped=self._custodian.wrap(key, context) if parent is None else wrap(self._open(parent), key, context),
            fingerprint=public_mark(key) if algorithm == "ed25519" else fingerprint(key),
            algorithm=algorithm,
            state="live",
            created_at=self._clock(),
        )
        self._rows.add(row)
        return row

    def _open(self, row: KeyRow) -> Secret:
        what = f"{row.purpose} key {row.id} of {row.domain or 'the store'}"
        if row.wrapped is None:
            raise _destroyed(what, row)
        known = self._cache.get(row.id)
        if known is not None and known[0] == row.wrapped:
            return known[1]
        context = context_of(row.purpose, row.domain, row.epoch, row.id)
        parent = self._parent(row)
        if parent is None:
            key = self._custodian.unwrap(row.parent, row.wrapped, context, what=what)
        else:
            key = unwrap(self._open(parent), row.wrapped, context, what=what)
        mark = public_mark(key) if row.algorithm == "ed25519" else fingerprint(key)
        if mark != row.fingerprint:
            raise KeyRowDamaged(f"{what}: the fingerprint in its row is not the key's")
        self._cache[row.id] = (row.wrapped, key)
        return key

    def _parent(self, row: KeyRow) -> KeyRow | None:
        """The row of the key that wraps this one; None where that is a root."""
        try:
            return self._rows.get(row.parent)
        except KeyMissing:
            return None

    def _rewrapped(self, row: KeyRow, parent: KeyRow | None) -> KeyRow:
        context = context_of(row.purpose, row.domain, row.epoch, row.id)
        key = self._open(row)
        if parent is None:
            return replace(row, parent=self._custodian.current, wrapped=self._custodian.wrap(key, context))
        return replace(row, parent=parent.id, wrapped=wrap(self._open(parent), key, context))

    def _destroy(self, domain: str, rows: Iterable[KeyRow]) -> Receipt:
        at, gone = self._clock(), []
        for row in rows:
            self._rows.replace(replace(row, wrapped=None, state="destroyed", destroyed_at=at))
            self._cache.pop(row.id, None)
            gone.append(
                DestroyedKey(
                    id=row.id, purpose=row.purpose, domain=row.domain, epoch=row.epoch, fingerprint=row.fingerprint
                )
            )
        return Receipt(domain=domain, keys=tuple(gone), destroyed_at=at)


def _destroyed(what: str, row: KeyRow) -> KeyDestroyed:
    return KeyDestroyed(
        f"{what}: destroyed at {row.destroyed_at}; what it encrypted cannot be read again",
        facts={"key": row.id, "fingerprint": row.fingerprint, "destroyed_at": row.destroyed_at},
    )
