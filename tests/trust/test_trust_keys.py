"""Keys through the door: what stays readable, what does not, and what the receipts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from falaj.core.entries import What
from falaj.core.errors import Forbidden, Invalid, NotFound
from falaj.platform import Platform
from falaj.store.keys.errors import KeyDestroyed, KeyInUse
from tests.platform.places import Served, rows


@pytest.fixture
def filled(platform: Platform, tmp_path: Path) -> Platform:
    """A dataset of two versions."""
    add(platform, rows(tmp_path / "2013-01.csv"))
    add(platform, rows(tmp_path / "2013-02.csv", 5))
    return platform


def add(platform: Platform, file: Path, dataset: str = "flights") -> None:
    session = platform.session("flights")
    staged = session.stage(file)
    session.call("data.add", {"dataset": dataset, "files": [{"staged": staged["staged"], "name": file.name}]})


def call(platform: Platform, operation: str, **args: Any) -> Any:
    return platform.session("flights").call(operation, args)


def read(platform: Platform, path: str = "2013-01.csv", thing: str = "flights") -> bytes:
    return b"".join(platform.session("flights").stream("data.get", {"thing": thing, "path": path}))


def is_sound(platform: Platform) -> bool:
    return bool(call(platform, "store.verify")["ok"])


def states(platform: Platform, purpose: str) -> list[str]:
    return [k["state"] for k in call(platform, "keys.list") if k["purpose"] == purpose]


def test_keys_are_listed_without_their_bytes(filled: Platform) -> None:
    listed = call(filled, "keys.list")
    assert {k["purpose"] for k in listed} == {"project", "epoch", "id", "commit", "ledger"}
    assert all("wrapped" not in k for k in listed)
    [project] = [k for k in listed if k["purpose"] == "project"]
    assert [k["id"] for k in call(filled, "keys.list", domain=project["domain"])] == [project["id"]]
    assert call(filled, "keys.list", limit=2) == listed[:2]
    assert call(filled, "keys.list", after=listed[1]["id"]) == listed[2:]


def test_a_rotated_project_key_leaves_everything_readable(filled: Platform) -> None:
    before = read(filled)
    receipt = call(filled, "keys.rotate")
    assert [k["state"] for k in receipt["keys"]] == ["destroyed", "live"]
    assert read(filled) == before
    assert is_sound(filled)


def test_a_rotated_root_leaves_everything_readable_also_after_the_store_was_closed(place: Path, tmp_path: Path) -> None:
    with Platform.create(place, "flights") as platform:
        add(platform, rows(tmp_path / "2013-01.csv"))
        before = read(platform)
        roots = platform.ground.keys.custodian.roots
        done = call(platform, "keys.rotate_root")
        assert platform.ground.keys.custodian.roots == (done["thing"],) != roots
        assert read(platform) == before
    with Platform.open(place) as platform:
        assert read(platform) == before
        assert is_sound(platform)


def test_a_rotation_of_the_root_that_was_cut_off_is_finished_by_the_next(filled: Platform) -> None:
    with filled.ground.units.begin(filled.caller.actor, "keys.rotate_root") as unit:
        filled.ground.keys.begin(unit).rotate_root()
        unit.say(What.KEY_ROTATED)
    assert len(filled.ground.keys.custodian.roots) == 2
    call(filled, "keys.rotate_root")
    assert len(filled.ground.keys.custodian.roots) == 1
    assert is_sound(filled)


def test_a_fresh_epoch_is_for_what_comes_after(filled: Platform, tmp_path: Path) -> None:
    receipt = call(filled, "keys.rekey", thing="flights")
    assert receipt["note"].startswith("2 packs still rest under earlier keys")
    add(filled, rows(tmp_path / "2013-03.csv", 10))
    assert states(filled, "epoch") == ["retired", "live"]
    assert read(filled) == (tmp_path / "2013-01.csv").read_bytes()
    assert is_sound(filled)


def test_earlier_epochs_stay_while_something_rests_under_them(filled: Platform) -> None:
    call(filled, "keys.rekey", thing="flights")
    with pytest.raises(KeyInUse, match="2 packs rest under retired epochs"):
        call(filled, "keys.drop", thing="flights")


def test_an_earlier_epoch_goes_when_nothing_rests_under_it(filled: Platform, tmp_path: Path) -> None:
    call(filled, "keys.rekey", thing="flights")
    session = filled.session("flights")
    staged = session.stage(rows(tmp_path / "other.csv", 100, 50))
    args = {"dataset": "flights", "mode": "replace", "files": [{"staged": staged["staged"], "name": "other.csv"}]}
    session.call("data.add", args)
    for number in (1, 2):
        call(filled, "version.retire", thing=f"dataset/flights:{number}")
    call(filled, "store.gc")
    receipt = call(filled, "keys.drop", thing="flights")
    assert [k["state"] for k in receipt["keys"]] == ["destroyed"]
    assert "backups" in receipt["note"]
    assert read(filled, "other.csv") == (tmp_path / "other.csv").read_bytes()
    assert is_sound(filled)
    with pytest.raises(Invalid, match="one key epoch only"):
        call(filled, "keys.drop", thing="flights")


def test_destroyed_keys_make_every_version_unreadable_and_the_receipt_says_what_it_does_not_reach(
    filled: Platform, tmp_path: Path
) -> None:
    add(filled, rows(tmp_path / "kept.csv"), "trains")
    receipt = call(filled, "keys.destroy", thing="flights", confirm="flights", reason="the contract ended")
    assert {(k["purpose"], k["state"]) for k in receipt["keys"]} == {("id", "destroyed"), ("epoch", "destroyed")}
    assert all(word in receipt["note"] for word in ("backups", "processes", "exported"))
    entry = call(filled, "ledger.show", entry=receipt["entry_id"], scope="project:flights")
    assert entry["what"] == "key.destroyed"
    assert entry["detail"]["fingerprints"] == [k["fingerprint"] for k in receipt["keys"]]
    assert {row["table"] for row in entry["rows"]} == {"wrapped_key"}
    for thing in ("flights", "flights:1"):
        with pytest.raises(KeyDestroyed):
            read(filled, thing=thing)
    assert read(filled, "kept.csv", "trains") == (tmp_path / "kept.csv").read_bytes()


def test_what_was_destroyed_on_purpose_is_no_damage_and_its_bytes_go(filled: Platform) -> None:
    call(filled, "keys.destroy", thing="flights", confirm="flights")
    found = call(filled, "store.verify")
    assert (found["ok"], found["unreadable"] > 0) == (True, True)
    assert call(filled, "store.gc")["packs"] == 2
    assert call(filled, "ledger.verify")["ok"]


@pytest.mark.parametrize("confirm", ["", "Flights", "trains"])
def test_destruction_wants_the_name_once_more(filled: Platform, confirm: str) -> None:
    with pytest.raises(Invalid, match="unreadable for good"):
        call(filled, "keys.destroy", thing="flights", confirm=confirm)
    assert read(filled)


def test_keys_are_destroyed_once(filled: Platform) -> None:
    call(filled, "keys.destroy", thing="flights", confirm="flights")
    for operation in ("keys.destroy", "keys.rekey"):
        with pytest.raises(KeyDestroyed):
            call(filled, operation, thing="flights", **({"confirm": "flights"} if "destroy" in operation else {}))


def test_a_dataset_that_is_not_there_has_no_keys(platform: Platform) -> None:
    for operation, more in (("keys.rekey", {}), ("keys.drop", {}), ("keys.destroy", {"confirm": "flights"})):
        with pytest.raises(NotFound):
            call(platform, operation, thing="flights", **more)


def test_only_owners_change_keys_and_only_owners_and_auditors_list_them(served: Served, tmp_path: Path) -> None:
    olga = served.owner
    olga.call("data.add", dataset="flights", files=[olga.stage(rows(tmp_path / "a.csv"))])
    maintainer = served.person("maya", ("maintainer", "store"))
    auditor = served.person("aisha", ("auditor", "store"))
    changes: list[tuple[str, dict[str, str]]] = [
        ("keys.rotate", {}),
        ("keys.rotate_root", {}),
        ("keys.rekey", {"thing": "flights"}),
        ("keys.drop", {"thing": "flights"}),
        ("keys.destroy", {"thing": "flights", "confirm": "flights"}),
    ]
    for person in (maintainer, auditor):
        for operation, args in changes:
            with pytest.raises((NotFound, Forbidden)):
                person.call(operation, **args)
    assert auditor.call("keys.list", project="")
    with pytest.raises((NotFound, Forbidden)):
        maintainer.call("keys.list", project="")
    assert read_as(served) == (tmp_path / "a.csv").read_bytes()


def read_as(served: Served) -> bytes:
    return b"".join(served.owner.call("data.get", thing="flights", path="a.csv"))
