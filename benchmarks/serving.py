"""Predictions over HTTP beside a raw ASGI handler with the same model.

Usage: python -m benchmarks.serving [--requests N] [--rounds R]

64 connections ask for one row of 30 numbers each, again and again. The servers take turns; the figure is the CPU time
that a server's process used, by request. Falaj checks names, types and ranges, routes, counts and logs each prediction;
the limit does none of it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import skops.io
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.measure import Loads, bar, median, recorded, result, show, spread
from falaj.core import bundle
from falaj.core.bundle import FULL, Bundle, BundleFile, BundleInput, BundleModel, Route
from falaj.core.bundle_folder import BundleFolder
from falaj.core.encoding import moment
from falaj.models import formats

FEATURES, CONNECTIONS, WARM = 30, 64, 500
TICKS = os.sysconf("SC_CLK_TCK")
KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()


# models and bundles


def made_models(folder: Path) -> dict[str, Path]:
    """A gradient boosting of 100 trees as ONNX, another for the version before, and a logistic regression as skops."""
    from skl2onnx import to_onnx

    draw = np.random.default_rng(7)
    rows = draw.normal(size=(5_000, FEATURES)).astype(np.float32)
    late = rows[:, 0] + rows[:, 1] * rows[:, 2] + draw.normal(size=len(rows)) > 0
    found = {}
    for name, trees in (("onnx", 100), ("before", 80)):
        model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False).fit(rows, late)
        found[name] = folder / f"{name}.onnx"
        found[name].write_bytes(to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString())
    found["skops"] = folder / "logistic.skops"
    skops.io.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, late), found["skops"])
    return found


class Place:
    """A deployment's folder, written as the platform writes it."""

    def __init__(self, root: Path, files: list[Path], key: Ed25519PrivateKey = KEY) -> None:
        self.folder, self.models, self.key = BundleFolder(root), {}, key
        for version, path in enumerate(files, 1):
            data = path.read_bytes()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            file = BundleFile(path=path.name, sha256=digest, size_bytes=len(data))
            self.models[str(version)] = BundleModel(
                format="onnx" if path.suffix == ".onnx" else "skops",
                files=(file,),
                inputs=tuple(BundleInput(name=f"x{i}", type="number") for i in range(FEATURES)),
                digest=digest,
                verdict="measured",
                types=() if path.suffix == ".onnx" else formats.inspect(path).types,
            )
            self.folder.place(str(version), file, [data])

    def deploy(self, revision: int, version: int) -> None:
        """Put a version in force."""
        now = datetime.now(UTC)
        made = Bundle(
            project="benchmark",
            deployment="delay",
            revision=revision,
            issued_at=moment(now),
            lease_until=moment(now + timedelta(days=1)),
            routes=(Route(role="stable", model="delay", version=version, share=FULL),),
            models=self.models,
        )
        public = self.key.public_key().public_bytes_raw()
        self.folder.publish(revision, bundle.sign(made, public=public, signer=self.key.sign))


