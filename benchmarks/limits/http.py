"""The bare route: Starlette on uvicorn with the same loop and parser, one route that answers the given bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Said(uvicorn.Server):
    """Says its port once it listens."""

    async def startup(self, sockets: object = None) -> None:
        """As uvicorn's."""
        await super().startup()
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


def main() -> None:
    body = Path(sys.argv[1]).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route("/", answer)])
    config = uvicorn.Config(
        app, port=0, loop="uvloop", http="httptools", ws="none", access_log=False, log_level="warning"
    )
    Said(config).run()


if __name__ == "__main__":
    main()
