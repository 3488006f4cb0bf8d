"""Whether a version of a model may be used: signed for exactly this, its bytes what was signed, let in by a gate.

Three questions, each answered from what is there, never from what was once found:

    check_signed   by rows alone: the version's digest and its signature hold (asked before any ref moves)
    verified       the bytes too: checked out, hashed, looked into (asked before a model is loaded)
    admitted       the verdict by which a guarded ref came to hold the version (asked before a model is used)

What was signed is the payload as it was before its signature stood in it, so the stored bytes are taken apart rather
than encoded anew: a later form of the payload changes no old signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import Damaged, FalajError, Refused, Unavailable
from falaj.core.names import Thing
from falaj.core.records import Asset, Ref, RefMove, Verdict, Version
from falaj.models import formats, signing
from falaj.models.errors import ModelNotPromoted, ModelUnsound, SignatureInvalid
from falaj.models.kinds import MODEL
from falaj.models.records import Model, UsedVersion
from falaj.models.signing import Claim, Statement
from falaj.store.catalog import Catalog
from falaj.store.ground import Ground
from falaj.store.guards import missing_approvals
from falaj.store.keys.errors import KeyDestroyed
from falaj.store.keys.signing import SigningKey, VerifyKey
from falaj.store.metadata import Transaction
from falaj.store.objects.errors import ContentErased
from falaj.store.rows import PROPOSAL, RUN

CheckName = Literal["signature", "digest", "format", "lineage_complete", "verdict"]
HISTORY: Final = 10_000


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        note: what was found, in words; for a failure the reason.
    """

    check: CheckName
    ok: bool
    note: str = ""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model with everything about it looked at.

    Attributes:
        path: its file, checked out; None where it could not be.
    """

    asset: Asset
    version: Version
    model: Model | None
    path: Path | None
    checks: tuple[Checked, ...]

    def check(self, name: CheckName) -> Checked:
        """What was found for one check."""
        return next(c for c in self.checks if c.check == name)

    def required(self, *names: CheckName) -> tuple[Model, Path]:
        """The model and its file, where the named checks hold. Raises: ModelUnsound with all that do not."""
        failed = [c for c in self.checks if c.check in names and not c.ok]
        if failed or self.model is None or self.path is None:
            raise ModelUnsound(
                f"{self.asset.name} v{self.version.number}: {'; '.join(f'{c.check}: {c.note}' for c in failed)}",
                next_step="falaj verify; register the model again from its run",
                facts={"checks": msgspec.to_builtins(self.checks)},
            )
        return self.model, self.path


# signing


def unsigned(payload: bytes) -> bytes:
    """A stored payload as it was signed: the same bytes with no signature in them. Raises: Damaged."""
    try:
        envelope: dict[str, Any] = msgspec.json.decode(payload, type=dict[str, Any])
        body: dict[str, Any] = msgspec.convert(envelope["payload"], dict[str, Any])
    except (msgspec.MsgspecError, KeyError, RecursionError) as error:
        raise Damaged(f"payload of a model: {error}", next_step="falaj ledger verify") from error
    return canonical({**envelope, "payload": {**body, "signature": None}})


def signed(model: Model, asset: Asset, number: int, run: str | None, key: SigningKey) -> Model:
    """The payload with its signature: for this version of this asset, made by this run, and nothing else."""
    claim = _claim(asset, number, run, MODEL.encode(msgspec.structs.replace(model, signature=None)))
    bundle = signing.sign({file.path: file.sha256 for file in model.files}, claim, key)
    return msgspec.structs.replace(model, signature=bundle.decode())


def check_signed(
    asset: Asset, version: Version, keys: Sequence[VerifyKey], files: Mapping[str, str] | None = None
) -> tuple[Model, Statement]:
    """Check a version by its row alone, or by the digests of bytes at hand.

    Args:
        keys: the public keys of its project.
        files: path → `sha256:…` of the bytes at hand; None to take those that the payload names.
    Returns: the payload, and what its signature says.
    Raises: Damaged (SignatureInvalid) with the first thing that does not hold.
    """
    if version.digest != digest_of(asset, version):
        raise Damaged("the version's digest is not that of its row", next_step="falaj ledger verify")
    model = MODEL.decode(version.payload)
    if model.signature is None:
        raise SignatureInvalid("it is not signed", next_step="register the model again from its run")
    bundle = model.signature.encode()
    hint = signing.hint_of(bundle)
    found = [key for key in keys if signing.key_hint(signing.public_key(key.raw)) == hint]
    if not found:
        raise SignatureInvalid(
            "it is signed with a key that is none of the project's", next_step="register the model again from its run"
        )
    named = {file.path: file.sha256 for file in model.files}
    claim = _claim(asset, version.number, version.run, unsigned(version.payload))
    statement = signing.verify(bundle, named, signing.public_key(found[0].raw), claim)
    if files is not None:
        signing.verify(bundle, files, signing.public_key(found[0].raw), claim)
    return model, statement


def digest_of(asset: Asset, version: Version) -> str:
    """The digest that a version's row must carry."""
    return sha256(canonical([asset.kind, asset.name, version.number, version.payload, version.content]))


