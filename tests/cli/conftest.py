"""A machine without logins, the real months, and one small store that tests read."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.playing import EXAMPLE, Folder, example


@pytest.fixture(scope="session", autouse=True)
def clean_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No variable, login or colour of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("FALAJ_")]:
            patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """January, February, April, May and June of the real flights, and a broken May."""
    spec = importlib.util.spec_from_file_location("flights_months_of_cli", EXAMPLE / "months.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("months")
    module.write_months(module.source(), folder, (1, 2, 4, 5, 6))
    module.break_month(folder / "2013-05.csv", folder / "broken.csv")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, months: Path) -> Folder:
    """A store with January, a refused May, and February put in its place: for tests that read, or add beside it."""
    folder = example(tmp_path_factory.mktemp("cli") / "flights")
    folder.done("apply")
    folder.done("data", "add", "flights", months / "2013-01.csv")
    assert folder("data", "add", "flights", months / "broken.csv", "--mode", "replace").code == 6
    folder.done("data", "add", "flights", months / "2013-02.csv", "--mode", "replace")
    return folder