# servers


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def serving(words: list[str], port: int) -> Iterator[int]:
    """A server process until the block ends; gives its id."""
    process = subprocess.Popen([sys.executable, "-m", *words], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def falaj(place: Place) -> Iterator[tuple[int, int]]:
    """The inference server on a folder: its port and process."""
    port = free_port()
    words = ["falaj.cli.main", "serve", str(place.folder.root), "--key", bundle.key_name(PUBLIC)]
    with serving([*words, "--listen", f"127.0.0.1:{port}"], port) as pid:
        yield port, pid


@contextmanager
def limit(path: Path) -> Iterator[tuple[int, int]]:
    """The bare handler with a model: its port and process."""
    port = free_port()
    with serving(["benchmarks.limits.serving", str(path), str(port)], port) as pid:
        yield port, pid


# load


def request() -> bytes:
    """One row, as bytes on the wire."""
    data = [round(float(x), 4) for x in np.random.default_rng(1).normal(size=FEATURES)]
    tensor = {"name": "row", "shape": [1, FEATURES], "datatype": "FP32", "data": data}
    body = msgspec.json.encode({"inputs": [tensor]})
    head = b"POST /v2/models/delay/infer HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


class Client(asyncio.Protocol):
    """Asks, waits for the answer, asks again. Counts answers that are not 200."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.got = b""
        self.asked_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """The next question, unless enough were asked."""
        if self.load.left <= 0:
            self.transport.close()
            return
        self.load.left -= 1
        self.asked_at = time.perf_counter()
        self.transport.write(self.load.message)

    def data_received(self, data: bytes) -> None:
        self.got += data
        head = self.got.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self.got.index(b"content-length: ") + 16
        length = int(self.got[at : self.got.index(b"\r", at)])
        if len(self.got) < head + 4 + length:
            return
        self.load.answered(self.got, time.perf_counter() - self.asked_at)
        self.got = b""
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.closed()


class Load:
    """So many requests over so many connections."""

    def __init__(self, requests: int) -> None:
        self.left, self.message = requests, request()
        self.failed = 0
        self.seconds: list[float] = []
        self.versions: list[tuple[float, bytes]] = []
        self._open = 0

    def answered(self, answer: bytes, seconds: float) -> None:
        """One answer."""
        self.failed += not answer.startswith(b"HTTP/1.1 200")
        self.seconds.append(seconds)
        if (at := answer.find(b'"model_version":"')) >= 0:
            version = answer[at + 17 : at + 18]
            if not self.versions or self.versions[-1][1] != version:
                self.versions.append((time.perf_counter(), version))

    def closed(self) -> None:
        """One connection less."""
        self._open -= 1
        if not self._open:
            self._done.set()

    async def run(self, port: int, connections: int = CONNECTIONS) -> None:
        """Ask until all is answered."""
        self._open, self._done = connections, asyncio.Event()
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: Client(self), "127.0.0.1", port)
        await self._done.wait()
        if len(self.seconds) < 1 or self.left > 0:
            raise RuntimeError("the server hung up")


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def asked(port: int, pid: int, requests: int) -> tuple[float, Load]:
    """Microseconds of CPU by request, and the load."""
    load = Load(requests)
    before = cpu_s(pid)
    uvloop.run(load.run(port))
    return (cpu_s(pid) - before) / requests * 1e6, load


def side_by_side(file: Path, scratch: Path, requests: int, rounds: int) -> dict[str, list[tuple[float, Load]]]:
    """Both servers over one model, in turns."""
    place = Place(scratch, [file])
    place.deploy(1, 1)
    with falaj(place) as ours, limit(file) as bare:
        for port, pid in (ours, bare):
            asked(port, pid, WARM)
        found: dict[str, list[tuple[float, Load]]] = {"falaj": [], "limit": []}
        for _ in range(rounds):
            found["falaj"].append(asked(*ours, requests))
            found["limit"].append(asked(*bare, requests))
    return found


def main(argv: list[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(argv)
    loads = Loads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = made_models(folder)
        sides = {
            sort: side_by_side(models[sort], folder / f"serving-{sort}", given.requests // less, given.rounds)
            for sort, less in (("onnx", 1), ("skops", 4))
        }
    cpu = {(sort, who): median([us for us, _ in runs]) for sort, by in sides.items() for who, runs in by.items()}
    latencies = [s * 1000 for _, one in sides["onnx"]["falaj"] for s in one.seconds]
    failed = sum(one.failed for by in sides.values() for runs in by.values() for _, one in runs)
    bars = [
        bar(
            "1 row over HTTP, 64 connections, ONNX, log and checks on",
            "CPU us a request",
            cpu["onnx", "falaj"],
            cpu["onnx", "limit"],
            at_most=3,
        ),
        bar("failed", "requests", failed, at_most=0),
    ]
    others = [
        recorded("the same, scikit-learn", "CPU us a request", cpu["skops", "falaj"], cpu["skops", "limit"]),
        recorded("latency under that load, ONNX, median", "ms", median(latencies)),
    ]
    show(
        result(
            "serving",
            loads,
            bars,
            others,
            features=FEATURES,
            connections=CONNECTIONS,
            requests=given.requests,
            rounds=given.rounds,
            cpu_us={who: spread([us for us, _ in runs]) for who, runs in sides["onnx"].items()},
        )
    )


if __name__ == "__main__":
    main()
