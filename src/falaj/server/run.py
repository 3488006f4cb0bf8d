"""Starting and stopping: uvicorn around the application, in this process, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from falaj.core.errors import Invalid, Unavailable
from falaj.server.app import Server
from falaj.server.backend import Backend, Background
from falaj.server.logs import Log, take_over
from falaj.server.settings import Settings
from falaj.serving.protocol import bounded


class CannotListen(Unavailable):
    """The address is taken, or not this machine's."""

    code = "cannot_listen"


class _Uvicorn(uvicorn.Server):
    """uvicorn that tells the application of a signal at once, and does not die of it afterwards."""

    def __init__(self, config: uvicorn.Config, server: Server, on_listening: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._server = server
        self._on_listening = on_listening
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Listen, then say where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            url = address(self._server.settings, self.servers[0].sockets[0].getsockname()[1])
            self._server.log.say("listening", url=url)
            if self._on_listening:
                self._on_listening(url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: finish what was begun. A second Ctrl-C: do not."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()

    def stop(self) -> None:
        """Begin to stop; may be called from any thread or signal handler."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._server.begin_stop)


def address(settings: Settings, port: int) -> str:
    """The URL it listens on."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls else 'http'}://{host}:{port}"


def prepare(
    backend: Backend,
    settings: Settings,
    log: Log | None = None,
    on_listening: Callable[[str], None] | None = None,
    background: Background | None = None,
) -> _Uvicorn:
    """A server that is ready to `run()`. Raises: NotSafe, Invalid for settings that cannot be meant."""
    settings.check()
    tls = _tls(settings.cert, settings.key) if settings.cert and settings.key else None
    server = Server(backend, settings, log, background)
    take_over(server.log)
    limits = settings.limits
    config = uvicorn.Config(
        server,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=bounded(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.behind_proxy,
        forwarded_allow_ips=list(settings.proxies) if settings.behind_proxy else [],
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=max(1, int(limits.stop_s)),
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )
    return _Uvicorn(config, server, on_listening)


def _tls(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password="")  # without one it would ask on the terminal
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise Invalid(
            f"{cert}, {key}: {error}", next_step="give a PEM certificate and its key, without a passphrase"
        ) from error
    return context


def serve(
    backend: Backend,
    settings: Settings,
    log: Log | None = None,
    on_listening: Callable[[str], None] | None = None,
    background: Background | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests and jobs in flight are finished first, within `stop_s`.

    The caller closes the platform afterwards.

    Args:
        on_listening: told the URL once connections are accepted.
        background: what the process does by itself; begun and ended with it.
    Raises: NotSafe, Invalid; CannotListen.
    """
    runner = prepare(backend, settings, log, on_listening, background)
    try:
        runner.run()
    except SystemExit as error:  # uvicorn's way to say that it could not listen
        raise CannotListen(
            f"cannot listen on {settings.host}:{settings.port}", next_step="choose another --host or --port"
        ) from error
    finally:
        sys.stderr.flush()
