"""The store as a whole: how it is, whether it is sound, what can go, what can be set right."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from falaj.core.entries import What
from falaj.core.errors import Invalid
from falaj.platform import Platform
from falaj.store import runs
from falaj.store.errors import StoreReadOnly
from falaj.store.ledger.errors import LedgerDamaged
from falaj.store.rows import RUN
from falaj.trust.store_operations import lose_dead_runs
from tests.platform.places import Served, rows


@pytest.fixture
def filled(platform: Platform, tmp_path: Path) -> Platform:
    """A dataset of two versions."""
    add(platform, rows(tmp_path / "2013-01.csv"))
    add(platform, rows(tmp_path / "2013-02.csv", 5))
    return platform


def add(platform: Platform, file: Path) -> None:
    session = platform.session("flights")
    staged = session.stage(file)
    session.call("data.add", {"dataset": "flights", "files": [{"staged": staged["staged"], "name": file.name}]})


def call(platform: Platform, operation: str, **args: Any) -> Any:
    return platform.session("flights").call(operation, args)


def behind_the_door(platform: Platform, sql: str, **params: Any) -> None:
    with platform.ground.database.write() as tx:
        assert tx.run(sql, params)


def packs(platform: Platform) -> list[Path]:
    return [f for f in (platform.layout.store / "objects").rglob("*") if f.is_file() and f.stat().st_size > 500]


# status


def test_the_status_tells_what_there_is(on_both: Platform) -> None:
    on_both.sign()
    found = call(on_both, "store.status")
    assert (found["mode"], found["projects"], found["pending"]) == ("embedded", 1, 0)
    assert found["entries"] == found["checkpoint"] == 3
    assert found["database"].split()[0] == on_both.ground.database.dialect
    assert "keys: 3 live" in found["notes"]
    assert "location main: AE-DU" in found["notes"]
    assert any(str(on_both.layout.checkpoints) in note for note in found["notes"])


def test_the_status_tells_of_runs_whose_process_is_gone(platform: Platform) -> None:
    lost_run(platform)
    assert "runs: 0 at work, 1 of dead processes (falaj repair)" in call(platform, "store.status")["notes"]


def test_the_status_of_a_served_store(served: Served) -> None:
    assert served.owner.call("store.status", project="").mode == "server"


# verify


def test_a_sound_store(on_both: Platform, tmp_path: Path) -> None:
    add(on_both, rows(tmp_path / "2013-01.csv"))
    found = call(on_both, "store.verify")
    assert (found["ok"], found["problems"], found["versions"]) == (True, [], 1)
    assert found["bytes_read"] > 0
    assert found["states"] > 5


def test_a_flipped_bit_in_a_pack_and_a_changed_row_are_told_together(filled: Platform) -> None:
    pack = packs(filled)[0]
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    behind_the_door(filled, "UPDATE version SET state = 'retired' WHERE number = 1")
    found = call(filled, "store.verify")
    sorts = {problem["sort"] for problem in found["problems"]}
    assert not found["ok"]
    assert "state_changed" in sorts
    assert any(sort.startswith("bytes_") for sort in sorts)
    assert all(problem["where"] and problem["message"] for problem in found["problems"])


def test_a_pack_that_is_gone(filled: Platform) -> None:
    packs(filled)[0].unlink()
    found = call(filled, "store.verify")
    assert {problem["sort"] for problem in found["problems"]} == {"bytes_missing"}
    assert all("restore" in problem["next_step"] for problem in found["problems"])


def test_the_run_of_a_verification_says_what_came_of_it(filled: Platform) -> None:
    behind_the_door(filled, "UPDATE version SET digest = 'sha256:0' WHERE number = 1")
    call(filled, "store.verify")
    with filled.ground.database.read() as tx:
        [run] = runs.page(tx, "", sort="store.verify")
    assert (run.state, run.result) == ("done", {"ok": False, "problems": 1})


# gc


def test_what_nothing_reaches_goes_and_what_something_reaches_stays(filled: Platform, tmp_path: Path) -> None:
    retire_first(filled, tmp_path)
    told = call(filled, "store.gc", dry_run=True)
    assert (told["dry_run"], told["packs"], told["versions_emptied"], told["entry_id"]) == (True, 2, 2, None)
    assert len(packs(filled)) == 3
    done = call(filled, "store.gc")
    assert (done["packs"], done["bytes"], done["versions_emptied"]) == (2, told["bytes"], 2)
    assert len(packs(filled)) == 1
    entry = call(filled, "ledger.show", entry=done["entry_id"], scope="store")
    assert (entry["what"], entry["detail"]["packs"]) == (str(What.OBJECTS_COLLECTED), 2)
    assert {row["table"] for row in entry["rows"]} == {"version"}
    assert call(filled, "store.gc")["packs"] == 0
    assert call(filled, "store.verify")["ok"]


def test_what_was_retired_lately_may_be_kept_for_a_while(filled: Platform, tmp_path: Path) -> None:
    retire_first(filled, tmp_path)
    assert call(filled, "store.gc", grace="30d")["packs"] == 0
    call(filled, "version.restore", thing="dataset/flights:1")
    assert call(filled, "store.verify")["ok"]


@pytest.mark.parametrize("grace", ["soon", "0d", "-1d", "99999w"])
def test_a_grace_is_a_span_of_time(platform: Platform, grace: str) -> None:
    with pytest.raises(Invalid, match="span"):
        call(platform, "store.gc", grace=grace)


def retire_first(platform: Platform, tmp_path: Path) -> None:
    """Two of three versions are retired, and nothing of theirs is in the third."""
    session = platform.session("flights")
    staged = session.stage(rows(tmp_path / "other.csv", 100, 50))
    files = [{"staged": staged["staged"], "name": "other.csv"}]
    session.call("data.add", {"dataset": "flights", "mode": "replace", "files": files})
    for number in (1, 2):
        call(platform, "version.retire", thing=f"dataset/flights:{number}")


# repair


def test_a_sound_store_needs_no_repair(on_both: Platform) -> None:
    done = call(on_both, "store.repair")
    assert (done["nodes"], done["columns"], done["lost_runs"]) == (0, 0, 0)
    assert call(on_both, "ledger.show", entry=done["entry_id"], scope="store")["what"] == "store.repaired"


def test_a_lost_tree_is_written_anew_although_nothing_else_can_be_written_without_it(on_both: Platform) -> None:
    on_both.sign()
    behind_the_door(on_both, "DELETE FROM ledger_node")
    behind_the_door(on_both, "UPDATE ledger_entry SET op = 'other' WHERE leaf = 1")
    done = call(on_both, "store.repair")
    assert (done["nodes"], done["columns"]) == (4, 1)
    assert call(on_both, "ledger.verify")["ok"]
    call(on_both, "project.create", name="trains")
    assert call(on_both, "ledger.verify")["ok"]


def test_declared_fields_are_written_anew(filled: Platform) -> None:
    with filled.ground.database.read() as tx:
        before = tx.rows("SELECT * FROM projection ORDER BY asset, number, field")
    behind_the_door(filled, "DELETE FROM projection")
    assert call(filled, "store.repair")["versions"] == 2
    with filled.ground.database.read() as tx:
        assert tx.rows("SELECT * FROM projection ORDER BY asset, number, field") == before


def test_runs_of_dead_processes_are_ended_as_lost(platform: Platform) -> None:
    run = lost_run(platform)
    assert call(platform, "store.repair")["lost_runs"] == 1
    with platform.ground.database.read() as tx:
        assert runs.get(tx, platform_project(platform), run).state == "lost"
    assert call(platform, "ledger.verify")["ok"]


def test_runs_of_living_processes_and_of_other_hosts_are_left_alone(platform: Platform) -> None:
    lost_run(platform, owner=runs.this_process())
    lost_run(platform, owner="another-host:1:1")
    with platform.ground.units.begin(platform.caller.actor, "test") as unit:
        assert lose_dead_runs(unit) == 0


def test_an_entry_that_was_tampered_with_is_not_repaired(platform: Platform) -> None:
    platform.sign()
    behind_the_door(platform, "UPDATE ledger_entry SET body = :body WHERE leaf = 1", body=b"{}")
    with pytest.raises(LedgerDamaged, match="beyond repair"):
        call(platform, "store.repair")
    assert not call(platform, "ledger.verify")["ok"]


def lost_run(platform: Platform, owner: str = "") -> str:
    """A run whose process ended without a word, unless another owner is given."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = runs._start_of(process.pid)
    process.communicate(b"\n")
    gone = f"{socket.gethostname()}:{process.pid}:{started}"
    with platform.ground.units.begin(platform.caller.actor, "train", platform_project(platform)) as unit:
        run = runs.start(unit, "train")
        unit.put(RUN, replace(run, owner=owner or gone))
        unit.say(What.RUN_STARTED, [run.id])
    return run.id


def platform_project(platform: Platform) -> str:
    with platform.ground.database.read() as tx:
        row = platform.ground.project_by_name(tx, "flights")
    assert row is not None
    return row.id


# a store that cannot be written


@pytest.mark.parametrize("operation", ["store.verify", "store.gc", "store.repair"])
def test_what_writes_is_refused_on_a_store_that_is_only_read(place: Path, operation: str) -> None:
    Platform.create(place, "flights").close()
    with Platform.open(place, read_only=True) as platform, pytest.raises(StoreReadOnly):
        call(platform, operation)
