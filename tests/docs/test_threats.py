"""The table of threats: each row names tests, and each of them is there."""

import re

import pytest

from tests.docs.pages import DOCS

TABLE = (DOCS / "security.md").read_text(encoding="utf-8").partition("## Threats and what shows")[2]
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")][1:]


def test_every_threat_has_something_that_stops_it_and_a_test() -> None:
    assert len(ROWS) > 20
    assert [row[0] for row in ROWS if len(row) != 3 or "](" not in row[2]] == []


@pytest.mark.parametrize(("words", "file"), re.findall(r"\[([^\]]+)\]\(([^)]+\.py)\)", TABLE))
def test_the_test_is_there(words: str, file: str) -> None:
    name = "test_" + words.replace(" ", "_")
    assert re.search(rf"(?m)^(?:async )?def {name}\(", (DOCS / file).read_text(encoding="utf-8")), name
