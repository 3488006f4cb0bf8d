from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.platform import Platform
from tests.platform.places import Served, make_place, serve


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_place(tmp_path / "flights")


@pytest.fixture
def platform(place: Path) -> Iterator[Platform]:
    """An embedded platform on SQLite."""
    with Platform.create(place, "flights") as opened:
        yield opened


@pytest.fixture
def on_both(place: Path, database_address: str) -> Iterator[Platform]:
    """An embedded platform, on SQLite and on PostgreSQL: for what the two databases do in different ways."""
    with Platform.create(place, "flights", database=database_address) as opened:
        yield opened


@pytest.fixture
def served(place: Path) -> Iterator[Served]:
    """A served platform on SQLite."""
    made = serve(place)
    yield made
    made.platform.close()
