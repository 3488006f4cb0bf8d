"""Serving the store of a project folder: open it, let the first owner in, serve and loop until told to end."""

from __future__ import annotations

import sys
from pathlib import Path

from falaj.platform import Platform
from falaj.platform.loops import Loops
from falaj.server.logs import Log
from falaj.server.run import serve
from falaj.server.settings import Settings


def run(
    place: Path,
    *,
    host: str,
    port: int,
    database: str = "",
    certfile: str = "",
    keyfile: str = "",
    allowed_hosts: tuple[str, ...] = (),
    behind_proxy: bool = False,
) -> None:
    """Serve the store of a folder until SIGTERM or Ctrl-C.

    Says on standard error where it listens and, while the store has no owner yet, the one-time token by which the
    first one comes in.

    Args:
        database: as in `Platform.open`.
    Raises: NotSafe, Invalid, CannotListen; what opening the store raises.
    """
    settings = Settings(
        host=host,
        port=port,
        hosts=allowed_hosts,
        behind_proxy=behind_proxy,
        cert=Path(certfile) if certfile else None,
        key=Path(keyfile) if keyfile else None,
    )
    settings.check()
    platform = Platform.open(place, server=True, database=database)
    log = Log()
    try:
        loops = Loops(platform, log.say)
        serve(platform, settings, log, on_listening=lambda url: _greet(platform, url), background=loops)
    finally:
        platform.close()


def _greet(platform: Platform, url: str) -> None:
    lines = [f"serving {url}"]
    if token := platform.bootstrap_token():
        lines += [
            "nobody owns this store yet; the first owner comes in once, by this token:",
            f"  {token}",
            f"  falaj login {url} --claim NAME    (asks for the token)",
        ]
    print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201  meant for the operator's eyes, not for the log
