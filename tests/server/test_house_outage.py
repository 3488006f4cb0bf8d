"""The database goes away under a server, and comes back: nothing is lost, nobody restarts anything."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from falaj.core.errors import Unavailable
from scripts.postgres import PostgresServer
from tests.server.house import House
from tests.server.running import until

FLIGHTS = "/v1/projects/flights"


@pytest.fixture
def house(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path / "flights", own_postgres.create_database("falaj"))
    yield built
    built.close()


def answer(house: House, path: str) -> tuple[int, str]:
    status, _, body = house.ask("GET", path)
    return status, str(msgspec.json.decode(body).get("code", ""))


@pytest.mark.faults
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_database_that_goes_and_comes_back(house: House, own_postgres: PostgresServer, how: str) -> None:
    assert answer(house, f"{FLIGHTS}/run.list") == (200, "")
    getattr(own_postgres, how)()

    # while it is away: told so, and alive
    status, code = answer(house, f"{FLIGHTS}/run.list")
    assert (status, bool(code)) == (503, True)
    assert house.ask("POST", f"{FLIGHTS}/run.start", {"name": "x"})[0] == 503
    assert house.ask("GET", "/healthz")[0] == 200
    assert until(lambda: answer(house, "/readyz") == (503, "not_ready"))
    with pytest.raises(Unavailable):
        house.session("olga").call("run.start", {"name": "lost"})
    house.ask("GET", f"{FLIGHTS}/run.list", token=None)  # counted, and told once it is back

    # when it is back: the same server, the same connections of clients
    own_postgres.start()
    assert until(lambda: answer(house, "/readyz")[0] == 200)
    assert until(lambda: answer(house, f"{FLIGHTS}/run.list")[0] == 200)
    assert house.olga.call("run.start", {"name": "y"})["name"] == "y"
    assert [run["name"] for run in house.olga.call("run.list")["items"]] == ["y"]
    assert until(lambda: house.entries("requests.unauthenticated"))
    assert until(lambda: house.olga.call("store.status")["pending"] == 0)
    house.check_clean()


@pytest.mark.faults
def test_what_is_acknowledged_while_the_database_is_killed_is_there(house: House, own_postgres: PostgresServer) -> None:
    """Writers go on by themselves: each call is repeated under its key, and done once."""
    sessions = [house.session("olga") for _ in range(4)]
    acknowledged: list[str] = []

    def write(number: int) -> None:
        for n in range(40):
            name = f"{number}-{n}"
            for _ in range(200):
                try:
                    sessions[number].call("run.start", {"name": name}, idempotency_key=name)
                except Unavailable:
                    continue
                acknowledged.append(name)
                break

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, number) for number in range(4)]
        for enough in (20, 60):
            assert until(lambda e=enough: len(acknowledged) >= e)
            own_postgres.kill()
            own_postgres.start()
        for writer in writers:
            writer.result()
    runs: list[str] = []
    before = ""
    while True:
        page = house.olga.call("run.list", {"limit": 200, "before": before})
        runs += [run["name"] for run in page["items"]]
        if page["next"] is None:
            break
        before = page["next"]
    assert len(acknowledged) == 160
    assert sorted(runs) == sorted(acknowledged)
    assert until(lambda: house.olga.call("store.status")["pending"] == 0)
    house.check_clean()


def test_the_command_serves_and_ends_with_a_signal(tmp_path: Path) -> None:
    """As an operator starts it: the address and the one-time token on standard error, the end by SIGTERM."""
    place = tmp_path / "flights"
    falaj = [sys.executable, "-m", "falaj.cli.main", "-C", str(place)]
    subprocess.run([*falaj, "--project", "flights", "init"], check=True, capture_output=True, timeout=60)
    server = subprocess.Popen([*falaj, "server", "--port", "0"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    lines = iter(server.stderr.readline, "")
    url = next(line.split()[1] for line in lines if line.startswith("serving "))
    token = next(line.strip() for line in lines if line.startswith("  falaj_"))
    login = ["login", url, "--claim", "layla"]
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": "/usr/bin:/bin"}
    subprocess.run([*falaj, *login], input=token, text=True, env=env, check=True, capture_output=True, timeout=60)
    shown = subprocess.run([*falaj, "principal", "list"], env=env, check=True, capture_output=True, timeout=60)
    assert b"layla" in shown.stdout
    server.send_signal(signal.SIGTERM)
    rest = "".join(lines)
    assert server.wait(60) == 0
    server.stderr.close()
    assert token not in rest
    for line in rest.splitlines():
        if line.startswith("{"):
            msgspec.json.decode(line)
