"""The inference server on this machine."""

from __future__ import annotations

from typing import Any

from falaj.cli import target

Given = dict[str, Any]


def serve(options: Given, args: Given) -> None:
    """Serve a deployment's bundle until a signal ends it."""
    from falaj.core.bundle import parse_key
    from falaj.serving import run

    host, port = run.listen_address(args.get("listen", f"{run.HOST}:{run.PORT}"))
    run.serve(
        target.below(options, args["bundle"]),
        [parse_key(key) for key in args["key"]],
        host=host,
        port=port,
        log=target.below(options, args["log"]) if "log" in args else None,
    )
