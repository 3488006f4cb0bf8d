"""Deployments and inference servers of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.places import NUMBERS, Place, picky, windy
from tests.serving.running import Running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Versions 6 and 7, and 8 which fails on a town that it does not know."""
    place = Place(tmp_path / "delay")
    place.add(6, windy(0.1), NUMBERS)
    place.add(7, windy(0.2), NUMBERS)
    place.add(8, picky(), NUMBERS)
    return place


@pytest.fixture
def start(place: Place) -> Iterator[Callable[..., Running]]:
    """Starts `falaj serve` on the place."""
    started: list[Running] = []

    def begin(*more: str) -> Running:
        started.append(Running(place.folder.root, *more))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait(30)
