"""Adding a GiB of flights: processor time and memory, beside the bare loop with the same libraries and syncs.

Usage: python -m benchmarks.objects [--mib N] [--rounds R] [--source FOLDER]

The months of the real flights, again and again with another year in every row, so that nothing repeats. Each kind is a
process of its own, measured whole, imports included; they take turns:

    command   falaj data add flights FILES…, in a project without a contract
    store     the same files by `store.content` alone: upload, manifest, the transaction that names them
    bare      `limits/objects.py`: cut, name, compress, encrypt, sync; no manifest and no database
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.measure import ROOT, Loads, Used, bar, median, recorded, result, show, spawned, turns

MIB = 1 << 20
TOML = 'project = "flights"\n\n[locations.main]\nurl = "file:objects"\nregion = "AE-DU"\n'


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Of the kind made for this benchmark."""

    files: int


def make_flights(folder: Path, size: int, source: str | None) -> list[Path]:
    """Monthly files of about `size` bytes in all."""
    spec = importlib.util.spec_from_file_location("flights_months", ROOT / "examples/flights/months.py")
    if spec is None or spec.loader is None:
        raise SystemExit("examples/flights/months.py is missing")
    months = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(months)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        real = [path.read_bytes() for path in months.write_months(months.source(source), Path(scratch))]
    folder.mkdir()
    made = 0
    paths: list[Path] = []
    while made < size:
        year, month = 2013 + len(paths) // 12, len(paths) % 12
        paths.append(folder / f"{year}-{month + 1:02d}.csv")
        made += paths[-1].write_bytes(real[month].replace(b"2013", b"%d" % year)[: size - made])
    return paths


def add_to_store(files: Path, place: Path) -> None:
    """The kind `store`, in this process."""
    from falaj.core.entries import What
    from falaj.store.catalog import Catalog
    from falaj.store.content import Contents
    from falaj.store.keys import KeyFile
    from falaj.store.keys.sql import StoreKeys
    from falaj.store.kinds import Kind, Kinds
    from falaj.store.ledger.log import Log
    from falaj.store.metadata import open_database
    from falaj.store.metadata.open import migrate
    from falaj.store.objects import FolderLocation, Place
    from falaj.store.unit import Actor, Units

    place.mkdir()
    database = open_database(place / "falaj.db")
    migrate(database)
    keys = StoreKeys(KeyFile.create(place / "key"), database)
    here = Place(name="main", url="file:objects", region="AE-DU", country="AE")
    contents = Contents(database, keys, {"main": FolderLocation(place / "objects", here)})
    catalog, units = Catalog(Kinds(Kind("bundle", Payload))), Units(database, Log(database.dialect), bytes(32))
    actor = Actor("principal", "person")
    with units.begin(actor, "project.create") as unit:
        project = catalog.add_project(unit, "flights").id
        keys.begin(unit).create_project(project)
        contents.ensure_domain(unit, project, "bundle-flights")
        unit.say(What.PROJECT_CREATED, [project])
    with contents.upload("bundle-flights") as upload:
        for path in sorted(files.iterdir()):
            with path.open("rb") as stream:
                upload.add_file(path.name, stream)
        stored = upload.finish()
    with units.begin(actor, "bundle.add", project) as unit:
        asset = catalog.ensure_asset(unit, project, "bundle", "flights")
        content = contents.record(unit, stored)
        catalog.add_version(unit, asset, Payload(files=stored.files), content=content)
        unit.say(What.VERSION_ADDED, [asset.id])
    database.close()
    sys.stdout.write(json.dumps({"size_bytes": stored.size_bytes, "stored_bytes": stored.stored_bytes}) + "\n")


class Bench:
    """The kinds, each in a fresh folder that is removed after."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self.folder, self.files = folder, list(files)
        self.stored_mib: dict[str, float] = {}

    def turn(self, kind: str) -> Used:
        """Run one kind once."""
        out = self.folder / "out"
        used = self._command(out) if kind == "command" else spawned(self._words(kind, out))
        self.stored_mib[kind] = round(json.loads(used.out)["stored_bytes"] / MIB, 1)
        shutil.rmtree(out)
        return used

    def _words(self, kind: str, out: Path) -> list[str]:
        files = str(self.files[0].parent)
        if kind == "store":
            return ["-m", "benchmarks.objects", "--add", files, str(out)]
        return ["-m", "benchmarks.limits.objects", files, str(out)]

    def _command(self, out: Path) -> Used:
        out.mkdir()
        (out / "falaj.toml").write_text(TOML, encoding="utf-8")
        falaj = ["-m", "falaj.cli.main", "-C", str(out)]
        spawned([*falaj, "init"])
        return spawned([*falaj, "data", "add", "flights", *map(str, self.files), "--json"])


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="how much to add (default: 1024)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each kind (default: 3)")
    parser.add_argument("--source", help="folder of flights.csv.zip; default: the installed package")
    parser.add_argument("--add", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.add:
        add_to_store(*given.add)
        return
    loads = Loads()
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as folder:
        files = make_flights(Path(folder) / "files", given.mib * MIB, given.source)
        bench = Bench(Path(folder), files)
        kinds: dict[str, Callable[[], Used]] = {k: lambda k=k: bench.turn(k) for k in ("command", "store", "bare")}
        runs = turns(kinds, given.rounds)
    cpu = {kind: median([run.cpu_s for run in them]) for kind, them in runs.items()}
    peak = {kind: max(run.peak_mib for run in them) for kind, them in runs.items()}
    wall = {kind: median([run.wall_s for run in them]) for kind, them in runs.items()}
    bars = [
        bar("add flights by command", "CPU s", cpu["command"], cpu["bare"], at_most=1.6),
        bar("add flights by command, peak memory", "MiB", peak["command"], at_most=300),
    ]
    others = [
        recorded("add flights by the store alone", "CPU s", cpu["store"], cpu["bare"]),
        recorded("add flights by the store alone, peak memory", "MiB", peak["store"], peak["bare"]),
        recorded("add flights by command, elapsed", "s", wall["command"], wall["bare"]),
    ]
    facts = {"mib": given.mib, "files": len(files), "rounds": given.rounds, "stored_mib": bench.stored_mib}
    show(result("objects", loads, bars, others, **facts))


if __name__ == "__main__":
    main()
