"""Writing the ledger: entries commit with their change; one sequencer gives leaf numbers and tree nodes.

On SQLite writers are alone anyway, so an entry gets its leaf in the transaction of its change. On PostgreSQL that
would queue every commit on one row; there the entry commits without a number, and the sequencer numbers what has
committed, in batches under an advisory lock, woken by each commit. Until then an entry is *pending*: durable and
visible, but not yet under a root.
"""

from __future__ import annotations

import threading
import typing
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from falaj.core.encoding import canonical, moment
from falaj.core.entries import Entry
from falaj.core.errors import FalajError
from falaj.store.ledger.checkpoint import Checkpoint, Signer, Verifier, open_note, sign_checkpoint
from falaj.store.ledger.errors import LedgerDamaged
from falaj.store.ledger.merkle import Frontier, leaf_hash
from falaj.store.metadata import Database, Transaction
from falaj.store.metadata.queries import queries

if typing.TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

SQL = queries("ledger")
SEQUENCER_LOCK = 4625720
BATCH = 2000
PAUSE_S = 0.1
"""Between two rounds of the sequencer: where much is committed it is numbered, signed and published in batches."""
NEWEST = 100
"""So many of the newest checkpoints are kept; of the older ones, the last of each day."""


class SqlNodes:
    """The stored nodes of the tree, as `merkle` reads and writes them."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get(self, level: int, index: int) -> bytes | None:
        row = self._tx.row(SQL["node"], {"level": level, "idx": index})
        return None if row is None else bytes(row[0])

    def get_many(self, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        found = {at: self.get(*at) for at in wanted}
        return {at: value for at, value in found.items() if value is not None}

    def put_many(self, nodes: Iterable[tuple[int, int, bytes]]) -> None:
        self._tx.run_many(SQL["add_node"], [{"level": n[0], "idx": n[1], "hash": n[2]} for n in nodes])


class Log:
    """The ledger of one store.

    Args:
        dialect: of the database; decides who sequences.

    `wake` and `kept` are set by whoever runs a sequencer or keeps checkpoints outside: told of each commit that
    waits for a number; gives the newest note that is kept outside, None for none.
    """

    def __init__(self, dialect: str) -> None:
        self.inline = dialect == "sqlite"
        self._frontier: Frontier | None = None
        self._checked: tuple[int, str | None, str | None] | None = None
        self.wake: Callable[[], None] = lambda: None
        self.kept: Callable[[], str | None] = lambda: None

    def append(
        self, tx: Transaction, entries: Sequence[Entry], details: Sequence[tuple[str, bytes, bytes]]
    ) -> Frontier | None:
        """Write entries in the transaction of their change.

        Returns: the grown frontier, to be handed to `committed` once, and only if, the transaction has committed.
        """
        rows = [_row(entry) for entry in entries]
        if not self.inline:
            words = {d[0]: {"salt": d[1], "words": d[2]} for d in details}
            for row in rows:
                told = words.get(row["id"])
                tx.run(SQL["add_told"] if told else SQL["add_entry"], {**row, **(told or {})})
            return None
        first = self.size(tx)
        tx.run_many(SQL["add_entry"], [{**row, "leaf": leaf} for leaf, row in enumerate(rows, first)])
        tx.run_many(SQL["add_detail"], [{"entry": d[0], "salt": d[1], "body": d[2]} for d in details])
        return self._grow(tx, first, [row["body"] for row in rows])

    def committed(self, grown: Frontier | None) -> None:
        """Told after the commit: keeps the frontier, or wakes the sequencer where there is one."""
        if grown is None:
            self.wake()
        else:
            self._frontier = grown

    def size(self, tx: Transaction) -> int:
        """How many entries have a leaf."""
        row = tx.row(SQL["size"])
        return 0 if row is None or row[0] is None else int(row[0]) + 1

    def pending(self, tx: Transaction) -> int:
        """How many entries are committed and have no leaf yet."""
        row = tx.row(SQL["count_pending"])
        return int(row[0]) if row else 0

    def leaf_of(self, tx: Transaction, entry_id: str) -> int | None:
        """The leaf number of an entry, None while it is pending."""
        row = tx.row(SQL["leaf_of"], {"id": entry_id})
        return None if row is None or row[0] is None else int(row[0])

    def number_alone(self, tx: Transaction) -> None:
        """From now to the end of a writing transaction nobody else gives numbers or writes nodes."""
        if not self.inline:
            tx.row(SQL["number_alone"], {"lock": SEQUENCER_LOCK})

    def sequence(self, database: Database) -> int:
        """Number what is pending, at most one batch; returns how many. Safe to call from several processes."""
        if self.inline:
            return 0
        with database.write() as tx:
            self.number_alone(tx)
            pending = tx.rows(SQL["pending"], {"limit": BATCH})
            if not pending:
                return 0
            first = self.size(tx)
            tx.run(
                SQL["number"],
                {"ids": [row[0] for row in pending], "leaves": list(range(first, first + len(pending)))},
            )
            grown = self._grow(tx, first, [bytes(row[1]) for row in pending])
        self._frontier = grown
        return len(pending)

    def checkpoint(self, database: Database, signer: Signer, earlier: Sequence[Verifier] = ()) -> str | None:
        """Sign the head where it grew since the last signature.

        What was signed before must be the beginning of this tree, whether the signature lies here or outside: a
        ledger that was rewritten or cut gets no new signature.

        Args:
            earlier: retired keys that checkpoints may be signed by.
        Returns: the newest note, None for an empty ledger.
        Raises: LedgerDamaged, CheckpointInvalid.
        """
        kept = self.kept()
        with database.read() as tx:
            size, row, nodes = self.size(tx), tx.row(SQL["last_checkpoint"]), SqlNodes(tx)
            last = None if row is None else str(row[1])
            if self._checked != (size, last, kept):
                for note in {last, kept} - {None}:
                    _check_extends(nodes, size, open_note(str(note), (signer, *earlier)))
                self._checked = size, last, kept
            if size == 0 or (row and row[0] == size):
                return last
            root = Frontier.load(nodes, size).root()
        if database.read_only:
            return last
        note = sign_checkpoint(signer, size, root)
        with database.write() as tx:
            tx.run(SQL["add_checkpoint"], {"size": size, "note": note, "at": moment(datetime.now(UTC))})
            _thin(tx)
        return note

    def _grow(self, tx: Transaction, first: int, bodies: Sequence[bytes]) -> Frontier:
        # A kept frontier is of a committed size; the log is append-only, so the same size is the same tree.
        frontier = self._frontier
        if frontier is None or frontier.size != first:
            frontier = Frontier.load(SqlNodes(tx), first)
        grown = frontier.copy()
        nodes: list[tuple[int, int, bytes]] = []
        for body in bodies:
            nodes += grown.push(leaf_hash(body))
        SqlNodes(tx).put_many(nodes)
        return grown


def _row(entry: Entry) -> dict[str, Any]:
    """An entry that has no leaf yet, and the columns that index it."""
    return {
        "id": entry.id,
        "leaf": None,
        "project": entry.project,
        "what": str(entry.what),
        "op": entry.op,
        "at": entry.at,
        "body": canonical(entry),
    }


def _thin(tx: Transaction) -> None:
    """Of checkpoints older than the newest, only the last of each day stays: every later one covers it."""
    older = tx.rows(SQL["old_checkpoints"], {"newest": NEWEST})
    if len(older) == 2 and older[0][1][:10] == older[1][1][:10]:
        tx.run(SQL["drop_checkpoint"], {"size": older[1][0]})


def _check_extends(nodes: SqlNodes, size: int, signed: Checkpoint) -> None:
    if signed.size > size:
        raise LedgerDamaged(
            f"the ledger has {size} entries, a checkpoint covers {signed.size}: nothing more is signed",
            next_step="falaj ledger verify; restore the newer database",
        )
    if Frontier.load(nodes, signed.size).root() != signed.root:
        raise LedgerDamaged(
            f"the first {signed.size} entries are not those that were signed: nothing more is signed",
            next_step="falaj ledger verify names the cause",
        )


class Heads:
    """The signed heads of one store: made when asked for, and put outside of it. Safe to use from several threads.

    Args:
        publish: called with each new note; puts it outside of the store.
        earlier: retired keys that checkpoints may be signed by.
    """

    def __init__(
        self,
        log: Log,
        database: Database,
        signer: Signer,
        publish: Callable[[str], None],
        earlier: Sequence[Verifier] = (),
    ) -> None:
        self._log, self._database, self._signer, self._publish = log, database, signer, publish
        self._earlier = earlier
        self._published: str | None = None
        self._lock = threading.Lock()
        self._apart: ThreadPoolExecutor | None = None

    def renew(self) -> str | None:
        """Number what waits, sign the head where it grew, and publish it; never inside an open transaction.

        Returns: the newest note, None for an empty ledger. On a store opened read-only nothing is signed.
        Raises: LedgerDamaged, CheckpointInvalid; whatever `publish` raises.
        """
        while not self._database.read_only and self._log.sequence(self._database) == BATCH:
            pass
        note = self._log.checkpoint(self._database, self._signer, self._earlier)
        with self._lock:
            if note and note != self._published and not self._database.read_only:
                self._publish(note)
                self._published = note
        return note

    def renew_apart(self) -> None:
        """As `renew`, in a thread of its own: for who has a snapshot open, which sees it if nothing was read in it yet.

        Raises nothing: a head that cannot be signed stays unsigned, and whoever looks finds why.
        """
        from concurrent.futures import ThreadPoolExecutor  # it imports logging, which few commands need

        with self._lock:
            if self._apart is None:
                self._apart = ThreadPoolExecutor(1, "falaj-heads")
        with suppress(FalajError):
            self._apart.submit(self.renew).result()

    def close(self) -> None:
        """End the thread, where there is one."""
        if self._apart is not None:
            self._apart.shutdown()


class Sequencer:
    """The thread that numbers pending entries and signs checkpoints, at least once a second, sooner when woken.

    Args:
        publish: called with each new checkpoint note; puts it outside of the store.
        earlier: retired keys that checkpoints may be signed by.

    `failures` and `last_error` tell of rounds that did not succeed; each is tried again.
    """

    def __init__(
        self,
        log: Log,
        database: Database,
        signer: Signer,
        publish: Callable[[str], None],
        earlier: Sequence[Verifier] = (),
    ) -> None:
        self._log = log
        self._heads = Heads(log, database, signer, publish, earlier)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="falaj-sequencer", daemon=True)
        self.failures = 0
        self.last_error = ""

    def start(self) -> None:
        """Start the thread."""
        self._log.wake = self._wake.set
        self._thread.start()

    def stop(self) -> None:
        """Number what is left, sign, and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=20)

    def _run(self) -> None:
        while True:
            self._wake.wait(timeout=1.0)
            self._wake.clear()
            stopping = self._stopping.is_set()
            self._round()
            if stopping:
                return
            self._stopping.wait(PAUSE_S)

    def _round(self) -> None:
        # The thread must outlive a database that is away for a while; what failed is counted and tried again.
        try:
            self._heads.renew()
        except Exception as error:  # noqa: BLE001
            self.failures += 1
            self.last_error = f"{type(error).__name__}: {error}"
