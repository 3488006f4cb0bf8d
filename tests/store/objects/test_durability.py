"""What is on the disk when: every pack, and its name, is synced before the commit that names it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from .small_store import open_small
from .tracing import Call, calls, run, unsynced
from .worker import files_of


@pytest.fixture
def trace(strace: str, tmp_path: Path) -> tuple[list[Call], Path]:
    folder = tmp_path / "store"
    folder.mkdir()
    code, lines = run(strace, tmp_path / "log", folder, "add", "flights", "1")
    assert (code, lines) == (0, ["added 1 1"])
    return calls(tmp_path / "log"), folder


def committed(folder: Path) -> list[str]:
    store = open_small(folder)
    with store.database.read() as tx:
        packs = [str(row[0]) for row in tx.rows("SELECT id FROM pack ORDER BY id")]
    store.close()
    return packs


@pytest.mark.faults
def test_every_pack_and_its_name_are_synced_before_the_commit_that_names_them(trace: tuple[list[Call], Path]) -> None:
    made, folder = trace
    packs = committed(folder)
    assert len(packs) == 3
    assert {pack: unsynced(made, pack, folder) for pack in packs} == dict.fromkeys(packs, "")


@pytest.mark.faults
def test_folders_are_synced_into_the_one_above_before_the_commit(trace: tuple[list[Call], Path]) -> None:
    made, folder = trace
    named = next(i for i, c in enumerate(made) if c.name == "pwrite64" and committed(folder)[0] in c.args)
    for path, above in ((folder / "objects", folder), (folder / "objects/packs", folder / "objects")):
        make = next(
            i
            for i, c in enumerate(made)
            if not c.result
            and ((c.name == "mkdir" and str(path) in c.args) or (c.name == "mkdirat" and path.name in c.args))
        )
        assert any(make < i < named for i, c in enumerate(made) if c.name == "fsync" and c.path == str(above)), path


@pytest.mark.faults
@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        (lambda c: c.name == "fsync" and "/.tmp/" in c.path, "its bytes were not synced before it got its name"),
        (
            lambda c: c.name == "fsync" and c.path.endswith("/packs"),
            "its name was not synced before the database was told",
        ),
        (lambda c: c.name == "fdatasync", "the commit was not synced"),
        (lambda c: c.name == "linkat", "it was never named"),
    ],
    ids=["bytes", "name", "commit", "link"],
)
def test_a_trace_without_one_of_them_is_found(trace: tuple[list[Call], Path], left_out: object, told: str) -> None:
    """The check itself is checked: it does not pass a trace from which a sync is taken out."""
    made, folder = trace
    less = [replace(c, name="left out") if left_out(c) else c for c in made]  # type: ignore[operator]
    assert {unsynced(less, pack, folder) for pack in committed(folder)} == {told}


@pytest.mark.faults
def test_what_was_traced_reads_back(trace: tuple[list[Call], Path]) -> None:
    store = open_small(trace[1])
    with store.database.read() as tx:
        asset = store.catalog.assets(tx, store.project, "bundle")[0]
        version = store.catalog.version(tx, asset, 1)
    assert store.read_all(version) == files_of(1)
    store.close()
