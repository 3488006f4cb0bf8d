from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.watched import Deployed


@pytest.fixture(scope="session")
def deployed_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model deployed and nothing predicted yet. Never changed."""
    place = tmp_path_factory.mktemp("deployed") / "kites"
    Deployed(place).house.platform.close()
    return place


@pytest.fixture
def deployed(deployed_place: Path, tmp_path: Path) -> Iterator[Deployed]:
    """A copy of it, open."""
    shutil.copytree(deployed_place, tmp_path / "kites")
    made = Deployed.reopened(tmp_path / "kites")
    yield made
    made.house.platform.close()
