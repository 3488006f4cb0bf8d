"""Served stores for the gates, on both databases or on one, with people who hold roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gates.kites import World, begin
from tests.platform.places import Person, Served, make_place, serve

Begin = Callable[..., World]


@pytest.fixture
def served(tmp_path: Path, database_address: str) -> Iterator[Served]:
    """A served platform, on SQLite and on PostgreSQL."""
    made = serve(make_place(tmp_path / "flights"), database_address)
    yield made
    made.platform.close()


@pytest.fixture
def served_one(tmp_path: Path) -> Iterator[Served]:
    """A served platform on SQLite alone, for what does not differ by database."""
    made = serve(make_place(tmp_path / "flights"))
    yield made
    made.platform.close()


@pytest.fixture
def world(served: Served, tmp_path: Path) -> Begin:
    """Begins a world on both databases: `world(rules, …)` as `kites.begin`."""
    return lambda *args, **more: begin(served, tmp_path, *args, **more)


@pytest.fixture
def world_one(served_one: Served, tmp_path: Path) -> Begin:
    """As `world`, on SQLite alone."""
    return lambda *args, **more: begin(served_one, tmp_path, *args, **more)


def maintainer(served: Any, name: str) -> Person:
    made: Person = served.person(name, ("maintainer", "project:flights"))
    return made
