"""What must hold when a story is over, whoever was killed in it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from falaj.core import predictions
from falaj.core.bundle_folder import BundleFolder
from falaj.core.names import Thing
from falaj.platform import Platform
from falaj.platform.layout import Layout
from falaj.store.metadata import Transaction
from falaj.store.rows import RUN
from tests.faults.year.asking import Answer
from tests.faults.year.killer import Killer
from tests.faults.year.persons import PROJECT
from tests.faults.year.story import Story

REFS = """
    SELECT a.kind || '/' || a.name || '@' || r.name, r.version FROM ref r JOIN asset a ON a.id = r.asset
"""
VERSIONS = """
    SELECT a.kind || '/' || a.name, max(v.number) FROM version v JOIN asset a ON a.id = v.asset GROUP BY 1
"""
MOVES = """
    SELECT m.version FROM ref_move m JOIN asset a ON a.id = m.asset
     WHERE a.kind = 'model' AND m.ref = 'production' ORDER BY m.revision
"""
DONE_TWICE = "SELECT key FROM step WHERE state = 'done' GROUP BY key HAVING count(*) > 1"
CAUSES = """
    SELECT m.entry FROM ref_move m JOIN asset a ON a.id = m.asset
     WHERE a.kind = 'dataset' AND a.name = 'flights' AND m.ref = 'main' ORDER BY m.revision
"""
STARTS = "SELECT entry, state FROM trigger_start ORDER BY number"


def outcome(folder: Path) -> dict[str, Any]:
    """What a story came to, in words and numbers that two plays have in common: refs, versions, moves, routing."""
    with Platform.open(folder, server=True) as platform, platform.ground.database.read() as tx:
        return {
            "refs": {str(row[0]): row[1] for row in tx.rows(REFS)},
            "versions": {str(row[0]): row[1] for row in tx.rows(VERSIONS)},
            "moves": [row[0] for row in tx.rows(MOVES)],
            "routes": json.loads(str(next(iter(tx.rows("SELECT routes FROM routing ORDER BY revision DESC")))[0])),
        }


def check(story: Story, killer: Killer) -> None:
    """All that was acknowledged is there once, all that is there is sound, and nothing else is left."""
    assert story.asker is not None
    assert story.asker.wrong == []
    assert killer.orphans() == []
    assert story.inference is not None
    assert (story.server.crashes, story.inference.crashes) == ([], [])
    _a_day_later(Layout(story.folder))
    with Platform.open(story.folder, server=True) as platform:
        session = platform.session(PROJECT)
        for what in ("ledger.verify", "store.verify"):
            found = session.call(what)
            assert found["ok"], found["problems"]
        with platform.ground.database.read() as tx:
            _entries(tx, story, killer)
            _once(tx, len(story.months))
        _bundle(platform)
        _predictions(platform, story.asker.answers, story.folder / "collected")
        _nothing_left(platform)


def _entries(tx: Transaction, story: Story, killer: Killer) -> None:
    """Every entry that was acknowledged or seen stands where it stood."""
    there = {int(row[0]): (str(row[1]), str(row[2])) for row in tx.rows("SELECT leaf, id, op FROM ledger_entry")}
    assert {number: there[number][0] for number in killer.seen} == killer.seen
    told = story.persons.told
    assert [(one.operation, one.entry) for one in told] == [(there[one.entry][1], one.entry) for one in told]


def _once(tx: Transaction, months: int) -> None:
    """No step was committed twice, each cause was started once, and nobody is still at work."""
    assert list(tx.rows(DONE_TWICE)) == []
    causes = [row[0] for row in tx.rows(CAUSES)][-months:]
    assert [tuple(row) for row in tx.rows(STARTS)] == [(cause, "done") for cause in causes]
    assert [run.id for run in RUN.where(tx, "state = 'running'", {})] == []


def _bundle(platform: Platform) -> None:
    """The bundle says what the routing says."""
    with platform.ground.database.read() as tx:
        (revision,) = next(iter(tx.rows("SELECT max(revision) FROM routing")))
    assert BundleFolder(platform.layout.serving / "delay").revision() == revision


def _predictions(platform: Platform, answers: Sequence[Answer], into: Path) -> None:
    """Every acknowledged answer is once in what was collected or in the log, as it was told."""
    with platform.ground.database.read() as tx:
        project = platform.ground.catalog.project(tx, PROJECT)
        held = platform.ground.catalog.resolve(tx, project.id, Thing.parse("dataset/delay_predictions@main"))
        (kept,) = next(iter(tx.rows("SELECT coalesce(sum(rows), 0) FROM segment")))
    lines = [
        (row["prediction"], row["key"], row["version"], row["output"])
        for path in platform.ground.contents.checkout(held.version, into)
        for row in pq.read_table(path, columns=["prediction", "key", "version", "output"]).to_pylist()
    ]
    assert len(lines) == kept
    log = platform.layout.serving / "delay" / "log"
    assert predictions.unsealed(log) == []
    with platform.ground.database.read() as tx:
        collected = {str(row[0]) for row in tx.rows("SELECT segment FROM segment")}
    for path in predictions.sealed(log):
        if path.stem not in collected:
            lines += [(line.id, line.key, line.version, line.output) for line in predictions.read(path)[0]]
    times = Counter(lines)
    lost = [answer for answer in answers if times[(*answer,)] != 1]
    assert lost == [], f"{len(lost)} of {len(answers)} acknowledged predictions are not there once"
    assert len({line[0] for line in lines}) == len(lines), "a prediction is there twice"


def _a_day_later(layout: Layout) -> None:
    """Make what was cut off as old as a day, so that nobody waits for it any more."""
    folders = (layout.scratch, layout.staging, layout.serving)
    for left in (*layout.checkpoints.glob(".part-*"), *(path for folder in folders for path in folder.rglob("*"))):
        os.utime(left, (0, 0), follow_symlinks=False)


def _nothing_left(platform: Platform) -> None:
    """Nothing is left of what was cut off: files that were sent, drafts, uploads, packs that nobody names."""
    layout, ground = platform.layout, platform.ground
    with ground.database.write() as tx:
        tx.run("UPDATE upload SET expires_at = '2020-01-01T00:00:00.000000Z'")
    platform.session(PROJECT).call("store.gc")
    with ground.database.read() as tx:
        known = {f"packs/{row[0]}" for row in tx.rows("SELECT id FROM pack")}
    assert {found.name for found in ground.contents.readers.location("main").list()} == known
    assert list((layout.store / "objects" / ".tmp").iterdir()) == []
    assert [*layout.scratch.iterdir(), *layout.staging.iterdir(), *layout.checkpoints.glob(".*")] == []
    assert list(layout.serving.rglob(".*")) == []
