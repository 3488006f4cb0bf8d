"""The command line against a real server of its own: people with tokens, four eyes, and what is not theirs."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.playing import Folder, Server, Told, example, falaj

SMALL = "id,city\n1,Al Ain\n2,Dubai\n"


class Person:
    """Somebody at a machine of their own, logged in to the server."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        home.mkdir()

    def __call__(self, *words: object, stdin: str = "", **env: str) -> Told:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"XDG_CONFIG_HOME": str(self.home), "FALAJ_URL": self.url, **env}.items():
                patch.setenv(name, value)
            patch.setenv("FALAJ_PROJECT", env.get("FALAJ_PROJECT", "flights"))
            return falaj("-C", self.home, *words, stdin=stdin)

    def done(self, *words: object, **more: str) -> Told:
        told = self(*words, **more)
        assert told.code == 0, told
        return told

    def login(self, token: str) -> Person:
        self.done("login", self.url, stdin=token + "\n")
        return self


@pytest.fixture
def served(tmp_path: Path, database_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Folder, Server]]:
    monkeypatch.setenv("FALAJ_DATABASE", database_address)
    folder = example(tmp_path / "flights")
    monkeypatch.delenv("FALAJ_DATABASE")
    server = Server(folder, database_address)
    yield folder, server
    if server.process.poll() is None:
        assert server.stop() == 0


@pytest.fixture
def people(served: tuple[Folder, Server], tmp_path: Path) -> dict[str, Person]:
    """Amal owns the store; Badr maintains the project, Dana sees it; Eve has nothing."""
    _, server = served
    amal = Person(tmp_path / "amal", server.url)
    amal.done("login", server.url, "--claim", "amal", stdin=server.one_time + "\n")
    found = {"amal": amal}
    for name, role in (("badr", "maintainer"), ("dana", "viewer"), ("eve", "")):
        amal.done("principal", "add", name)
        if role:
            amal.done("access", "grant", name, role)
        token = amal.done("token", "issue", name).lines[0]
        found[name] = Person(tmp_path / name, server.url).login(token)
    return found


def test_the_first_owner_comes_in_once(served, tmp_path):
    _, server = served
    amal, eve = Person(tmp_path / "amal", server.url), Person(tmp_path / "eve", server.url)
    wrong = eve("login", server.url, "--claim", "eve", stdin="falaj_wrong\n")
    assert (wrong.code, wrong.err.splitlines()[-1].split()) == (4, ["code", "unauthenticated"])
    told = amal.done("login", server.url, "--claim", "amal", stdin=server.one_time + "\n")
    assert told.lines[0] == f"  amal owns {server.url} now"
    assert eve("login", server.url, "--claim", "eve", stdin=server.one_time + "\n").code == 4
    assert eve("asset", "list").code == 4
    kept = (amal.home / "falaj" / "credentials.toml").read_text()
    assert server.one_time not in kept
    assert amal.done("doctor", "--json").json["mode"] == "server"


