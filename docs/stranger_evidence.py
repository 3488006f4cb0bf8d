"""Verify the evidence of a verdict with no code of Falaj; needs the packages `cryptography` and `blake3`.

FOLDER is what `falaj gate evidence VERDICT --into FOLDER` wrote; beside this script lies stranger_verify.py.
--vkey   the key of the ledger as you got it by another way: the one in FOLDER is only as true as FOLDER is
--model  the candidate's file, to compare it with what was signed
Prints what holds; the exit code is 0 only if everything does.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import sys

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from stranger_verify import check, read_note, sha


def hexed(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def climb(leaf, size, node, path):
    """The root above a leaf by its inclusion path (RFC 9162, 2.1.3.2); None where the path has another length."""
    at, last = leaf, size - 1
    for sibling in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            node = sha(b"\1" + sibling + node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = sha(b"\1" + node + sibling)
        at, last = at >> 1, last >> 1
    return node if last == 0 else None


def read_entries(said, size, root):
    """The entries that stand under the checkpoint, with their words where those are the ones committed to."""
    out = []
    for one in said["entries"]:
        body = json.loads(one["body"])
        if one["leaf"] is None:
            sys.stdout.write(f"--  {one['what']} {one['id']} is not under the checkpoint\n")
            continue
        path = [base64.b64decode(value) for value in one["path"]]
        under = climb(one["leaf"], size, sha(b"\0" + one["body"].encode()), path) == root
        check(under and body["id"] == one["id"], f"entry {one['leaf']} stands under it: {body['what']}, {one['why']}")
        words = {}
        if one["words"]:
            salt = base64.b64decode(one["salt"])
            holds = len(salt) == 32 and body["detail"] == "b3k:" + blake3(one["words"].encode(), key=salt).hexdigest()
            check(holds, f"the words beside entry {one['leaf']} are those that it commits to")
            words = json.loads(one["words"])
        out.append((body, words))
    return out


def check_model(part, keys):
    """A model's version: its digest, and the signature over exactly its files and its payload."""
    _kind, _name, number, payload, _content = json.loads(part["digested"])
    payload = json.loads(base64.b64decode(payload))
    bundle = json.loads(part["signature"])
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    check(hint in keys, f"{part['role']}: its key {hint[:16]} is among the project's")
    envelope = bundle["dsseEnvelope"]
    text, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(text), text)
    keys[hint].verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)
    predicate = json.loads(text)["predicate"]
    signed = {one["name"]: "sha256:" + one["digest"] for one in predicate["resources"]}
    files = {one["path"]: one["sha256"] for one in payload["payload"]["files"]}
    check(signed == files == {f["path"]: f["sha256"] for f in part["files"]}, f"{part['role']}: its files are signed")
    claim = predicate["falaj"]
    check(claim["version"] == number == part["version"], f"{part['role']}: signed as v{number}")
    check(claim["payload"] == hexed(part["signed"].encode()), f"{part['role']}: its record is the one that was signed")
    bare = {**payload, "payload": {**payload["payload"], "signature": None}}
    check(json.loads(part["signed"]) == bare, f"{part['role']}: that record is the version's own")


def check_verdict(said, entries):
    """The figures are those recorded, and they bind to the versions that are shown."""
    body, verdict = json.loads(said["body"]), said["verdict"]
    given = [(e, w) for e, w in entries if e["what"] == "verdict.given" and verdict["id"] in e["on"]]
    check(given and given[0][1].get("body") == hexed(said["body"].encode()), "the figures are those that were recorded")
    for name in ("gate", "gate_version", "holder", "passed", "rows", "unlabelled"):
        check(body.get(name) == verdict[name], f"{name} is as recorded: {verdict[name]}")
    for then, now in zip(body["findings"], verdict["findings"], strict=True):
        decided = then["state"] != "pending"
        check(not decided or then == now, f"as recorded: {then['state']}: {then['rule']}")
    parts = {part["role"]: part for part in said["parts"] if part["role"] != "policy"}
    for part in (p for p in said["parts"] if p["digested"]):
        check(part["digest"] == hexed(part["digested"].encode()), f"the digest of {part['thing']} is of what is shown")
    check(body["candidate"] == parts["candidate"]["digest"], "it was given for this candidate")
    for role, key in (("gate", "gate"), ("holder", "holder"), ("evidence", "data"), ("contract", "contract")):
        if role in parts:
            check(body["basis"][key] == parts[role]["digest"], f"{role} is the one it was measured with")
    return body


def check_persons(said, body, entries):
    """Another person than the proposer approved, by the entries alone; and the ref moved by this verdict."""
    told = {name: [e for e, _ in entries if e["what"] == name] for name in ("ref.proposed", "ref.approved")}
    mine = [e for e in told["ref.proposed"] if said["proposal"] and said["proposal"] in e["on"]]
    yes = {e["person"] for e in told["ref.approved"] if said["proposal"] and said["proposal"] in e["on"]}
    if said["proposal"]:
        check(mine and mine[0]["person"] not in yes, "who proposed did not approve")
    check(yes == {one["person"] for one in said["approvals"]}, f"{len(yes)} persons approved")
    if said["moved"]:
        check(body["passed"], "what moved the ref had passed")
        check(len(yes) >= len(body["approvals"]), f"of {len(body['approvals'])} approvals none was missing")
        check(any(e["id"] == said["moved"]["entry_id"] for e, _ in entries), "the move is an entry")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "--vkey", "--model"):
        parser.add_argument(name, type=str if name == "--vkey" else pathlib.Path)
    args = parser.parse_args()
    said = json.loads((args.folder / "evidence.json").read_text())
    check(said["form"] == "falaj gate evidence 1", "it is the evidence of a verdict")
    vkey = args.vkey or (args.folder / "falaj.vkey").read_text()
    size, root = read_note(args.folder / "checkpoint", vkey)
    check((args.folder / "checkpoint").read_bytes() == said["checkpoint"].encode(), "it names this checkpoint")
    check((args.folder / "verdict.json").read_text() == said["body"], "and this verdict")
    entries = read_entries(said, size, root)
    body = check_verdict(said, entries)
    keys = {one["hint"]: load_pem_public_key(one["pem"].encode()) for one in said["keys"]}
    check(all(hexed(one["pem"].encode()) == "sha256:" + one["hint"] for one in said["keys"]), "keys have their names")
    for part in (p for p in said["parts"] if p["signature"]):
        check_model(part, keys)
    check_persons(said, body, entries)
    if args.model:
        files = {f["sha256"] for part in said["parts"] if part["role"] == "candidate" for f in part["files"]}
        check(hexed(args.model.read_bytes()) in files, "the file at hand is the candidate's")
    for one in said["missing"]:
        sys.stdout.write(f"--  {one}\n")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, KeyError, TypeError, IndexError, InvalidSignature) as error:
        sys.exit(f"NOT TRUE: {type(error).__name__} {error}")
