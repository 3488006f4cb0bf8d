"""One project for the Python face, embedded and behind a server: the same tests on both."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import falaj as fj
from falaj.client import claim
from tests.cli.playing import Folder, Server

Place = tuple[Folder, str, str]
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: trips
name: trips
version: 1.0.0
status: active
schema:
  - name: trips
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true, unique: true}
      - {name: hour, logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 23}}
      - {name: city, logicalType: string}
      - {name: minutes, logicalType: integer}
"""
GATE = """\
gate: production
guards: [late@production]
evidence: {data: trips@holdout, label: minutes > 30}
rules:
  - {metric: auc, at_least: 0.8}
  - {check: signature}
"""


def trips(first: int, rows: int) -> str:
    """Trips that are late in the evening, mostly: CSV with a header."""
    draw = random.Random(first)
    lines = ["id,hour,city,minutes"]
    for number in range(first, first + rows):
        hour = draw.randrange(24)
        late = draw.random() < (0.9 if hour > 15 else 0.1)
        minutes = draw.randrange(31, 60) if late else draw.randrange(30)
        lines.append(f"{number},{hour},{draw.choice(('Al Ain', 'Dubai'))},{minutes}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session", autouse=True)
def clean_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No variable or login of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("FALAJ_")]:
            patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """May, June and a holdout of trips, and a file that breaks the contract."""
    folder = tmp_path_factory.mktemp("trips")
    for name, first in (("may.csv", 0), ("june.csv", 1000), ("holdout.csv", 2000)):
        (folder / name).write_text(trips(first, 600))
    (folder / "broken.csv").write_text("id,hour,city,minutes\n1,99,Dubai,5\n1,3,Dubai,x\n")
    return folder


@pytest.fixture(scope="module", params=["embedded", "remote"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, files: Path
) -> Iterator[tuple[Folder, str, str]]:
    """A project folder; where it is behind a server, that server's address and its owner's token."""
    folder = Folder(tmp_path_factory.mktemp("api") / "trips")
    for name, text in (("contracts/trips.yaml", CONTRACT), ("gates/production.yaml", GATE)):
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    folder.done("init")
    folder.done("apply")
    folder.done("data", "add", "trips", files / "holdout.csv", "--ref", "holdout")
    if request.param == "embedded":
        yield folder, "", ""
        return
    server = Server(folder)
    yield folder, server.url, claim(server.url, server.one_time, "amal")
    assert server.stop() == 0


@pytest.fixture
def project(place: Place) -> Iterator[fj.Project]:
    """The project, opened anew for each test."""
    folder, url, token = place
    with fj.connect(url, token=token, project="trips") if url else fj.open(folder.path) as opened:
        yield opened


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Path:
    """Model files: one that reads the hour, one that guesses."""
    import csv

    import numpy as np
    import skops.io
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("models")
    with (files / "may.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    hour = np.array([[float(r["hour"])] for r in rows])
    late = np.array([int(r["minutes"]) > 30 for r in rows])
    skops.io.dump(LogisticRegression().fit(hour, late), folder / "good.skops")
    skops.io.dump(LogisticRegression().fit(hour * 0, late), folder / "worse.skops")
    return folder
