"""What a gate may ask to be established about a candidate, apart from figures: signature, format, lineage.

Signature and format are those of `models.verification`. Lineage is complete where data, code and environment are
recorded, every input is still what was used, and nothing upstream, near or far, is data that the gate measures on:
neither a version that something in force seals, nor one that holds a file of the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from falaj.core.errors import FalajError, Unavailable
from falaj.core.names import Thing
from falaj.core.records import Asset, Version
from falaj.gates.records import Check, CheckName, CheckRule, Gate
from falaj.models.verification import Verified
from falaj.store import runs
from falaj.store.catalog import Held
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET, RUN

MAX_DEPTH: Final = 100
MAX_UPSTREAM: Final = 5_000
SHOWN: Final = 5


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version came from.

    Attributes:
        problems: what is wrong by the rows, seals among it.
        count: of all versions that it was made from; `versions` are those that nothing seals.
    """

    problems: tuple[str, ...]
    count: int
    versions: tuple[tuple[Asset, Version], ...]


def asked(gate: Gate) -> tuple[CheckName, ...]:
    """The checks that the gate's rules ask for, each once."""
    return tuple(dict.fromkeys(rule.check for rule in gate.rules if isinstance(rule, CheckRule)))


def established(
    ground: Ground,
    asset: Asset,
    candidate: Version,
    sound: Verified | None,
    evidence: Held | None,
    names: Sequence[CheckName],
) -> Mapping[str, Check]:
    """What was found for each check.

    Args:
        sound: the candidate as it was verified; None where it is no model.
        evidence: the data that the gate measures on, None where it names none.
    """
    found: dict[str, Check] = {}
    for name in names:
        if name == "lineage_complete":
            found[name] = lineage(ground, asset, candidate, sound, evidence)
        elif sound is None:
            found[name] = Check(ok=False, note=f"a {asset.kind} has no {name}: only models do")
        else:
            parts = [sound.check("digest"), sound.check(name)]
            failed = [part for part in parts if not part.ok]
            found[name] = Check(ok=not failed, note="; ".join(p.note for p in failed) or parts[-1].note)
    return found


def lineage(ground: Ground, asset: Asset, candidate: Version, sound: Verified | None, evidence: Held | None) -> Check:
    """Whether it is known what a candidate came from, and none of that is evidence."""
    known = sound.check("lineage_complete") if sound else None
    problems = [] if known is None or known.ok else known.note.split("; ")
    with ground.database.read() as tx:
        upstream = _upstream(ground, tx, candidate)
    problems += upstream.problems
    try:
        problems += _shared(ground, upstream, evidence)
    except Unavailable:
        raise
    except FalajError as error:
        problems.append(f"its data cannot be compared with the evidence: {error.message}")
    note = known.note if known is not None else f"{upstream.count} versions upstream"
    return Check(ok=not problems, note="; ".join(dict.fromkeys(problems)) or note)


def _upstream(ground: Ground, tx: Transaction, candidate: Version) -> Upstream:
    problems = []
    run = RUN.get(tx, candidate.run) if candidate.run else None
    if run is None:
        problems.append("no run is named")
    elif run.state in {"failed", "lost"}:
        problems.append(f"run {run.id} {'failed' if run.state == 'failed' else 'was lost'}")
    edges = runs.lineage(tx, candidate, "up", depth=MAX_DEPTH, limit=MAX_UPSTREAM)
    if len(edges) == MAX_UPSTREAM or any(edge.depth == MAX_DEPTH for edge in edges):
        problems.append(f"its lineage is deeper than {MAX_DEPTH} steps or wider than {MAX_UPSTREAM:,} versions")
    versions = {}
    for edge in edges:
        if (edge.asset, edge.version) == (candidate.asset, candidate.number):
            continue
        asset = ASSET.get(tx, edge.asset)
        if asset is not None:
            versions[edge.asset, edge.version] = (asset, ground.catalog.version(tx, asset, edge.version))
    if not any(asset.kind == "dataset" for asset, _ in versions.values()):
        problems.append("no data is named")
    free = []
    for asset, version in versions.values():
        if seal := ground.catalog.sealed_by(tx, asset, version):
            problems.append(f"{_named(asset, version)} is evidence of {seal}")
        else:
            free.append((asset, version))
    return Upstream(problems=tuple(problems), count=len(versions), versions=tuple(free))


def _shared(ground: Ground, upstream: Upstream, evidence: Held | None) -> list[str]:
    """Upstream versions that hold a file of the evidence; digests compare within one key domain, a dataset."""
    if evidence is None or evidence.version.content is None:
        return []
    measured = {file.digest: file.path for file in ground.contents.files(evidence.version) if file.size}
    found = []
    for asset, version in upstream.versions:
        if version.domain != evidence.version.domain:
            continue
        same = sorted({measured[f.digest] for f in ground.contents.files(version) if f.digest in measured})
        if same:
            shown = ", ".join(same[:SHOWN]) + (f" and {len(same) - SHOWN} more" if len(same) > SHOWN else "")
            found.append(f"{_named(asset, version)} holds {shown}, which the gate measures on")
    return found


def _named(asset: Asset, version: Version) -> str:
    return str(Thing(asset.name, asset.kind, None, version.number))
