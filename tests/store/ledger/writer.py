"""A process that writes to a store, or numbers its ledger, until it is told or killed.

Usage: python -m tests.store.ledger.writer write ADDRESS SEED COUNT
       python -m tests.store.ledger.writer sequence ADDRESS FOLDER

A writer moves a few refs that all writers move, and prints the id of each entry once it is committed. A database that
goes away is waited for.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from falaj.core.entries import What
from falaj.core.errors import Unavailable
from falaj.core.records import Ref
from falaj.store.ledger.log import Log, Sequencer
from falaj.store.ledger.publish import Publisher
from falaj.store.metadata import open_database
from falaj.store.rows import REF
from falaj.store.unit import Units
from tests.store.catalog.ground import ALICE, KEY
from tests.store.ledger.stores import SIGNER

REFS = ("main", "tested", "served")
PATIENCE_S = 60.0


def write(address: str, seed: int, count: int) -> None:
    database = open_database(address)
    log = Log(database.dialect)
    units = Units(database, log, KEY)
    rng = random.Random(seed)
    for number in range(count):
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                print(_move(units, rng.choice(REFS), number), flush=True)
                break
            except Unavailable:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)


def _move(units: Units, name: str, number: int) -> str:
    with units.begin(ALICE, "ref.move") as unit:
        held = REF.get(unit.tx, "shared", name, lock=True)
        revision = held.revision + 1 if held else 1
        ref = Ref(asset="shared", name=name, version=number + 1, revision=revision, moved_at=unit.now)
        unit.put(REF, ref)
        entry = unit.say(What.REF_MOVED, ["shared"], detail={"ref": name, "revision": revision})
    return entry.id


def sequence(address: str, folder: str) -> None:
    database = open_database(address)
    sequencer = Sequencer(Log(database.dialect), database, SIGNER, Publisher(Path(folder)).publish)
    sequencer.start()
    print("at work", flush=True)
    sys.stdin.read()  # until whoever started this ends, or closes it
    sequencer.stop()


def main() -> None:
    role, address, *rest = sys.argv[1:]
    if role == "write":
        write(address, int(rest[0]), int(rest[1]))
    else:
        sequence(address, rest[0])


if __name__ == "__main__":
    main()
