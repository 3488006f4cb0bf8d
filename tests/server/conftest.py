"""Servers over the small platform: one a module, or started by a test with its own limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from falaj.server.settings import Limits, Settings
from tests.server.running import TinyServer


@pytest.fixture
def serving() -> Iterator[Callable[..., TinyServer]]:
    """Starts servers with the limits of a test; stops them afterwards."""
    started: list[TinyServer] = []

    def start(hosts: tuple[str, ...] = (), **limits: Any) -> TinyServer:
        started.append(TinyServer(Settings(port=0, hosts=hosts, limits=msgspec.convert(limits, Limits))))
        return started[-1]

    yield start
    for server in started:
        server.tiny.go.set()
        server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[TinyServer]:
    """One server for the tests of a module that leave it as it is."""
    running = TinyServer(Settings(port=0))
    yield running
    running.tiny.go.set()
    running.stop()
