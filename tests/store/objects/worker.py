"""A process that adds to a store or collects its garbage; run under strace by the fault tests.

Usage: python -m tests.store.objects.worker FOLDER add NAME SEED… | collect

Prints one line for each thing done, once it is committed, and the code of the error that stopped it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from falaj.core.errors import FalajError
from falaj.core.records import Version
from tests.store.objects.small_store import SmallStore, open_small

PACK_SIZE = 256 << 10


def files_of(seed: int) -> dict[str, bytes]:
    """Files that take three packs."""
    rng = random.Random(seed)
    return {f"{seed}/small-{i}.csv": rng.randbytes(3000) for i in range(20)} | {
        f"{seed}/large.bin": rng.randbytes(600_000)
    }


def newest(store: SmallStore, name: str) -> Version | None:
    """The newest version of an asset."""
    with store.database.read() as tx:
        asset = store.catalog.find_asset(tx, store.project, "bundle", name)
        versions = store.catalog.versions(tx, asset, limit=1) if asset else []
    return versions[0] if versions else None


def work(folder: Path, what: str, *words: str) -> Iterator[str]:
    """Do it; a line for each thing done."""
    store = open_small(folder, pack_size=PACK_SIZE)
    try:
        if what == "add":
            for seed in words[1:]:
                version = store.add(words[0], files_of(int(seed)), newest(store, words[0]))
                yield f"added {seed} {version.number}"
        else:
            found, removed = store.collect()
            yield f"collected {found.versions_emptied} {removed.packs}"
    except FalajError as error:
        yield f"failed {error.code}"
    finally:
        store.close()


if __name__ == "__main__":
    for line in work(Path(sys.argv[1]), *sys.argv[2:]):
        print(line, flush=True)
