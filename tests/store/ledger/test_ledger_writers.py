"""Many writers at once: numbers without gaps, no false alarm while they write, nothing lost when one is killed."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from falaj.core.entries import What
from falaj.core.errors import Unavailable
from falaj.core.records import Ref
from falaj.store.ledger.log import Log
from falaj.store.ledger.publish import Publisher
from falaj.store.metadata import open_database
from falaj.store.rows import REF
from falaj.store.unit import Units
from scripts.postgres import PostgresServer
from tests.store.catalog.ground import ALICE, KEY, small_ground
from tests.store.ledger.stores import Store
from tests.store.ledger.writer import PATIENCE_S

WRITERS = 4


class Writer:
    """A writing process and what it said was committed."""

    def __init__(self, *argv: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.ledger.writer", *argv],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.said.append(line.strip())

    def end(self) -> int:
        """Wait for it, or let a sequencer end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(timeout=2 * PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.end()


@contextmanager
def ended(writers: list[Writer]) -> Iterator[list[Writer]]:
    """Whatever happens, no process stays."""
    try:
        yield writers
    finally:
        for writer in writers:
            if writer.process.poll() is None:
                writer.kill()


@contextmanager
def opened(address: str) -> Iterator[Store]:
    database = open_database(address)
    try:
        yield Store(small_ground(database), database)
    finally:
        database.close()


def until(holds: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


def leaves(store: Store) -> list[tuple[int, str]]:
    with store.database.read() as tx:
        return [(row[0], row[1]) for row in tx.rows("SELECT leaf, id FROM ledger_entry ORDER BY leaf")]


def test_verification_beside_writers_raises_no_false_alarm(database_address: str, seed: int) -> None:
    with opened(database_address) as store:
        writers = [Writer("write", database_address, str(seed + n), "60") for n in range(WRITERS)]
        looks = 0
        with ended(writers):
            while any(w.process.poll() is None for w in writers):
                report = store.verify()
                assert report.problems == ()
                looks += 1
                store.ground.log.sequence(store.database)
            assert [w.end() for w in writers] == [0] * WRITERS
        store.settle()
        report = store.verify()
        assert looks > 1
        assert (report.problems, report.pending, report.entries) == ((), 0, 1 + 60 * WRITERS)
        assert {i for w in writers for i in w.said} <= {i for _, i in leaves(store)}


def test_a_number_follows_the_order_of_commits_and_not_of_ids(postgres_url: str) -> None:
    with opened(postgres_url) as store:
        other = open_database(postgres_url)
        early, late = store.ground.units, Units(other, Log(other.dialect), KEY)

        def ref(version: int) -> Ref:
            return Ref(asset="shared", name="main", version=version, revision=version, moved_at="")

        with early.begin(ALICE, "ref.move") as first_id:
            with late.begin(ALICE, "ref.move") as second_id:
                assert first_id.entry_id < second_id.entry_id
                second_id.put(REF, ref(1))
                second_id.say(What.REF_MOVED)
            first_id.put(REF, ref(2))
            first_id.say(What.REF_MOVED)
        assert store.verify().problems == ()
        store.settle()
        assert store.verify().problems == ()
        other.close()


def test_what_waits_is_told_apart_and_numbered_once_whoever_does_it(postgres_url: str) -> None:
    with opened(postgres_url) as store:
        writer = Writer("write", postgres_url, "1", "50")
        assert writer.end() == 0
        report = store.verify()
        assert (report.problems, report.pending) == ((), 51)
        others = [open_database(postgres_url) for _ in range(3)]
        logs = [Log(o.dialect) for o in others]
        threads = [threading.Thread(target=log.sequence, args=(o,)) for log, o in zip(logs, others, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [leaf for leaf, _ in leaves(store)] == list(range(51))
        assert store.verify().problems == ()
        for database in others:
            database.close()


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_when_writers_sequencers_and_the_server_are_killed(
    own_postgres: PostgresServer, rng: random.Random, tmp_path: Path
) -> None:
    address = own_postgres.create_database("falaj")
    with opened(address) as store:
        witness = tmp_path / "witness"
        writers = [Writer("write", address, str(rng.random()).partition(".")[2], "80") for _ in range(WRITERS)]
        sequencers = [Writer("sequence", address, str(witness)) for _ in range(2)]
        with ended([*writers, *sequencers]) as all_of_them:
            until(lambda: sum(len(w.said) for w in writers) > rng.randint(10, 40), "the writers do not begin")
            sequencers.pop().kill()
            sequencers.append(Writer("sequence", address, str(witness)))
            all_of_them.append(sequencers[-1])
            until(lambda: sum(len(w.said) for w in writers) > rng.randint(60, 100), "the writers do not go on")
            writers[0].kill()
            own_postgres.kill()
            own_postgres.start()
            assert [w.end() for w in writers[1:]] == [0] * (WRITERS - 1)
            assert [s.end() for s in sequencers] == [0, 0]
        _reconnect(store)
        store.settle()
        report = store.verify(Publisher(witness).kept())
        assert report.problems == ()
        assert report.kept > 0
        found = leaves(store)
        assert [leaf for leaf, _ in found] == list(range(len(found)))
        said = {entry for w in writers for entry in w.said}
        assert len(said) >= 80 * (WRITERS - 1)
        assert said <= {entry for _, entry in found}


def _reconnect(store: Store) -> None:
    """The server was killed under our connection: it is noticed at its next use."""
    with suppress(Unavailable):
        store.size()
