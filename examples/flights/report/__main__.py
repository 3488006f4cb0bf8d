"""Make the page of a year that was played.

python -m examples.flights.report build/flights/year.json [build/flights/report.html]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import page, story


def main() -> None:
    parser = argparse.ArgumentParser(description="Make one HTML page of a year.json.")
    parser.add_argument("story", type=Path, help="year.json")
    parser.add_argument("page", type=Path, nargs="?", help="where to write it; beside the story by default")
    given = parser.parse_args()
    target = given.page or given.story.with_name("report.html")
    page.write(target, story.read(given.story))
    print(f"{target}   {target.stat().st_size / 1024:,.0f} KiB")


if __name__ == "__main__":
    main()
