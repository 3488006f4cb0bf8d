"""Programs of the machine that a test needs. One that is missing fails the test with its install line."""

from __future__ import annotations

import shutil

import pytest


def program(name: str, install: str) -> str:
    """The path of a program; without it the test fails and says how to install it."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: {install}", pytrace=False)
    return found


@pytest.fixture(scope="session")
def strace() -> str:
    """The path of strace, which records and breaks system calls."""
    return program("strace", "apt-get install -y strace")
