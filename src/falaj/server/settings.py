"""What an operator may set, and what is safe where nothing is set."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec

from falaj.core.errors import Invalid

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class NotSafe(Invalid):
    """The server was asked to listen where tokens would cross a network in the clear."""

    code = "tls_required"


class Rate(msgspec.Struct, frozen=True):
    """A token bucket: `per_s` requests a second on average, `burst` at once."""

    per_s: float
    burst: float


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound of the edge. Sizes in bytes, times in seconds.

    Attributes:
        body_bytes: of a JSON body.
        staging_bytes: of one staged file.
        depth: nesting of a JSON body.
        header_wait_s: until a request's head must be complete.
        body_wait_s: until a JSON body must be complete; for a staged file, the longest silence.
        unread_s: that a client may leave an answer untaken.
        request_s: until a query or command must have answered.
        wait_s: the longest that `Prefer: wait=` is honoured.
        threads, waiting: calls at work at once, and calls that may wait for a thread.
        uploads: files being staged at once.
        jobs: jobs at work at once.
        kept_jobs, kept_bytes: ended jobs whose results are kept in memory, and the size of those results together.
        streams: open event streams.
        stream_s: until an event stream is ended and the client comes again.
        connections: open connections.
        keep_alive_s: until an idle connection is closed.
        stop_s: for requests and jobs to finish once the server is told to stop.
        by_address, by_principal: rates. Every request counts for its address, an authenticated one for its principal.
        claims: rate of attempts of one address to use the one-time token.
    """

    body_bytes: int = 1 << 20
    staging_bytes: int = 64 << 30
    depth: int = 64
    url_bytes: int = 8 << 10
    header_bytes: int = 32 << 10
    header_wait_s: float = 10
    body_wait_s: float = 20
    unread_s: float = 60
    request_s: float = 30
    wait_s: float = 60
    threads: int = 8
    waiting: int = 256
    uploads: int = 8
    jobs: int = 4
    kept_jobs: int = 256
    kept_bytes: int = 32 << 20
    streams: int = 64
    stream_s: float = 600
    connections: int = 512
    keep_alive_s: int = 30
    stop_s: float = 20
    by_address: Rate = Rate(200, 1000)
    by_principal: Rate = Rate(100, 500)
    claims: Rate = Rate(0.2, 5)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one server runs.

    Attributes:
        port: 0 takes a free one.
        hosts: names by which clients may call it, besides the loopback ones and `host`; without port.
        behind_proxy: a proxy in front ends TLS; the client's address is then taken from its headers.
        proxies: addresses of that proxy, whose headers are believed.
        cert, key: PEM files for TLS.
    """

    host: str = "127.0.0.1"
    port: int = 7400
    hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    cert: Path | None = None
    key: Path | None = None
    limits: Limits = Limits()

    @property
    def tls(self) -> bool:
        """Whether this server itself speaks TLS."""
        return self.cert is not None

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The `Host` names that are answered, lower case, without port."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset(h.lower() for h in (*LOOPBACK_HOSTS, own, *self.hosts) if h not in ("0.0.0.0", "[::]"))  # noqa: S104

    def check(self) -> None:
        """Raises: NotSafe, Invalid for settings that cannot be meant."""
        if (self.cert is None) != (self.key is None):
            raise Invalid("TLS needs a certificate and its key", next_step="give both --tls-cert and --tls-key")
        for file in (self.cert, self.key):
            if file is not None and not file.is_file():
                raise Invalid(f"{file}: no such file", next_step="give a PEM file that the server may read")
        if not 0 <= self.port <= 65535:
            raise Invalid(f"port {self.port}: a number from 0 to 65535")
        if not (self.tls or self.behind_proxy or is_loopback(self.host)):
            raise NotSafe(
                f"listening on {self.host} without TLS: tokens would cross the network in the clear",
                next_step="give --tls-cert and --tls-key, or --behind-proxy where a proxy in front speaks TLS",
            )


def is_loopback(host: str) -> bool:
    """Whether a host to listen on is this machine only. A name other than localhost is not taken to be."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
