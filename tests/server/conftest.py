"""Servers over the small platform: one a module, or started by a test with its own limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj.server.settings import Limits, Settings
from tests.server.house import House
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


@pytest.fixture
def house(tmp_path: Path, database_address: str) -> Iterator[House]:
    """A real platform behind a server, on SQLite and on PostgreSQL."""
    built = House(tmp_path / "flights", database_address)
    yield built
    built.close()


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Builds houses on SQLite with the limits or the database of a test."""
    built: list[House] = []

    def build(database: str = "", **limits: Any) -> House:
        built.append(House(tmp_path / f"flights-{len(built)}", database, **limits))
        return built[-1]

    yield build
    for one in built:
        one.close()
