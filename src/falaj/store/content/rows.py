"""The rows of objects: packs, the chunk index, uploads. The SQL adapter of the index port among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from falaj.core.encoding import moment
from falaj.core.records import Record
from falaj.store import runs
from falaj.store.metadata import Database, Transaction
from falaj.store.metadata.driver import Row
from falaj.store.metadata.queries import queries
from falaj.store.objects import ChunkPlace, PackRecord, StagedPack
from falaj.store.objects.errors import UploadClosed
from falaj.store.objects.pack import held_in

SQL = queries("objects")
UPLOAD_LIVES = timedelta(hours=24)


class SqlIndex:
    """The chunk index of one domain in one location; each look-up is a snapshot of its own."""

    def __init__(self, database: Database, domain: str, location: str) -> None:
        self._database = database
        self._of = {"domain": domain, "location": location}

    def find(self, names: Sequence[bytes]) -> dict[bytes, ChunkPlace]:
        """The places of those names that are held."""
        with self._database.read() as tx:
            if self._database.dialect == "postgresql":
                rows = tx.rows(SQL["find_chunks"], {**self._of, "names": list(names)})
            else:
                found = (tx.row(SQL["find_chunk"], {**self._of, "name": name}) for name in names)
                rows = [row for row in found if row is not None]
        return {bytes(name): ChunkPlace(pack, start, length, raw) for name, pack, start, length, raw in rows}


class VersionRow(Record, frozen=True, kw_only=True):
    """A version that has bytes; `refs` counts the refs that hold it."""

    asset: str
    number: int
    domain: str
    location: str
    content: str
    state: str
    refs: int

    @property
    def key(self) -> str:
        """As the ledger names its row."""
        return f"{self.asset}/{self.number}"


class UploadRow(Record, frozen=True, kw_only=True):
    """An upload that began and has not ended."""

    id: str
    domain: str
    owner: str
    expires_at: str

    def is_running(self, now: str) -> bool:
        """Whether it may still commit: it has not expired, and its process was not seen dead."""
        return self.expires_at > now and runs.is_alive(self.owner) is not False


def lock_domain(tx: Transaction, domain: str) -> None:
    """Until the transaction ends, no other upload of the domain begins or commits and none of it is collected."""
    tx.row(SQL["lock_domain"], {"domain": domain})


def begin_upload(tx: Transaction, upload: str, domain: str) -> None:
    """Write down that an upload runs, of this process."""
    lock_domain(tx, domain)
    at = datetime.now(UTC)
    row = {"id": upload, "domain": domain, "owner": runs.this_process()}
    tx.run(SQL["begin_upload"], {**row, "started_at": moment(at), "expires_at": moment(at + UPLOAD_LIVES)})


def renew_upload(tx: Transaction, upload: str) -> None:
    """Let it run longer. Raises: UploadClosed where its row is gone."""
    expires = moment(datetime.now(UTC) + UPLOAD_LIVES)
    if tx.run(SQL["renew_upload"], {"id": upload, "expires_at": expires}) != 1:
        raise lapsed(upload)


def end_upload(tx: Transaction, upload: str) -> bool:
    """It committed, or was given up; False where it had no row any more."""
    return tx.run(SQL["end_upload"], {"id": upload}) == 1


def lapsed(upload: str) -> UploadClosed:
    """The refusal of an upload that was taken for dead."""
    return UploadClosed(
        f"upload {upload}: was taken for dead, and what it counts on may be collected",
        next_step="add the files again",
    )


def uploads(tx: Transaction, domain: str | None = None) -> list[UploadRow]:
    """Uploads that have not ended: of one domain, or all."""
    rows = tx.rows(SQL["uploads"]) if domain is None else tx.rows(SQL["uploads_of"], {"domain": domain})
    return [UploadRow(id=r[0], domain=r[1], owner=r[2], expires_at=r[3]) for r in rows]


def has_pack(tx: Transaction, pack: str) -> bool:
    """Whether committed content lies in the pack."""
    return tx.row(SQL["has_pack"], {"id": pack}) is not None


def add_packs(tx: Transaction, packs: Sequence[StagedPack]) -> None:
    """Write packs and what they hold into the index."""
    tx.run_many(SQL["add_pack"], [_fields(pack.record) for pack in packs])
    for pack in packs:
        tx.run_many(SQL["add_chunk"], _chunk_rows(pack))


def drop_pack(tx: Transaction, pack: str) -> None:
    """Forget a pack and what it holds."""
    tx.run(SQL["drop_chunks"], {"pack": pack})
    tx.run(SQL["drop_pack"], {"id": pack})


def packs(tx: Transaction) -> list[PackRecord]:
    """Every known pack, by domain and location."""
    return [PackRecord(**dict(zip(PackRecord.__struct_fields__, row, strict=True))) for row in tx.rows(SQL["packs"])]


def chunks_of(tx: Transaction, pack: str) -> Iterator[tuple[bytes, ChunkPlace]]:
    """What the index says lies in a pack, in order of place."""
    for name, start, length, raw_length in tx.rows(SQL["chunks_of"], {"pack": pack}):
        yield bytes(name), ChunkPlace(pack, start, length, raw_length)


def content_versions(tx: Transaction) -> list[VersionRow]:
    """Every version that has bytes, by domain and location."""
    return [_version(row) for row in tx.rows(SQL["content_versions"])]


def versions_of(tx: Transaction, domain: str) -> list[VersionRow]:
    """Every version of a domain that has bytes."""
    return [_version(row) for row in tx.rows(SQL["versions_of"], {"domain": domain})]


def retired_since(tx: Transaction, since: str) -> Iterable[bytes]:
    """The bodies of the entries that retired versions after a time."""
    return [bytes(row[0]) for row in tx.rows(SQL["retired_since"], {"since": since})]


def _version(row: Row) -> VersionRow:
    return VersionRow(**dict(zip(VersionRow.__struct_fields__, row, strict=True)))


def _chunk_rows(pack: StagedPack) -> Iterator[dict[str, Any]]:
    record = pack.record
    for held in held_in(record.id, pack.start, pack.directory):
        yield {
            "domain": record.domain,
            "location": record.location,
            "name": held.name,
            "pack": record.id,
            "start": held.place.offset,
            "length": held.place.length,
            "raw_length": held.place.raw_length,
        }


def _fields(record: PackRecord) -> dict[str, Any]:
    return {field: getattr(record, field) for field in record.__struct_fields__}
