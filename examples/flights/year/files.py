"""The files of the play: the project's folder as its team keeps it, and the data that comes in month by month."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # the project's own files import each other by their plain names

import feeds  # noqa: E402
import months  # noqa: E402

MARK = ".falaj-demo"
PROJECT = ("falaj.toml", "features.py", "training.py", "experiments.py", "pipeline.py", "triggers.yaml")
FOLDERS = ("contracts", "gates", "deploy")
BROKEN = 3


def prepare(folder: Path) -> None:
    """A fresh folder with the project's files. Raises: SystemExit for a folder that was not made by the play."""
    if folder.exists():
        if not (folder / MARK).is_file():
            raise SystemExit(f"{folder} was not made by this demo: name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    for name in PROJECT:
        shutil.copyfile(HERE / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(HERE / name, folder / name)
    _commit(folder)


def _commit(folder: Path) -> None:
    """A project is a folder in Git, so that runs can name a commit; where there is no Git, they name digests."""
    git = shutil.which("git")
    if git is None:
        return
    (folder / ".gitignore").write_text("/*\n!/.gitignore\n" + "".join(f"!/{n}\n" for n in (*PROJECT, *FOLDERS)))
    who = ["-c", "user.name=science", "-c", "user.email=science@example.ae", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-q", "-m", "Flights"]):
        subprocess.run([git, *words], cwd=folder, check=True)


class Data:
    """What comes in, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self) -> None:
        """All months of everything, and a March that was broken on purpose."""
        months.write_months(months.source(), self.folder)
        months.break_month(self.flights(BROKEN), self.broken)
        feeds.write_weather(self.folder)
        feeds.write_planes(self.folder)
        feeds.write_departures(self.folder)
        feeds.write_schedule(self.folder)

    @property
    def broken(self) -> Path:
        return self.folder / f"2013-{BROKEN:02d}-broken.csv"

    @property
    def planes(self) -> Path:
        return self.folder / "planes.parquet"

    def flights(self, month: int) -> Path:
        """What came of a month's flights, as it is published when the month is over."""
        return self.folder / f"2013-{month:02d}.csv"

    def feed(self, name: str, month: int) -> Path:
        """The month of `weather`, `departures` or `schedule`."""
        return self.folder / f"{name}-2013-{month:02d}.parquet"

    def questions(self, month: int, count: int, *, also: str = "") -> Path:
        """Flights of a month that somebody asks about, drawn by their keys; what came of them is null in it.

        They stand in the order in which they were drawn, so that what is asked early, or in one batch, is like the
        rest: whoever compares a canary with the others compares like with like.

        Args:
            also: a carrier, all of whose flights are among them.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        flights = self.rows(month)
        keys = ["/".join(map(str, key)) for key in zip(*(flights[n].to_pylist() for n in feeds.KEY), strict=True)]
        order = sorted(range(len(keys)), key=lambda i: _drawn(keys[i]))
        carriers = flights["carrier"].to_pylist()
        table = flights.take([*order[:count], *(i for i in order[count:] if carriers[i] == also)])
        for name in ("dep_delay", "arr_delay"):
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.nulls(table.num_rows, pa.int64()))
        path = self.folder / f"questions-2013-{month:02d}{'-' + also if also else ''}.parquet"
        pq.write_table(table, path)
        return path

    def rows(self, month: int) -> Any:
        """The month's flights with what came of them."""
        import pyarrow.parquet as pq

        return pq.read_table(self.feed("schedule", month))

    def late(self, month: int, keys: Sequence[str]) -> list[bool | None]:
        """Whether these flights were late; None for one that has no arrival."""
        known = self._delays(month)
        return [None if known[key] is None else known[key] > 30 for key in keys]

    @functools.cache  # noqa: B019  there is one of this class, and it lives as long as the process
    def _delays(self, month: int) -> dict[str, int | None]:
        flights = self.rows(month)
        names = ["/".join(map(str, key)) for key in zip(*(flights[n].to_pylist() for n in feeds.KEY), strict=True)]
        return dict(zip(names, flights["arr_delay"].to_pylist(), strict=True))


def _drawn(key: str) -> bytes:
    from hashlib import blake2b

    return blake2b(key.encode(), digest_size=8).digest()
