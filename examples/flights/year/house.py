"""The processes of the play: the platform's server, and the inference server. Each is a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

WAIT_S = 60.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Process:
    """A program that runs until it is stopped; what it says is kept in a file."""

    def __init__(self, name: str, words: list[str], log: Path, environment: dict[str, str]) -> None:
        self.name, self.words, self.log, self.environment = name, words, log, environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin it."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "falaj.cli.main", *self.words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment,
            )

    def kill(self) -> None:
        """SIGKILL: no last words."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        if self.process.poll() is None:
            self.kill()

    def said(self, pattern: str, *, after: int = 0) -> str:
        """Wait until it says something. Returns: the first group. Raises: SystemExit where it ended, or never does."""
        give_up = time.monotonic() + WAIT_S
        while time.monotonic() < give_up:
            if found := re.search(pattern, self.log.read_text("utf-8", "replace")[after:]):
                return found[1]
            assert self.process is not None
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        raise SystemExit(f"{self.name} does not come up: see {self.log}")


class House:
    """Both servers, on free ports of this machine.

    Args:
        folder: the project's folder, with its store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs = folder, folder / "logs"
        self.logs.mkdir(exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FALAJ_")}
        self.environment = {**kept, "PYTHONUNBUFFERED": "1"}
        self.port, self.inference_port = free_port(), free_port()
        words = ["-C", str(folder), "server", "--port", str(self.port)]
        self.platform = Process("falaj server", words, self.logs / "server.log", self.environment)
        self.inference: Process | None = None
        self.peaks = Peaks()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> str:
        """Start the platform's server for the first time. Returns: the token by which the first owner comes in."""
        self.platform.start()
        self.peaks.watch("falaj server", self.platform)
        return self.platform.said(r"(falaj_[A-Za-z0-9_-]+)")

    def start_again(self) -> None:
        """Start the platform's server after it was killed, and wait until it answers."""
        self.platform.start()
        _wait_for(self.port, "/readyz")

    def serve(self, bundle: Path, key: str) -> None:
        """Start the inference server on a bundle, and wait until it is ready."""
        words = ["serve", str(bundle), "--key", key, "--listen", f"127.0.0.1:{self.inference_port}"]
        self.inference = Process("falaj serve", words, self.logs / "serve.log", self.environment)
        self.inference.start()
        self.peaks.watch("falaj serve", self.inference)
        _wait_for(self.inference_port, "/v2/health/ready")

    def stats(self) -> dict[str, Any]:
        """What the inference server counted."""
        return dict(json.loads(_get(self.inference_port, "/stats")[1]))

    def ready(self) -> dict[str, Any]:
        """What the inference server says of itself."""
        return dict(json.loads(_get(self.inference_port, "/v2/health/ready")[1]))

    def close(self) -> None:
        """Stop both."""
        if self.inference is not None:
            self.inference.stop()
        self.platform.stop()
        self.peaks.close()


class Peaks:
    """The most memory that each process and what it began held at one time, looked at once a second.

    Memory that several share counts in parts (PSS), so that a fork is not counted twice.
    """

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self.together = 0
        self._watched: dict[str, Process] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def watch(self, name: str, process: Process) -> None:
        """Look at a process, too."""
        self._watched[name] = process

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(1.0):
            sizes: dict[int, int] = {}
            self.together = max(self.together, _held(os.getpid(), sizes))  # the servers are below this process
            for name, one in self._watched.items():
                if one.process is not None:
                    self.most[name] = max(self.most.get(name, 0), sizes.get(one.process.pid, 0))


def _held(pid: int, sizes: dict[int, int]) -> int:
    """Bytes that a process holds with all that it began; what ends meanwhile counts for nothing.

    Args:
        sizes: the same of each process that was looked at, by its id; filled here.
    """
    size = 0
    with suppress(OSError):
        found = re.search(r"Pss: +([0-9]+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
        size = int(found[1]) * 1024 if found else 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                size += sum(_held(int(child), sizes) for child in (task / "children").read_text().split())
    sizes[pid] = size
    return size


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _wait_for(port: int, path: str) -> None:
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        with suppress(OSError, http.client.HTTPException):
            if _get(port, path)[0] == 200:
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody answers on port {port}")
