"""The ledger through the door: read, proved, verified and exported by whoever may, embedded and served."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from falaj.cli.commands import ledger as command
from falaj.core.entries import What
from falaj.core.errors import Damaged, Forbidden, Invalid, NotFound
from falaj.data.records import ContractRefused
from falaj.platform import Platform
from falaj.store.ledger.errors import ExportExists, LedgerDamaged
from falaj.store.metadata.tables import Table
from falaj.trust.proving import GOVERNED
from tests.platform.places import Served, contract

STRANGER = Path(__file__).parents[2] / "docs" / "stranger_verify.py"


def test_every_governed_table_of_the_house_is_verified() -> None:
    modules = [module for name, module in sys.modules.items() if name.startswith("falaj.")]
    tables = {v.name for m in modules for v in vars(m).values() if isinstance(v, Table) and v.governed}
    assert tables == {table.name for table in GOVERNED}


# reading


def log(platform: Platform, scope: str = "store", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = platform.session("flights").call("ledger.log", {"scope": scope, **more})
    return found


def numbers(page: dict[str, Any]) -> list[int | None]:
    return [entry["leaf"] for entry in page["items"]]


def test_the_log_of_a_project_holds_its_own_entries_and_that_of_the_store_all(platform: Platform) -> None:
    platform.session("").call("project.create", {"name": "trains"})
    platform.sign()
    of_all = [(e["what"], e["project"]) for e in log(platform)["items"]]
    assert of_all == [
        ("project.created", "trains"),
        ("project.created", "flights"),
        ("principal.added", ""),
        ("store.created", ""),
    ]
    assert [(e["what"], e["project"]) for e in log(platform, "project:trains")["items"]] == of_all[:1]


def test_the_log_pages_backwards_without_gap_or_repeat(on_both: Platform) -> None:
    for number in range(5):
        on_both.session("").call("project.create", {"name": f"p{number}"})
    on_both.sign()
    whole, before, pages = numbers(log(on_both)), None, []
    while True:
        page = log(on_both, limit=3, **({} if before is None else {"before": before}))
        pages += numbers(page)
        before = page["next"]
        if before is None:
            break
    assert pages == whole == sorted(whole, reverse=True)


def test_the_log_of_one_event(platform: Platform) -> None:
    assert [e["what"] for e in log(platform, what="store.created")["items"]] == ["store.created"]
    with pytest.raises(Invalid, match="nonsense") as told:
        log(platform, what="nonsense")
    assert "store.created" in told.value.next_step


def test_entries_that_wait_for_a_number_come_first_and_are_counted(on_both: Platform) -> None:
    on_both.sign()
    on_both.session("").call("project.create", {"name": "trains"})
    page = log(on_both, limit=2)
    waits = on_both.ground.database.dialect == "postgresql"
    assert (page["pending"], numbers(page)) == ((1, [None, 2]) if waits else (0, [3, 2]))
    assert log(on_both, limit=1)["next"] is not None
    rest = log(on_both, before=log(on_both, limit=1)["next"])
    assert numbers(rest) == [2, 1, 0]


@pytest.mark.parametrize("scope", ["asset:flights/dataset/flights", "run:flights/1", "nonsense", ""])
def test_the_scope_of_the_log_is_the_store_or_a_project(platform: Platform, scope: str) -> None:
    with pytest.raises(Invalid):
        log(platform, scope)


def test_an_entry_is_shown_by_number_and_by_id_with_its_words(on_both: Platform) -> None:
    on_both.sign()
    session = on_both.session("flights")
    by_number = session.call("ledger.show", {"entry": "2", "scope": "store"})
    assert by_number == session.call("ledger.show", {"entry": by_number["id"], "scope": "project:flights"})
    assert (by_number["what"], by_number["detail"], by_number["words"]) == (
        "project.created",
        {"name": "flights"},
        "kept",
    )
    assert {row["table"] for row in by_number["rows"]} == {"project", "wrapped_key"}
    assert json.loads(by_number["body"])["id"] == by_number["id"]
    assert by_number["signed"] is True


def test_words_that_were_erased_or_changed_are_told_apart(platform: Platform) -> None:
    platform.sign()
    database, session = platform.ground.database, platform.session("flights")

    def words(entry: int) -> tuple[str, dict[str, Any]]:
        shown = session.call("ledger.show", {"entry": str(entry), "scope": "store"})
        return shown["words"], shown["detail"]

    entry = session.call("ledger.show", {"entry": "2", "scope": "store"})["id"]
    with database.write() as tx:
        tx.run("UPDATE ledger_detail SET body = :body WHERE entry = :entry", {"entry": entry, "body": b'{"name":"x"}'})
    assert words(2) == ("changed", {})
    with database.write() as tx:
        tx.run("DELETE FROM ledger_detail WHERE entry = :entry", {"entry": entry})
    assert words(2) == ("erased", {})
    assert words(0)[0] == "none"


@pytest.mark.parametrize("entry", ["99", "-1", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "'; --", "9" * 40, "²"])
def test_an_entry_that_is_not_there(platform: Platform, entry: str) -> None:
    with pytest.raises(NotFound, match="no such entry, or not for you"):
        platform.session("flights").call("ledger.show", {"entry": entry, "scope": "store"})


def test_an_entry_of_another_project_is_not_there(platform: Platform) -> None:
    platform.session("").call("project.create", {"name": "trains"})
    platform.sign()
    for operation in ("ledger.show", "ledger.proof"):
        with pytest.raises(NotFound, match="no such entry, or not for you"):
            platform.session("trains").call(operation, {"entry": "2", "scope": "project:trains"})


def test_an_unreadable_entry_is_told_as_damage(platform: Platform) -> None:
    platform.sign()
    with platform.ground.database.write() as tx:
        tx.run("UPDATE ledger_entry SET body = :body WHERE leaf = 1", {"body": b"\xff"})
    with pytest.raises(LedgerDamaged, match="entry 1 cannot be read"):
        log(platform)


# who may


def test_owners_and_auditors_read_the_ledger_and_nobody_else(served: Served) -> None:
    auditor = served.person("aisha", ("auditor", "store"))
    of_project = served.person("omar", ("auditor", "project:flights"))
    maintainer = served.person("maya", ("maintainer", "store"))
    for person in (served.owner, auditor):
        assert person.call("ledger.log", scope="store").items
        assert person.call("ledger.verify", project="").ok
    assert of_project.call("ledger.log", scope="project:flights").items
    for operation, args in (
        ("ledger.log", {"scope": "store"}),
        ("ledger.show", {"scope": "store", "entry": "0"}),
        ("ledger.verify", {}),
        ("ledger.consistency", {"old": 1}),
        ("ledger.export", {}),
    ):
        with pytest.raises((NotFound, Forbidden)):
            of_project.call(operation, project="", **args)
        with pytest.raises((NotFound, Forbidden)):
            maintainer.call(operation, project="", **args)


def test_words_about_a_thing_are_hidden_from_who_may_not_read_it(served: Served, tmp_path: Path) -> None:
    olga = served.owner
    olga.call("config.apply", files=[contract(classification="restricted")])
    broken = tmp_path / "broken.csv"
    broken.write_text("id,city\n7,Dubai\n7,Dubai\n")
    with pytest.raises(ContractRefused):
        olga.call("data.add", dataset="flights", files=[olga.stage(broken)])
    cleared = served.person(
        "aisha", ("auditor", "store"), groups=["clearance-restricted"], conditions=["classification"]
    )
    curious = served.person("omar", ("auditor", "store"), groups=["clearance-public"], conditions=["classification"])

    def refusal(person: Any) -> Any:
        found = person.call("ledger.log", scope="store", what="request.refused").items
        return next(e for e in found if "dataset/flights" in e.on)

    assert refusal(cleared).words == "kept"
    assert refusal(cleared).detail["code"] == "contract_refused"
    assert (refusal(curious).words, refusal(curious).detail) == ("hidden", {})


# proving


def stranger(folder: Path, *more: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", str(STRANGER), str(folder), *map(str, more)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def export_to(platform: Platform, folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = command.export(
        platform.session("flights"), {}, {"into": str(folder)}, lambda _what, _done, _total: None
    )
    return told


def test_an_export_holds_all_that_was_committed_and_a_stranger_verifies_it(on_both: Platform, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(on_both.sign() or "")
    on_both.session("").call("project.create", {"name": "trains"})
    told = export_to(on_both, tmp_path / "out")
    code, words = stranger(tmp_path / "out", "--kept", kept)
    assert (code, told["size"]) == (0, 5), words  # the reading is an entry itself, and in it
    assert "the first 3 are those of the kept checkpoint" in words


def test_proofs_hold_for_a_stranger(platform: Platform, tmp_path: Path) -> None:
    session = platform.session("flights")
    proofs = [
        session.call("ledger.proof", {"entry": "1", "scope": "store"}),
        session.call("ledger.consistency", {"old": 2}),
        session.call("ledger.consistency", {"old": 0, "new": 3}),
    ]
    export_to(platform, tmp_path / "out")
    for proof in proofs:
        (tmp_path / "proof.json").write_text(json.dumps(proof))
        code, words = stranger(tmp_path / "out", "--proof", tmp_path / "proof.json")
        assert code == 0, words


def test_a_proof_signs_what_was_not_signed_yet(on_both: Platform) -> None:
    on_both.session("").call("project.create", {"name": "trains"})
    proof = on_both.session("flights").call("ledger.proof", {"entry": "3", "scope": "store"})
    assert (proof["leaf"], proof["size"]) == (3, 4)
    assert "\n4\n" in proof["checkpoint"]


def test_sizes_that_the_ledger_never_had_have_no_proof(platform: Platform) -> None:
    session = platform.session("flights")
    for args in ({"old": 5, "new": 2}, {"old": 1, "new": 99}, {"old": -1}):
        with pytest.raises(Invalid):
            session.call("ledger.consistency", args)


def test_a_damaged_ledger_is_not_exported(platform: Platform, tmp_path: Path) -> None:
    platform.sign()
    with platform.ground.database.write() as tx:
        tx.run("UPDATE ledger_entry SET body = :body WHERE leaf = 1", {"body": b"{}"})
    with pytest.raises(LedgerDamaged, match="are not the"):
        export_to(platform, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_taken_is_left_alone(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ExportExists):
        export_to(platform, tmp_path)


class _Cut:
    project = "flights"

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def stream(self, operation: str, args: Any = None) -> Iterator[bytes]:
        yield from self._pieces


@pytest.mark.parametrize("keep", [0, 1, 3], ids=["nothing", "head only", "cut within a line"])
def test_an_export_that_was_cut_on_its_way_leaves_nothing(platform: Platform, tmp_path: Path, keep: int) -> None:
    whole = b"".join(platform.session("flights").stream("ledger.export"))
    lines = whole.splitlines(keepends=True)
    cut = b"".join(lines[:keep])[: -5 if keep == 3 else None]
    session: Any = _Cut([cut[i : i + 7] for i in range(0, len(cut), 7)])
    with pytest.raises(Damaged):
        command.export(session, {}, {"into": str(tmp_path / "out")}, lambda *_: None)
    assert not (tmp_path / "out").exists()


# verifying


def verified(platform: Platform, *kept: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.session("flights").call("ledger.verify", {"kept": list(kept)})
    return found


def test_a_sound_ledger_is_verified_against_what_is_published(platform: Platform) -> None:
    found = verified(platform)
    assert (found["ok"], found["problems"], found["pending"]) == (True, [], 0)
    assert found["signed"] == found["entries"] == 3
    assert found["kept"] == 1


def test_a_row_changed_behind_the_door_is_told_in_words_with_the_next_step(on_both: Platform) -> None:
    with on_both.ground.database.write() as tx:
        tx.run("UPDATE project SET name = 'other'")
        [project] = tx.rows("SELECT id FROM project")
    found = verified(on_both)
    [problem] = found["problems"]
    assert (found["ok"], problem["sort"]) == (False, "state_changed")
    assert problem["where"] == f"project {project[0]}, entry 2"
    assert "through the door or from a backup" in problem["next_step"]


def test_an_older_database_put_back_is_found_by_the_published_checkpoints(place: Path) -> None:
    database = place / ".falaj" / "falaj.db"
    Platform.create(place, "flights").close()
    shutil.copy(database, place / "backup.db")
    with Platform.open(place) as platform:
        platform.session("").call("project.create", {"name": "trains"})
    for ending in ("-wal", "-shm"):
        (place / ".falaj" / f"falaj.db{ending}").unlink(missing_ok=True)
    shutil.copy(place / "backup.db", database)
    with Platform.open(place) as platform:
        found = verified(platform)
        assert not found["ok"]
        assert {problem["sort"] for problem in found["problems"]} == {"tail_cut"}
        with pytest.raises(LedgerDamaged):
            platform.sign()


def test_a_checkpoint_from_elsewhere_may_be_given(platform: Platform) -> None:
    kept = platform.sign() or ""
    assert verified(platform, kept)["kept"] == 2
    assert [p["sort"] for p in verified(platform, "scribble")["problems"]] == ["checkpoint_invalid"]


def test_checkpoints_are_published_where_the_project_says(place: Path, tmp_path: Path) -> None:
    toml = place / "falaj.toml"
    toml.write_text(toml.read_text() + f'\n[ledger]\npublish = "file:{tmp_path / "witness"}"\n')
    with Platform.create(place, "flights") as platform:
        assert verified(platform)["kept"] == 1
    assert [file.name for file in (tmp_path / "witness").iterdir()] == [f"{3:020d}"]


def test_verification_of_a_store_on_a_read_only_disk(place: Path) -> None:
    Platform.create(place, "flights").close()
    with Platform.open(place, read_only=True) as platform:
        assert verified(platform)["ok"]
        assert log(platform)["items"]


def test_every_reading_of_the_whole_ledger_is_an_entry(platform: Platform) -> None:
    b"".join(platform.session("flights").stream("ledger.export"))
    platform.sign()
    newest = log(platform)["items"][0]
    assert (newest["what"], newest["op"]) == (str(What.CONTENT_READ), "ledger.export")
