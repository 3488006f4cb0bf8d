from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.house import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project on a store of its own."""
    made = Project(tmp_path / "flights")
    yield made
    made.platform.close()
