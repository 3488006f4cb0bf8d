"""What the fault tests do to a store, and what they expect of it: small commands over one dataset.

add SEED              a new version of three files made from the seed, judged by nothing
promote NUMBER        production moves to a version, through a gate: its verdict is used up by the move
rollback NUMBER KEY   production moves back, once for the key
rm NUMBER KEY         the version is retired, once for the key
gc                    bytes that nothing reaches go
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from falaj.platform import Platform
from falaj.session import Session

PROJECT, DATASET, PRODUCTION = "kites", "kites", "dataset/kites@production"
SETTINGS = f'project = "{PROJECT}"\n\n[locations.main]\nurl = "file:objects"\nregion = "AE-DU"\n'
GATE = f"""
gate: release
guards: [{PRODUCTION}]
rules:
  - approval: {{from: maintainer, not: proposer}}
    embedded: waive
"""


def files_of(seed: int) -> dict[str, bytes]:
    """Two small files and one of several chunks."""
    rng = random.Random(seed)
    return {
        f"{seed}-a.csv": b"day,wind\n" + rng.randbytes(200),
        f"{seed}-b.csv": rng.randbytes(3_000),
        f"{seed}-c.csv": rng.randbytes(150_000),
    }


def make(place: Path, database: str = "") -> None:
    """A store whose production is guarded, with two versions, the first of them in production."""
    place.mkdir(exist_ok=True)
    (place / "falaj.toml").write_text(SETTINGS)
    platform = Platform.create(place, PROJECT, database=database)
    session = platform.session(PROJECT)
    session.call("config.apply", {"files": [{"path": "gates/release.yaml", "text": GATE}]})
    for seed in (1, 2):
        do(session, place, "add", str(seed))
    do(session, place, "promote", "1")
    platform.close()


def prepare(place: Path, seed: int) -> Path:
    """The folder of the files that `add` adds."""
    folder = place / f"files-{seed}"
    if not folder.exists():
        folder.mkdir()
        for name, body in files_of(seed).items():
            (folder / name).write_bytes(body)
    return folder


def read(session: Session) -> dict[str, Any]:
    """What a store shows to who only looks."""
    return {
        "refs": [ref["name"] for ref in session.call("asset.show", {"thing": f"dataset/{DATASET}"})["refs"]],
        "moves": [move["version"] for move in session.call("asset.log", {"thing": PRODUCTION})["moves"]],
        "upstream": len(session.call("asset.lineage", {"thing": f"dataset/{DATASET}:2"})["nodes"]),
        "files": [file["path"] for file in session.call("data.files", {"thing": f"dataset/{DATASET}"})["files"]],
        "sound": session.call("ledger.verify")["ok"],
    }


def do(session: Session, place: Path, what: str, *words: str) -> Any:
    """Do one command; returns its result as plain values. Raises: FalajError."""
    match what, words:
        case "add", [seed, *other]:
            found = [session.stage(path) for path in sorted(prepare(place, int(seed)).iterdir())]
            staged = [{"name": file["name"], "staged": file["staged"]} for file in found]
            return session.call(
                "data.add", {"dataset": other[0] if other else DATASET, "files": staged, "mode": "replace"}
            )
        case "promote", [number]:
            return session.call("ref.promote", {"thing": PRODUCTION, "version": int(number)})
        case "rollback", [number, key]:
            asked = {"thing": PRODUCTION, "version": int(number)}
            return session.call("ref.rollback", asked, idempotency_key=key)
        case "rm", [number, key]:
            return session.call("version.retire", {"thing": f"dataset/{DATASET}:{number}"}, idempotency_key=key)
        case "gc", []:
            return session.call("store.gc")
        case "read", []:
            return read(session)
    raise ValueError(f"no such command: {what} {words}")


Command = Sequence[str]
