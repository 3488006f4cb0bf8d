"""Servers as processes of their own, each started again whenever it ends, as systemd does with `Restart=always`."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from scripts.postgres import free_port

WITHIN_S = 60.0
POLL_S = 0.005


def without_falaj() -> dict[str, str]:
    """The environment, without what is somebody's own."""
    return {key: value for key, value in os.environ.items() if not key.startswith("FALAJ_")}


class Server:
    """One program that listens on one port of this machine.

    Args:
        words: of the command line after `falaj`; `{port}` stands for its port.
        ready: path that answers 200 when it is ready.

    Attributes:
        crashes: exit codes of ends that nobody brought about.
    """

    def __init__(self, name: str, words: list[str], log: Path, ready: str) -> None:
        self.name, self.log, self.port, self._ready = name, log, free_port(), ready
        self._words = [word.format(port=self.port) for word in words]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=name, daemon=True)
        self._begun = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.crashes: list[int] = []
        self.starts = 0

    @property
    def pid(self) -> int:
        """Of the process that is there now, or was there last."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> Server:
        self._thread.start()
        assert self._begun.wait(WITHIN_S)
        self.wait_ready()
        return self

    def wait_begun_after(self, pid: int) -> None:
        """Until another process than this one was begun."""
        give_up = time.monotonic() + WITHIN_S
        while self.pid == pid:
            assert time.monotonic() < give_up, f"{self.name} is not begun again; ended by itself with {self.crashes}"
            time.sleep(POLL_S)

    def wait_ready(self) -> None:
        """Until it answers that it is ready."""
        give_up = time.monotonic() + WITHIN_S
        while not self.is_ready():
            assert time.monotonic() < give_up, f"{self.name} does not come up: {self.log.read_text()[-3000:]}"
            time.sleep(POLL_S)

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", self._ready)
            response = connection.getresponse()
            response.read()
            return response.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """SIGTERM, and no start after it."""
        self._stopping.set()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._thread.join(30)
        if self._thread.is_alive():
            self.process.kill()
            raise AssertionError(f"{self.name} did not stop within 30 s")

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "falaj.cli.main", *self._words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**without_falaj(), "PYTHONUNBUFFERED": "1"},
                )
            self.starts += 1
            self._begun.set()
            code = self.process.wait()
            if code != -signal.SIGKILL and not self._stopping.is_set():
                self.crashes.append(code)
                return


def platform_server(folder: Path) -> Server:
    """`falaj server` on a project's folder."""
    return Server("falaj server", ["-C", str(folder), "server", "--port", "{port}"], folder / "server.log", "/readyz")


def inference_server(folder: Path, bundle: Path, key: str) -> Server:
    """`falaj serve` on the folder of a deployment."""
    words = ["serve", str(bundle), "--key", key, "--listen", "127.0.0.1:{port}"]
    return Server("falaj serve", words, folder / "serve.log", "/v2/health/ready")


def kill(pid: int) -> bool:
    """`kill -9`; whether there was somebody to be killed."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
