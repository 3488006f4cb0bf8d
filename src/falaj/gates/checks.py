"""What a gate may ask to be established about a candidate, apart from figures: signature, format, lineage, leakage.

Signature and format are those of `models.verification`. Lineage is complete where data, code and environment are
recorded, every input is still what was used, and nothing upstream, near or far, is data that the gate measures on:
neither a version that something in force seals, nor one that holds a file of the evidence. Whether the model reads only
what is known when it is asked is told by the names of its inputs (`leakage`, `knowledge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from falaj.core.errors import FalajError, MissingPart, Unavailable
from falaj.core.names import Thing
from falaj.core.records import Asset, Version
from falaj.gates import leakage
from falaj.gates.knowledge import known_of, upstream
from falaj.gates.records import Check, CheckName, CheckRule, EvidenceSource, Gate
from falaj.models.verification import Verified
from falaj.store.catalog import Held
from falaj.store.ground import Ground
from falaj.store.metadata import Transaction
from falaj.store.rows import RUN

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
    gate: Gate,
    *,
    scratch: Path,
) -> Mapping[str, Check]:
    """What was found for each check that the gate's rules ask for.

    Args:
        sound: the candidate as it was verified; None where it is no model.
        evidence: the data that the gate measures on, None where it names none.
        scratch: an existing folder.
    """
    found: dict[str, Check] = {}
    for name in asked(gate):
        if name == "lineage_complete":
            found[name] = lineage(ground, asset, candidate, sound, evidence)
        elif name == "no_leakage" and sound is not None:
            found[name] = no_leakage(ground, candidate, sound, evidence, gate.evidence, scratch=scratch)
        elif name == "no_leakage" or sound is None:
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


def no_leakage(
    ground: Ground,
    candidate: Version,
    sound: Verified,
    evidence: Held | None,
    source: EvidenceSource | None,
    *,
    scratch: Path,
) -> Check:
    """Whether the model reads only what is known when it is asked."""
    if sound.model is None or not sound.check("digest").ok:
        return Check(ok=False, note=sound.check("digest").note or "its inputs are not known")
    labels = [sound.model.label, *([source.label] if source else [])]
    try:
        known = known_of(ground, sound.asset.project, candidate, evidence, scratch=scratch)
    except (Unavailable, MissingPart):
        raise
    except FalajError as error:
        return Check(ok=False, note=f"its lineage cannot be looked at: {error.message}")
    return leakage.judged([one.name for one in sound.model.inputs], labels, known)


def _upstream(ground: Ground, tx: Transaction, candidate: Version) -> Upstream:
    problems = []
    run = RUN.get(tx, candidate.run) if candidate.run else None
    if run is None:
        problems.append("no run is named")
    elif run.state in {"failed", "lost"}:
        problems.append(f"run {run.id} {'failed' if run.state == 'failed' else 'was lost'}")
    versions, too_much = upstream(ground, tx, candidate)
    problems += [too_much] if too_much else []
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
