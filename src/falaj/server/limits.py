"""Limits that are rules of their own: rates, depth, hosts and origins. Pure, but for the buckets' memory."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

from falaj.core.errors import Invalid
from falaj.server.errors import HostRefused, OriginRefused, TooManyRequests
from falaj.server.settings import Rate

MAX_BUCKETS = 20_000
SLACK = 1e-6
"""Of a token: what sums of floating point may fall short by."""


class Buckets:
    """One token bucket a key; the ones used longest ago are forgotten past `MAX_BUCKETS`. Safe between threads."""

    def __init__(self, rate: Rate, most: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._most = most
        self._state: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, now: float) -> None:
        """Take one token.

        Args:
            now: seconds of a clock that only goes forward.
        Raises: TooManyRequests, with the seconds until there is one.
        """
        per_s, burst = self._rate.per_s, self._rate.burst
        with self._lock:
            tokens, at = self._state.pop(key, (burst, now))
            tokens = min(burst, tokens + max(0.0, now - at) * per_s)
            is_enough = tokens >= 1 - SLACK
            self._state[key] = (tokens - 1 if is_enough else tokens, max(now, at))
            if len(self._state) > self._most:
                self._state.popitem(last=False)
        if not is_enough:
            raise TooManyRequests((1 - tokens) / per_s)

    def __len__(self) -> int:
        return len(self._state)


def address_key(address: str) -> str:
    """What one client's requests are counted under: its IPv4 address, or the /64 of its IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv4Address):
        return address
    return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip) >> 64 << 64, 64)))


def check_depth(data: bytes, value: Any, most: int) -> None:
    """Refuse a JSON value that nests deeper than `most` levels.

    Args:
        data: the bytes that `value` was decoded from; few brackets in them spare the walk.
    Raises: Invalid.
    """
    if data.count(b"[") + data.count(b"{") <= most:
        return
    level: list[Any] = [value]
    for _ in range(most):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    if any(isinstance(item, dict | list) for item in level):
        raise Invalid(f"body: nested deeper than {most} levels", next_step="flatten it")


def check_host(host: str, allowed: frozenset[str]) -> None:
    """Refuse a request that was sent to a name which is not this server's. Raises: HostRefused."""
    if host_name(host) not in allowed:
        raise HostRefused("this server does not answer to that host name", next_step="falaj server --allow-host NAME")


def check_origin(origin: str, site: str, host: str) -> None:
    """Refuse what a page of another origin made a browser send.

    Args:
        origin: the header `Origin`, "" where there is none (no browser, or a plain navigation).
        site: the header `Sec-Fetch-Site`, "" where there is none.
    Raises: OriginRefused.
    """
    if site not in ("", "same-origin", "none") or (origin and not _same_place(origin, host)):
        raise OriginRefused("requests from pages of another origin are not answered", next_step="use the server's own")


def host_name(host: str) -> str:
    """The name in a `Host` header: lower case, without its port."""
    name = host.lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def _same_place(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and not parts.path and parts.netloc.lower() == host.lower()
