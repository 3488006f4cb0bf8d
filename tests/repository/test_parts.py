"""The real parts that tests stand on: what they promise is itself tested."""

import random
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import psycopg
import pytest

from scripts.postgres import PartFailed, PostgresServer, down, up
from tests.parts.network import OutsideNetwork, is_loopback
from tests.parts.programs import program

ROOT = Path(__file__).parents[2]


def test_the_server_is_durable_and_answers_on_loopback_only(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses")
        }
    assert shown == {
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "full_page_writes": ("on",),
        "listen_addresses": ("127.0.0.1",),
    }


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_database(postgres_url: str, turn: int) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE left_behind (turn int)")
        connection.execute("INSERT INTO left_behind VALUES (%s)", (turn,))
        assert connection.execute("SELECT turn FROM left_behind").fetchall() == [(turn,)]


def test_what_was_committed_outlives_a_killed_server(own_postgres: PostgresServer) -> None:
    url = own_postgres.create_database("kept")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
        own_postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    own_postgres.start()
    with psycopg.connect(own_postgres.url("kept")) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


def test_the_script_starts_finds_again_and_removes(tmp_path: Path) -> None:
    url = up(tmp_path)
    try:
        assert up(tmp_path) == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        server = PostgresServer.remembered(tmp_path / "postgres.json")
        assert server is not None
        assert server.pid
    finally:
        down(tmp_path)
    assert not server.folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    assert PostgresServer.remembered(tmp_path / "postgres.json") is None


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import pathlib, sys, tempfile
        from scripts.postgres import PostgresServer
        server = PostgresServer(pathlib.Path(tempfile.mkdtemp(prefix="falaj-pg-")))
        server.start()
        print(server.folder, server.url(), flush=True)
        sys.stdin.read()
    """)
    holder = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdout, holder.stdin:
        folder, url = holder.stdout.readline().split()
        holder.send_signal(signal.SIGKILL)
        assert holder.wait() == -signal.SIGKILL
    log = Path(folder) / "log"
    for _ in range(600):
        if not (Path(folder) / "data" / "postmaster.pid").exists():
            break
        # The server's own shutdown is awaited through its own file; nothing tells of it otherwise.
        subprocess.run(["sleep", "0.05"], check=True)
    assert "database system is shut down" in log.read_text()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    subprocess.run(["rm", "-r", folder], check=True)


def test_a_server_that_cannot_start_says_why(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    (own_postgres.data / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(PartFailed, match="no_such_setting"):
        own_postgres.start()


def test_a_missing_program_fails_with_its_install_line() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"no-such-program.*apt-get install -y nothing"):
        program("no-such-program", "apt-get install -y nothing")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::1%lo", True),
        ("localhost", True),
        (b"localhost", True),
        ("0.0.0.0", True),
        (None, True),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("::ffff:192.0.2.1", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_told_from_outside(host: object, ours: bool) -> None:
    assert is_loopback(host) is ours


def test_the_network_is_closed() -> None:
    with socket.socket() as outside, pytest.raises(OutsideNetwork, match=r"192\.0\.2\.1"):
        outside.connect(("192.0.2.1", 80))
    with socket.socket(type=socket.SOCK_DGRAM) as outside, pytest.raises(OutsideNetwork):
        outside.sendto(b"x", ("192.0.2.1", 53))
    with pytest.raises(OutsideNetwork, match=r"example\.org"):
        httpx.get("http://example.org/")


def test_loopback_is_open(free_port) -> None:
    with (
        socket.create_server(("127.0.0.1", free_port())) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        assert ours.getpeername() == server.getsockname()


def test_the_seed_alone_decides_the_random_choices(pytestconfig: pytest.Config, rng, seed: int, request) -> None:
    assert seed == pytestconfig.getoption("--seed")
    assert rng.random() == random.Random(f"{seed}:{request.node.nodeid}").random()
