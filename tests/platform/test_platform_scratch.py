"""What a killed process left in the clear goes a day later; what is being worked on stays."""

import os
import time
from pathlib import Path

import pytest

from falaj.platform import Platform

DAY_S = 24 * 3600


@pytest.mark.parametrize(
    ("folder_age", "file_age", "stays"),
    [(2 * DAY_S, 2 * DAY_S, False), (2 * DAY_S, 60, True), (60, 2 * DAY_S, True)],
    ids=["left behind", "a file was written lately", "begun lately"],
)
def test_scratch_is_swept(place: Path, folder_age: int, file_age: int, stays: bool) -> None:
    Platform.create(place, "flights").close()
    left = place / ".falaj" / "scratch" / "falaj-killed"
    left.mkdir()
    (left / "rows.csv").write_text("id\n1\n")
    for path, age in ((left / "rows.csv", file_age), (left, folder_age)):
        os.utime(path, (time.time() - age,) * 2)
    Platform.open(place).close()
    assert left.exists() == stays


def test_a_link_in_scratch_leads_nowhere(place: Path, tmp_path: Path) -> None:
    Platform.create(place, "flights").close()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    os.utime(outside, (0, 0))
    (place / ".falaj" / "scratch" / "link").symlink_to(outside)
    Platform.open(place).close()
    assert (outside / "kept").exists()
