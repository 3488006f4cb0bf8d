"""What a query over HTTP costs, on the server and on the client, beside a bare route that answers the same bytes.

Usage: python -m benchmarks.http [--rounds N] [--requests N] [--assets N]

Two servers run as processes of their own: Falaj over a store with some assets (SQLite), and a Starlette route on
uvicorn with the same loop and parser. One client asks both in turns over a connection that is kept: Falaj through its
own client, the bare route through `http.client`. Processor time is read from the kernel: of the server's process, and
of the client's thread. The memory of an idle server is its resident size after a first request.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Loads, median, recorded, result, show, spread, turns
from falaj.client import RemoteSession, claim
from falaj.platform import Platform
from falaj.server.logs import Log
from falaj.server.run import serve
from falaj.server.settings import Limits, Rate, Settings

PROJECT = "flights"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {name}
name: {name}
version: 1.0.0
status: active
schema:
  - name: {name}
    properties:
      - {{name: id, logicalType: integer, required: true, unique: true}}
"""


class Cost(NamedTuple):
    """Microseconds of one request, on average over a round."""

    server_cpu: float
    client_cpu: float
    wall: float


def serve_store(place: Path) -> None:
    """In a process of its own: serve a store without rates, and say its address on standard output."""
    open_rate = Rate(1e9, 1e9)
    limits = Limits(by_address=open_rate, by_principal=open_rate)
    platform = Platform.open(place, server=True)
    print(platform.bootstrap_token(), flush=True)
    with Path(os.devnull).open("w", encoding="utf-8") as log:
        serve(platform, Settings(port=0, limits=limits), Log(log), lambda url: print(url, flush=True))
    platform.close()


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A server as a process, stopped afterwards."""
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def cpu_s(pid: int) -> float:
    """Processor time that a process has used; the kernel counts it in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def resident_mib(pid: int) -> float:
    """Resident size of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def cost(pid: int, requests: int, ask: Callable[[], object]) -> Cost:
    """Ask so often, one after the other."""
    server, client, wall = cpu_s(pid), time.thread_time(), time.perf_counter()
    for _ in range(requests):
        ask()
    wall, client, server = time.perf_counter() - wall, time.thread_time() - client, cpu_s(pid) - server
    return Cost(*(1e6 * used / requests for used in (server, client, wall)))


def bare_asker(port: int) -> Callable[[], object]:
    """Asks the bare route by `http.client` alone, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask() -> object:
        connection.request("GET", "/", headers={"Authorization": "Bearer x" * 10, "Accept": "application/json"})
        return json.loads(connection.getresponse().read())

    return ask


def page_asker(url: str) -> Callable[[], object]:
    """Asks for a page that needs neither caller nor database: the edge alone."""
    connection = http.client.HTTPConnection(*url.removeprefix("http://").split(":"))

    def ask() -> object:
        connection.request("GET", "/healthz")
        return json.loads(connection.getresponse().read())

    return ask


def prepared(place: Path, assets: int) -> None:
    """A project with so many contracts."""
    place.mkdir()
    (place / "falaj.toml").write_text(f'project = "{PROJECT}"\n', encoding="utf-8")
    with Platform.create(place, PROJECT) as platform:
        files = [{"path": f"contracts/c{n}.yaml", "text": CONTRACT.format(name=f"c{n}")} for n in range(assets)]
        platform.session(PROJECT).call("config.apply", {"files": files})


def measure(folder: Path, rounds: int, requests: int, assets: int) -> dict[str, object]:
    """The whole result."""
    loads = Loads()
    prepared(folder / "flights", assets)
    with started("benchmarks.http", "--serve", str(folder / "flights")) as server:
        one_time, url = line(server), line(server)
        token = claim(url, one_time, "olga")
        session = RemoteSession(url, token, PROJECT)
        query = {"thing": "contract/c0"}
        body = folder / "body.json"
        body.write_text(json.dumps(session.call("asset.show", query)), encoding="utf-8")
        idle = resident_mib(server.pid)
        with started("benchmarks.limits.http", str(body)) as bare:
            ask_bare = bare_asker(int(line(bare)))
            ask_bare()
            bare_idle = resident_mib(bare.pid)
            costs = turns(
                {
                    "query": lambda: cost(server.pid, requests, lambda: session.call("asset.show", query)),
                    "list": lambda: cost(server.pid, requests, lambda: session.call("asset.list", {"limit": 50})),
                    "edge": lambda: cost(server.pid, requests, page_asker(url)),
                    "bare": lambda: cost(bare.pid, requests, ask_bare),
                },
                rounds,
            )
        after = resident_mib(server.pid)
        session.close()

    def middle(kind: str, what: str) -> float:
        return median([getattr(c, what) for c in costs[kind]])

    others = [
        *(
            recorded(f"{words}, {what.replace('_', ' ')}", "µs", middle(kind, what), middle("bare", what))
            for kind, words in (
                ("query", "a query over HTTP"),
                ("list", "a page of 50 assets"),
                ("edge", "the edge alone"),
            )
            for what in Cost._fields
        ),
        recorded("idle server, resident", "MiB", idle, bare_idle),
        recorded(f"the server after {3 * rounds * requests} requests, resident", "MiB", after, idle),
    ]
    facts = {
        "rounds": rounds,
        "requests": requests,
        "assets": assets,
        "body_bytes": body.stat().st_size,
        "query_wall_us": spread([c.wall for c in costs["query"]]),
        "query_server_cpu_us": spread([c.server_cpu for c in costs["query"]]),
    }
    return result("http", loads, (), others, **facts)


def main(argv: Sequence[str] | None = None) -> None:
    """As `benchmarks.measure` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--assets", type=int, default=100)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        serve_store(args.serve)
        return
    with tempfile.TemporaryDirectory(prefix="falaj-http-") as folder:
        show(measure(Path(folder), args.rounds, args.requests, args.assets))


if __name__ == "__main__":
    main()
