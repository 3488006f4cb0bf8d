"""Environments that tests share: built once, with pip as it is configured here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from falaj.environments.place import Environment, Place, built

WORKER_LOCK = Path(__file__).parent / "worker_lock.txt"
"""What an attempt needs at least, by hashes of its wheels."""


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The folder of environments of this test run; its workers share it."""
    base = tmp_path_factory.getbasetemp()
    return Place((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "environments")


@pytest.fixture(scope="session")
def worker_environment(environments: Place) -> Environment:
    """An environment that attempts can run in."""
    return built(WORKER_LOCK.read_text(encoding="utf-8"), environments.folder)