def _claim(asset: Asset, number: int, run: str | None, payload: bytes) -> Claim:
    return Claim(project=asset.project, asset=asset.id, version=number, run=run or "", payload=sha256(payload))


# fit to be held by a ref


def check_fit(ground: Ground) -> Callable[[Transaction, Asset, Version], None]:
    """What the catalog asks before every move of a ref: is the version signed, and may its bytes rest here?

    Works in the open transaction, by rows alone; the bytes are checked by whoever loads them.
    """

    def check(tx: Transaction, asset: Asset, version: Version) -> None:
        if version.content is not None:
            ground.residency(tx, asset.project, f"{asset.name} v{version.number}")
        if asset.kind != MODEL.name:
            return
        try:
            check_signed(asset, version, ground.keys.reading(tx).verify_keys("sign", asset.project))
        except Damaged as error:
            raise ModelUnsound(
                f"{asset.name} v{version.number}: {error.message}",
                next_step=error.next_step,
                facts={"version": version.number},
            ) from error

    return check


# sound, bytes and all


def verified(ground: Ground, asset: Asset, version: Version, *, folder: Path) -> Verified:
    """Check out a version of a model and look at everything: digest, signature, bytes, form, lineage.

    Nothing that is wrong is raised: every check is made, and `Verified.required` raises what matters to the caller.

    Args:
        folder: an empty folder of the caller's, where the files are put.
    Raises: Unavailable where an outage keeps the bytes away, which says nothing about the version.
    """
    with ground.database.read() as tx:
        keys = ground.keys.reading(tx).verify_keys("sign", asset.project)
        lineage = _lineage(tx, ground.catalog, asset, version)
    row = version.digest == digest_of(asset, version)
    digest = Checked(check="digest", ok=row, note="" if row else "the version's digest is not that of its row")
    model, path, files, trouble = None, None, None, ""
    try:
        model = MODEL.decode(version.payload)
        files = _checked_out(ground, version, folder)
        path = folder / model.files[0].path
    except FalajError as error:
        if isinstance(error, Unavailable) and not isinstance(error, ContentErased | KeyDestroyed):
            raise
        trouble = error.message
    signature = _signature(asset, version, keys, files, trouble)
    form = _form(model, path, trouble)
    return Verified(
        asset=asset,
        version=version,
        model=model,
        path=path if signature.ok and form.ok else None,
        checks=(signature, digest, form, lineage),
    )


def _checked_out(ground: Ground, version: Version, folder: Path) -> dict[str, str]:
    """The files of a version in a folder, and the SHA-256 of what is there now."""
    if version.content is None:
        raise Damaged("it has no files", next_step="register the model again from its run")
    paths = ground.contents.checkout(version, folder)
    return {path.relative_to(folder).as_posix(): sha256(formats.read(path)) for path in paths}


def _signature(
    asset: Asset, version: Version, keys: Sequence[VerifyKey], files: Mapping[str, str] | None, trouble: str
) -> Checked:
    try:
        if files is None:
            return Checked(check="signature", ok=False, note=trouble)
        _, statement = check_signed(asset, version, keys, files)
    except FalajError as error:
        return Checked(check="signature", ok=False, note=error.message)
    count = len(statement.files)
    named = f"{count} file{'' if count == 1 else 's'}, key {statement.key[:16]}"
    return Checked(check="signature", ok=True, note=named)


def _form(model: Model | None, path: Path | None, trouble: str) -> Checked:
    if model is None or path is None:
        return Checked(check="format", ok=False, note=trouble)
    try:
        found = formats.inspect(path)
        formats.check_file(model, found)
    except FalajError as error:
        return Checked(check="format", ok=False, note=error.message)
    return Checked(check="format", ok=True, note=f"{found.format}, {len(found.types)} types, all allowed")


