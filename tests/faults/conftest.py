"""A store made once, copied for each test; and a nursery of workers for all of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import plan
from tests.faults.workers import Nursery, nursery
from tests.faults.world import World, copied


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as `plan.make` leaves it; never changed."""
    place = tmp_path_factory.mktemp("faults") / "base"
    plan.make(place)
    return place


@pytest.fixture
def world(base: Path, tmp_path: Path) -> World:
    return copied(base, tmp_path / "kites")


@pytest.fixture(scope="session")
def workers(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(strace, tmp_path_factory.mktemp("nursery")) as made:
        yield made


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may reach; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="falaj-faults-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
