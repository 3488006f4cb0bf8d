"""What a verdict rests on: told, kept as a folder that can be verified offline, or measured once more."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from falaj.cli import target
from falaj.core.errors import Damaged
from falaj.session import Progress, Session

FORM = "falaj gate evidence 1"


class EvidenceUnsound(Damaged):
    """What came as the evidence of a verdict is cut short, or its own proofs do not hold."""

    code, status = "evidence_unsound", 502


def evidence(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Ask for everything a verdict rests on; with `into` write it to a new folder, with `check` measure once more.

    Raises: ExportExists, ExportFailed, EvidenceUnsound; no folder is left behind then.
    """
    asked = {"verdict": args["verdict"]}
    into = target.below(options, args["into"]) if args.get("into") else None
    if into is not None:
        from falaj.store.ledger.export import refuse_taken

        refuse_taken(into)  # before anything is measured
    checked = session.call("gate.check", asked, progress=progress) if args.get("check") else None
    if checked is not None:
        checked["ok"] = checked["same"] or not checked["measured"]
        if into is None:
            return checked
    text = b"".join(session.stream("gate.evidence", asked))
    found = _sound(text)
    if into is not None:
        _write(into, text, found, checked)
        found |= {"folder": str(into)}
    return found | ({"checked": checked, "ok": checked["ok"]} if checked is not None else {})


def _sound(text: bytes) -> dict[str, Any]:
    """The document, where it is one and its entries stand under its checkpoint. Raises: EvidenceUnsound."""
    from falaj.store.ledger.checkpoint import Verifier
    from falaj.store.ledger.merkle import leaf_hash, verify_inclusion

    try:
        found: dict[str, Any] = json.loads(text)
        if found["form"] != FORM:
            raise EvidenceUnsound(f"evidence of another form: {str(found['form'])[:40]}", next_step="update falaj")
        if not found["checkpoint"]:
            return found
        head = Verifier.parse(found["vkey"]).open(found["checkpoint"])
        for entry in found["entries"]:
            if entry["leaf"] is None or (not entry["path"] and head.size > 1):
                continue
            path = [b64decode(one) for one in entry["path"]]
            if not verify_inclusion(leaf_hash(entry["body"].encode()), entry["leaf"], head.size, path, head.root):
                raise EvidenceUnsound(
                    f"entry {entry['leaf']} does not stand under the checkpoint", next_step="falaj ledger verify"
                )
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceUnsound(f"the evidence cannot be read ({type(error).__name__})", next_step="ask again") from error
    return found


def _write(into: Path, text: bytes, found: Mapping[str, Any], checked: Mapping[str, Any] | None) -> None:
    from falaj.cli.render.evidence_page import page
    from falaj.store.ledger.export import CHECKPOINT, VKEY, appearing, write_new

    files = {
        "evidence.json": text,
        "index.html": page(found, checked).encode(),
        "verdict.json": found["body"].encode(),
        CHECKPOINT: found["checkpoint"].encode(),
        VKEY: found["vkey"].encode() + b"\n",
    }
    files |= {
        f"{part['role']}.sigstore.json": part["signature"].encode() for part in found["parts"] if part["signature"]
    }
    files |= {f"sign-key-{key['hint'][:16]}.pem": key["pem"].encode() for key in found["keys"]}
    if checked is not None:
        files["checked.json"] = json.dumps(checked, ensure_ascii=False, indent=1).encode()
    with appearing(into) as folder:
        for name, body in files.items():
            write_new(folder / name, [body])
