"""The pages of the documentation taken apart: the blocks that a comment before them marks as part of a test.

<!-- file: NAME -->   the block is the text of a file
<!-- run -->          the block is run, after the files and those before it, in one program for the page
<!-- run: NAME -->    the block is used by the test of that name
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_MARKED = re.compile(r"(?ms)^<!-- (file|run)(?:: (\S+))? -->\n```(\w*)\n(.*?)^```$")


class Block(NamedTuple):
    sort: str
    name: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The marked blocks of a page, in order."""
    return [Block(m[1], m[2] or "", m[3], m[4]) for m in _MARKED.finditer(page.read_text(encoding="utf-8"))]


def named(page: str, name: str) -> str:
    """The text of the block that a test uses."""
    [found] = [b.text for b in blocks(DOCS / page) if (b.sort, b.name) == ("run", name)]
    return found


def with_programs() -> list[Path]:
    """The pages that hold a program."""
    return [p for p in sorted(DOCS.rglob("*.md")) if any(b.sort == "run" and not b.name for b in blocks(p))]
