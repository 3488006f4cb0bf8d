"""Starting and stopping an inference server: uvicorn around the application, until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from falaj.core.bundle_folder import BundleFolder
from falaj.core.errors import Invalid
from falaj.serving.app import Inference
from falaj.serving.errors import CannotListen
from falaj.serving.loading import Loader
from falaj.serving.logs import say, take_over
from falaj.serving.protocol import bounded
from falaj.serving.settings import Limits

HOST, PORT = "127.0.0.1", 7410


class _Uvicorn(uvicorn.Server):
    """uvicorn that ends in two steps: while it drains it answers, and lets each connection end with its answer."""

    def __init__(self, config: uvicorn.Config, app: Inference, drain_s: float) -> None:
        super().__init__(config)
        self._app, self._drain_s = app, drain_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_listening: Callable[[str], None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Listen, then say where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            url = f"http://{_shown(self.config.host)}:{self.servers[0].sockets[0].getsockname()[1]}"
            say("listening", url=url)
            if self.on_listening is not None:
                self.on_listening(url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: drain. A second Ctrl-C: end."""
        if self._app.stopping and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True
            return
        self.stop()

    def stop(self) -> None:
        """Begin to stop; may be called from any thread or signal handler."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._drain)
        else:
            self.should_exit = True

    def _drain(self) -> None:
        if not self._app.stopping and self._loop is not None:
            self._app.stopping = True
            say("stopping")
            self._loop.call_later(self._drain_s, self._end)

    def _end(self) -> None:
        self.should_exit = True


def listen_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `HOST` or `:PORT`. Raises: Invalid."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(PORT)
    host = host.strip("[]") or HOST
    if not port.isdecimal() or int(port) > 65535:
        raise Invalid(f"listen {text[:60]!r}: HOST:PORT is expected", next_step=f"for example {HOST}:{PORT}")
    return host, int(port)


def prepare(
    root: Path,
    keys: Collection[bytes],
    *,
    host: str = HOST,
    port: int = PORT,
    log: Path | None = None,
    limits: Limits | None = None,
) -> _Uvicorn:
    """A server that is ready to `run()`.

    Args:
        root: the folder of the deployment's bundle.
        keys: raw public keys that are pinned.
        log: folder of the prediction log; that of the bundle's folder where it is left out.
    Raises: Invalid without keys, or where there is no such folder.
    """
    if not keys:
        raise Invalid("no key is pinned: nothing could be served", next_step="falaj serve DIR --key ed25519:…")
    if not root.is_dir():
        raise Invalid(f"{root}: no such folder", next_step="name the folder of a deployment's bundle")
    limits = limits or Limits()
    folder = BundleFolder(root)
    app = Inference(folder, Loader(folder, keys), log or folder.log, limits)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=bounded(limits, whole=True),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=max(1, int(limits.stop_s)),
    )
    take_over()
    return _Uvicorn(config, app, limits.drain_s)


def serve(
    root: Path,
    keys: Collection[bytes],
    *,
    host: str = HOST,
    port: int = PORT,
    log: Path | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are finished first. Args and errors: as `prepare`.

    Raises: CannotListen.
    """
    runner = prepare(root, keys, host=host, port=port, log=log, limits=limits)
    # One thread a model: rows come a few at a time, and threads for them cost more than they bring.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    warnings.filterwarnings("ignore", module="sklearn")  # of names (columns go by place) and rows, at each of them
    try:
        runner.run()
    except SystemExit as error:  # uvicorn's way to say that it could not listen
        raise CannotListen(f"cannot listen on {host}:{port}", next_step="choose another --listen") from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