def test_a_change_of_what_is_in_force_needs_another_person(served, people):
    folder, server = served
    amal, badr = people["amal"], people["badr"]
    where = ("-C", folder.path)
    amal.done(*where, "apply")
    contract = folder.path / "contracts" / "flights.yaml"
    contract.write_text(contract.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    told = amal.done(*where, "apply", "contracts/flights.yaml", "--reason", "a new rule")
    proposal = re.search(r"v1 → v2 +another person: falaj approve (\S+)", told.out)[1]
    own = amal("approve", proposal)
    assert (own.code, own.err.splitlines()[-1].split()) == (4, ["code", "same_person"])
    second = amal.done("token", "issue", "amal").lines[0]
    assert amal("approve", proposal, FALAJ_TOKEN=second).code == 4
    amal.done("principal", "add", "nightly", "--service")
    assert amal("access", "grant", "nightly", "maintainer").code == 4  # it counts as amal, who grants amal nothing
    amal.done("access", "grant", "badr", "owner", "store")
    badr.done("access", "grant", "nightly", "maintainer")
    service = amal.done("token", "issue", "nightly").lines[0]
    assert amal("approve", proposal, FALAJ_TOKEN=service).code == 4
    assert people["dana"]("approve", proposal).code in (3, 4)
    assert amal.done("show", "contract/flights@main", "--json").json["shown"]["version"] == 1
    listed = badr.done("proposal", "list")
    assert proposal in listed.out
    assert "from a maintainer other than the proposer" in listed.out
    assert "  contract/flights@main  v1 → v2   moved" in badr.done("approve", proposal).out
    assert badr.done("proposal", "show", proposal, "--json").json["approved_by"] == ["badr"]
    refused = amal.done("ledger", "log", "--what", "request.refused", "--json").json["items"]
    assert [e["detail"]["code"] for e in refused].count("same_person") == 3
    assert server.stop() == 0


def test_what_is_not_theirs_looks_like_what_is_not_there_and_is_an_entry(served, people, tmp_path):
    amal, dana, eve = people["amal"], people["dana"], people["eve"]
    (tmp_path / "cities.csv").write_text(SMALL)
    amal.done("data", "add", "cities", tmp_path / "cities.csv")
    amal.done("project", "new", "other")
    amal.done("data", "add", "secret", tmp_path / "cities.csv", FALAJ_PROJECT="other")
    for line in ("show cities", "log cities", "data files cities", "data get cities -o out", "lineage cities"):
        assert eve(*line.split()).code == 3
    hidden, absent = eve("show", "cities", "--json").json, eve("show", "nothing", "--json").json
    assert hidden["code"] == absent["code"] == "not_found"
    assert hidden["message"].split(": ")[-1] == absent["message"].split(": ")[-1]
    assert dana.done("show", "cities").code == 0
    assert dana("show", "secret", FALAJ_PROJECT="other").code == 3
    told = dana("rm", "cities:1")
    assert told.code == 4
    before = amal.done("asset", "list", "--json").json
    assert dana("data", "add", "cities", tmp_path / "cities.csv").code in (3, 4)
    assert dana("access", "grant", "dana", "owner").code in (3, 4)
    assert dana("token", "issue", "amal").code in (3, 4)
    assert dana("keys", "destroy", "cities", "--confirm", "cities").code in (3, 4)
    assert dana("gc").code in (3, 4)
    assert amal.done("asset", "list", "--json").json == before
    log = amal.done("ledger", "log", "--scope", "store", "--what", "request.refused", "--limit", 50, "--json").json
    by = {entry["by"] for entry in log["items"]}
    assert {"dana", "eve"} <= by
    assert {"version.retire", "access.grant", "token.issue", "store.gc"} <= {e["op"] for e in log["items"]}
    why = amal.done("access", "why", "version.retire", "dataset/cities", "--principal", "dana").out
    assert "maintainer" in why


def test_a_revoked_token_is_void_at_once_and_a_forged_one_never_was(served, people):
    amal, badr = people["amal"], people["badr"]
    assert badr.done("asset", "list")
    [token] = amal.done("token", "list", "--principal", "badr", "--json").json
    amal.done("token", "revoke", token["id"])
    assert badr("asset", "list").code == 4
    for forged in ("falaj_x", "eyJhbGciOiJub25lIn0.e30.", f"falaj_{token['id']}_{'0' * 49}"):
        told = badr("asset", "list", FALAJ_TOKEN=forged)
        assert (told.code, told.err.splitlines()[-1].split()) == (4, ["code", "unauthenticated"])


def test_a_folder_that_was_logged_in_goes_to_its_server(served, people, tmp_path, monkeypatch):
    folder, server = served
    token = people["amal"].done("token", "issue", "badr").lines[0]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "laptop"))
    told = falaj("-C", folder.path, "login", server.url, stdin=token)
    assert told.lines[-1] == f"  commands in {folder.path} go to it, project flights"
    assert falaj("-C", folder.path, "access", "why", "data.add").out.startswith("  allowed  data.add as maintainer")
    assert falaj("-C", folder.path / "contracts", "asset", "list").code == 0
    assert falaj("logout", server.url).lines == [f"  token for {server.url} forgotten on this machine"]
    assert falaj("logout", server.url).lines == [f"  token for {server.url} was not here"]
    assert falaj("--url", server.url, "--project", "flights", "asset", "list").code == 4


def test_data_goes_there_and_back_over_the_wire(people, tmp_path):
    amal = people["amal"]
    file = tmp_path / "cities.csv"
    file.write_text(SMALL)
    assert "  cities v1   1 file" in amal.done("data", "add", "cities", file).out
    amal.done("data", "get", "cities@main", "-o", tmp_path / "back")
    assert (tmp_path / "back" / "cities.csv").read_text() == SMALL
    assert amal.done("verify", "--json").json["ok"] is True
    assert re.match(r"  \d+ entries written to ", amal.done("ledger", "export", tmp_path / "export").out)


def test_a_server_that_went_away_is_told(served, people):
    _, server = served
    assert server.stop() == 0
    told = people["amal"]("asset", "list")
    assert (told.code, told.err.splitlines()[-1].split()) == (8, ["code", "server_away"])
    assert people["amal"].done("version").code == 0


def test_a_server_stops_on_ctrl_c_without_a_trace(served):
    _, server = served
    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text()
