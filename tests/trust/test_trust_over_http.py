"""The same over HTTP, against a real server: a store's jobs, its ledger read, proved and exported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.cli.commands import ledger as command
from falaj.core.errors import Forbidden, NotFound
from falaj.session import staged
from tests.platform.places import rows
from tests.server.house import House

STRANGER = Path(__file__).parents[2] / "docs" / "stranger_verify.py"


@pytest.fixture
def house(tmp_path: Path, database_address: str) -> Iterator[House]:
    made = House(tmp_path / "house", database_address)
    yield made
    made.close()


def test_an_auditor_proves_a_served_ledger_without_trusting_the_server(house: House, tmp_path: Path) -> None:
    auditor = house.person("aisha", ("auditor", "store"))
    file = rows(tmp_path / "2013-01.csv")
    house.olga.call("data.add", {"dataset": "flights", "files": staged(house.olga, [file])})
    told = command.export(auditor, {}, {"into": str(tmp_path / "first")}, lambda *_: None)
    newest = auditor.call("ledger.log", {"scope": "project:flights", "limit": 1})["items"][0]
    proof = auditor.call("ledger.proof", {"scope": "project:flights", "entry": newest["id"]})
    (tmp_path / "proof.json").write_text(json.dumps(proof))
    command.export(auditor, {}, {"into": str(tmp_path / "second")}, lambda *_: None)
    done = subprocess.run(
        [
            *(sys.executable, "-I", STRANGER, tmp_path / "second"),
            *("--kept", tmp_path / "first" / "checkpoint", "--proof", tmp_path / "proof.json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"the first {told['size']} are those of the kept checkpoint" in done.stdout
    assert auditor.call("ledger.verify", {"kept": [(tmp_path / "first" / "checkpoint").read_text()]})["ok"]


def test_the_stores_own_jobs_and_commands(house: House, tmp_path: Path) -> None:
    olga = house.olga
    olga.call("data.add", {"dataset": "flights", "files": staged(olga, [rows(tmp_path / "2013-01.csv")])})
    steps: list[str] = []
    found = olga.call("store.verify", progress=lambda what, _done, _total: steps.append(what))
    assert (found["ok"], found["versions"]) == (True, 1)
    assert steps
    assert olga.call("store.gc", {"dry_run": True})["packs"] == 0
    assert olga.call("store.repair")["nodes"] == 0
    assert olga.call("store.status")["mode"] == "server"
    receipt = olga.call("keys.destroy", {"thing": "flights", "confirm": "flights"})
    assert {key["state"] for key in receipt["keys"]} == {"destroyed"}
    assert olga.call("store.gc")["packs"] == 1
    house.check_clean()


def test_a_maintainer_of_the_project_has_none_of_it(house: House) -> None:
    maya = house.person("maya", ("maintainer", "project:flights"))
    for operation in ("store.verify", "store.gc", "store.repair", "store.status", "keys.rotate_root", "ledger.verify"):
        with pytest.raises((NotFound, Forbidden)):
            maya.call(operation)
    with pytest.raises((NotFound, Forbidden)):
        b"".join(maya.stream("ledger.export"))