def _lineage(tx: Transaction, catalog: Catalog, asset: Asset, version: Version) -> Checked:
    """Whether it is known what the version came from: data that is there as it was, code, environment."""
    try:
        model = MODEL.decode(version.payload)
        missing = [] if model.data else ["no data is named"]
        missing += [why for used in model.data if (why := _not_as_used(tx, catalog, asset.project, used))]
    except FalajError as error:
        return Checked(check="lineage_complete", ok=False, note=error.message)
    run = RUN.get(tx, version.run) if version.run else None
    if run is None or run.project != asset.project:
        missing.append("no run is named")
    if not model.code:
        missing.append("the code is not known")
    if not model.environment:
        missing.append("the environment is not known")
    if missing:
        return Checked(check="lineage_complete", ok=False, note="; ".join(missing))
    data = ", ".join(used.thing for used in model.data)
    return Checked(check="lineage_complete", ok=True, note=f"{data}, code {model.code[:12]}")


def _not_as_used(tx: Transaction, catalog: Catalog, project: str, used: UsedVersion) -> str:
    """Why a version is not the data that a model was made from, "" where it is."""
    try:
        held = catalog.resolve(tx, project, Thing.parse(used.thing))
    except FalajError as error:
        return error.message
    if held.version.digest != used.digest:
        return f"{used.thing} is not what it was"
    seal = catalog.sealed_by(tx, held.asset, held.version)
    return f"{used.thing} is evidence of {seal}" if seal else ""


# let in by a gate


def admitted(
    tx: Transaction, catalog: Catalog, asset: Asset, version: Version, ref: Ref, *, guarded: bool = True
) -> Verdict:
    """The verdict by which a guarded ref came to hold a version, itself checked again.

    A rollback leads back to the promotion by which the version held the ref before.

    Args:
        guarded: whether a gate must guard the ref to this day. Not for what is served from it already: whoever takes
            the gate away stops what goes out, not what was let in before.
    Raises: ModelNotPromoted where no gate guards the ref, or the version came there past it.
    """
    where = f"{asset.name}@{ref.name}"
    if guarded and not catalog.guards_of(tx, asset, ref.name):
        raise _not_promoted(where, version, "no gate guards it", f"guards: [{where}] in a gate")
    history = catalog.history(tx, asset, ref.name, HISTORY)
    if not history or (history[0].version, history[0].revision) != (ref.version, ref.revision):
        raise _not_promoted(where, version, "its history does not lead to it", "falaj ledger verify")
    promoted = [m for m in history if m.version == version.number and m.sort == "promote"]
    verdicts = {v.used_by: v for v in catalog.verdicts(tx, asset, version.number, ref.name)}
    for move in promoted:
        verdict = verdicts.get(move.entry)
        if verdict is not None and verdict.passed and verdict.candidate == version.digest:
            _check_approved(tx, catalog, where, version, verdict, move)
            return verdict
    raise _not_promoted(where, version, "no verdict let it in", f"falaj promote {where} {version.number}")


def _check_approved(
    tx: Transaction, catalog: Catalog, where: str, version: Version, verdict: Verdict, move: RefMove
) -> None:
    proposal = PROPOSAL.get(tx, move.proposal) if move.proposal else None
    given = catalog.approvals(tx, proposal.id) if proposal else ()
    missing = missing_approvals(verdict.approvals, proposal, given)
    if missing:
        raise _not_promoted(where, version, f"approval is missing: {'; '.join(missing)}", "falaj ledger verify")


def verdict_check(tx: Transaction, catalog: Catalog, asset: Asset, version: Version, ref: Ref) -> Checked:
    """`admitted` as a line of a table."""
    try:
        verdict = admitted(tx, catalog, asset, version, ref)
    except Refused as error:
        return Checked(check="verdict", ok=False, note=error.message)
    return Checked(
        check="verdict", ok=True, note=f"@{ref.name} by verdict {verdict.id} of gate v{verdict.gate_version}"
    )


def _not_promoted(where: str, version: Version, why: str, next_step: str) -> ModelNotPromoted:
    return ModelNotPromoted(
        f"{where} v{version.number} is not used: {why}",
        next_step=next_step,
        facts={"ref": where, "version": version.number, "reason": why},
    )
