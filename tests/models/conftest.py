from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.kites import House, make, reopened


@pytest.fixture(scope="session")
def registered_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose gate has nothing to judge yet: model 1 is good, model 2 has learnt nothing. Never changed."""
    place = tmp_path_factory.mktemp("registered") / "kites"
    house = make(place)
    house.register(house.model(3))
    house.register(house.model(4, blind=True))
    house.platform.close()
    return place


@pytest.fixture(scope="session")
def promoted_place(registered_place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with model 1 promoted. Never changed."""
    place = tmp_path_factory.mktemp("promoted") / "kites"
    shutil.copytree(registered_place, place)
    house = reopened(place)
    house.promote(1)
    house.platform.close()
    return place


@pytest.fixture
def registered(registered_place: Path, tmp_path: Path) -> Iterator[House]:
    yield from _copy(registered_place, tmp_path)


@pytest.fixture
def promoted(promoted_place: Path, tmp_path: Path) -> Iterator[House]:
    yield from _copy(promoted_place, tmp_path)


def _copy(place: Path, tmp_path: Path) -> Iterator[House]:
    shutil.copytree(place, tmp_path / "kites")
    house = reopened(tmp_path / "kites")
    yield house
    house.platform.close()
