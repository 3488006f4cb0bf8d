"""Every relative link of the documentation leads to a file, and every anchor to a heading.

python -m scripts.links       print the broken ones; exit 1 where there are any
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from scripts.tree import files

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"(?m)^#+ +(.+?) *$")
_CODE = re.compile(r"(?ms)^```.*?^```|`[^`\n]*`")


def anchor(heading: str) -> str:
    """The anchor that Git forges give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def broken(root: Path) -> tuple[int, list[str]]:
    """How many links were followed, and those that lead nowhere, as `file: target`."""
    followed, wrong = 0, []
    for path in (p for p in files(root) if p.suffix == ".md"):
        for target in _LINK.findall(_CODE.sub("", (root / path).read_text(encoding="utf-8"))):
            if "://" in target or target.startswith("mailto:"):
                continue
            followed += 1
            name, _, fragment = target.partition("#")
            there = root / path.parent / name if name else root / path
            if not there.exists():
                wrong.append(f"{path}: {target}")
            elif fragment and fragment not in map(anchor, _HEADING.findall(there.read_text(encoding="utf-8"))):
                wrong.append(f"{path}: {target} (no such heading)")
    return followed, wrong


def main() -> int:
    followed, wrong = broken(Path(__file__).resolve().parents[1])
    for line in wrong:
        print(line)
    print(f"{followed} links, {len(wrong)} broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
