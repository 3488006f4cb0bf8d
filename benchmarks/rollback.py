"""Rollback, end to end: from the commit that moves the ref to the first answer by the earlier version, under load.

Usage: python -m benchmarks.rollback [--rollbacks K] [--requests N]

A real store with a gate and a deployment; two versions went out, and the ref is rolled back and forth by `ref.rollback`
in a process of its own, while eight connections ask `falaj serve` for one row of 30 numbers each without a pause. The
moment of the commit is the one at which the transaction has returned; from there the bundle is signed, written, seen,
verified and taken up.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.measure import Loads, bar, median, recorded, result, show, spread
from benchmarks.serving import FEATURES, Load, free_port, made_models, serving
from falaj.core.names import Thing
from falaj.deploy.bundles import BUNDLES, Bundles
from falaj.deploy.following import Deployments
from falaj.platform import Platform

CONNECTIONS, WARM, MIN_REQUESTS = 8, 500, 10_000
REF = "delay@production"
GATE = f"gate: production\nguards: [{REF}]\nrules:\n  - check: format\n"
DEPLOYMENT = f"deployment: delay\nmodel: {REF}\nrollout: {{bake: 1 requests}}\n"


def deployed(place: Path, files: list[Path]) -> str:
    """A store whose ref went from version 1 to version 2 and answers by it; returns the key that servers pin."""
    place.mkdir()
    (place / "falaj.toml").write_text('project = "flights"\n', encoding="utf-8")
    names = [f"x{i}" for i in range(FEATURES)]
    rows = np.random.default_rng(3).normal(size=(50, FEATURES + 1)).round(3)
    table = place / "rows.csv"
    lines = [",".join([*names, "late"]), *(",".join(f"{x:.3f}" for x in row) for row in rows)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Platform.create(place, "flights") as platform:
        session = platform.session("flights")
        texts = {"gates/production.yaml": GATE, "deploy/production.yaml": DEPLOYMENT}
        session.call("config.apply", {"files": [{"path": path, "text": text} for path, text in texts.items()]})
        session.call("data.add", {"dataset": "rows", "files": [staged(session, table)]})
        columns = [{"name": name, "type": "number"} for name in names]
        for version, file in enumerate(files, 1):
            made = {"model": "delay", "inputs": ["rows@main"], "label": "late > 0", "columns": columns}
            session.call("model.register", {**made, "files": [staged(session, file)]})
            session.call("ref.promote", {"thing": REF, "version": version})
        session.call("deploy.advance", {"deployment": "delay"})
        key: str = session.call("deploy.status", {"deployment": "delay"})["key"]
    return key


def staged(session: Any, file: Path) -> dict[str, str]:
    """A file as operations name it."""
    told = session.stage(file)
    return {"staged": told["staged"], "name": told["name"]}


class Committed:
    """Says when a transaction that routes has committed."""

    def __init__(self, platform: Platform) -> None:
        self.at = 0.0
        self._bundles: Bundles = platform.ground.port(BUNDLES)

    def published(self, deployment: str) -> None:
        """See `Deployments`."""
        self.at = time.perf_counter()
        self._bundles.published(deployment)


def roll_back(place: str) -> None:
    """The process that rolls back: for each line `version`, do it; say when the command began and when it committed."""
    with Platform.open(Path(place)) as platform:
        committed, catalog = Committed(platform), platform.ground.catalog
        catalog.follow = Deployments(catalog, platform.ground.keys, committed.published)
        session = platform.session("flights")
        for line in sys.stdin:
            begin = time.perf_counter()
            session.call("ref.rollback", {"thing": str(Thing.parse(REF)), "version": int(line)})
            print(begin, committed.at, flush=True)


def measured(place: Path, port: int, requests: int, times: int) -> tuple[list[float], list[float], Load]:
    """Milliseconds from commit, and from the command's begin, to the first answer by the other version; and the load.

    `time.perf_counter` is one clock for all processes of a machine.
    """
    load, marks = Load(requests), []
    words = [sys.executable, "-m", "benchmarks.rollback", "--roll", str(place)]

    async def play() -> None:
        pipe = asyncio.subprocess.PIPE
        writer = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
        if writer.stdin is None or writer.stdout is None:
            raise RuntimeError("the process has no pipes")
        running = asyncio.ensure_future(load.run(port, CONNECTIONS))
        for turn in range(times):
            await asyncio.sleep(0.25)
            version = 1 + turn % 2
            writer.stdin.write(b"%d\n" % version)
            begin, commit = map(float, (await writer.stdout.readline()).split())
            marks.append((begin, commit, b"%d" % version))
        await asyncio.sleep(1)
        load.left = max(100, MIN_REQUESTS - len(load.seconds))
        await running
        writer.stdin.close()
        await writer.wait()

    uvloop.run(play())
    first = [next(at for at, seen in load.versions if seen == version and at > begin) for begin, _, version in marks]
    from_commit = [(at - commit) * 1000 for at, (_, commit, _) in zip(first, marks, strict=True)]
    from_begin = [(at - begin) * 1000 for at, (begin, _, _) in zip(first, marks, strict=True)]
    return from_commit, from_begin, load


def main(argv: list[str] | None = None) -> None:
    """Print one JSON object."""
    if sys.argv[1:2] == ["--roll"]:
        roll_back(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollbacks", type=int, default=20)
    parser.add_argument("--requests", type=int, default=10_000_000, help="at most so many")
    given = parser.parse_args(argv)
    loads = Loads()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        models = made_models(folder)
        key = deployed(folder / "flights", [models["before"], models["onnx"]])
        bundle = folder / "flights" / ".falaj" / "serving" / "delay"
        words = ["falaj.cli.main", "serve", str(bundle), "--key", key, "--listen", f"127.0.0.1:{port}"]
        with serving(words, port):
            warm = Load(WARM)
            uvloop.run(warm.run(port, CONNECTIONS))
            took, whole, load = measured(folder / "flights", port, given.requests, given.rollbacks)
    bars = [
        bar("rollback, commit to first answer by the earlier version, worst", "ms", max(took), at_most=100),
        bar("failed meanwhile", "requests", load.failed + warm.failed, at_most=0),
    ]
    others = [
        recorded("the same, median", "ms", median(took)),
        recorded("the whole command to that answer, median", "ms", median(whole)),
        recorded("requests meanwhile", "requests", len(load.seconds)),
    ]
    show(result("rollback", loads, bars, others, rollbacks=given.rollbacks, rollback_ms=spread(took)))


if __name__ == "__main__":
    main()
