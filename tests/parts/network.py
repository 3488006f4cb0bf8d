"""The closed network: a test reaches loopback and unix sockets, nothing else.

An audit hook sees every connection and every look-up that Python code makes, whatever library makes it. C libraries
(libpq, libuv) connect past it; the tests give those loopback addresses only.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable

import pytest

from scripts.postgres import free_port as one_free_port


class OutsideNetwork(RuntimeError):
    """A test tried to leave the machine."""


def is_loopback(host: object) -> bool:
    """Whether a host, as programs write it, is this machine; a zone (`::1%lo`) is allowed."""
    if host is None:
        return True
    name = host.decode(errors="replace") if isinstance(host, bytes | bytearray) else str(host)
    if name in {"", "localhost", socket.gethostname()}:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _guard(event: str, args: tuple[object, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = args[1]
        if isinstance(address, tuple) and not is_loopback(address[0]):
            raise OutsideNetwork(f"a test connects to {address[0]}: only loopback is open in tests")
    elif event == "socket.getaddrinfo" and not is_loopback(args[0]):
        raise OutsideNetwork(f"a test looks up {args[0]!r}: only loopback is open in tests")


def pytest_configure() -> None:
    sys.addaudithook(_guard)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a free TCP port of 127.0.0.1 at each call."""
    return one_free_port
