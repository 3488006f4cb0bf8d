"""Fleets: one for all tests of a module that need no database of their own, and one for each on either database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.fleet import Fleet, launch
from tests.platform.places import make_place, serve


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A served store on SQLite; each deployment of it has a ref of its own."""
    folder = tmp_path_factory.mktemp("fleet")
    served = serve(make_place(folder / "flights"))
    yield launch(served, folder)
    served.platform.close()


@pytest.fixture
def fleet_of(tmp_path: Path, database_address: str) -> Iterator[Fleet]:
    """The same on SQLite and on PostgreSQL."""
    served = serve(make_place(tmp_path / "flights"), database_address)
    yield launch(served, tmp_path)
    served.platform.close()
