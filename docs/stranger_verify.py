"""Verify an export of the ledger with no code of Falaj; needs only the package `cryptography`.

FOLDER holds leaves.jsonl (line i, without its newline, is leaf i), checkpoint (C2SP signed note) and falaj.vkey.
--vkey   the key as you got it by another way: the one in FOLDER is only as true as FOLDER is
--kept   a checkpoint kept from earlier: was its tree the beginning of this one?
--proof  an inclusion or consistency proof as JSON: does it hold here?
Prints what holds; the exit code is 0 only if everything does.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha(data):
    return hashlib.sha256(data).digest()


def tree(hashes):
    """The RFC 6962 root over leaf hashes: pair them level by level; the odd one out climbs as it is."""
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=False)
        hashes = [sha(b"\1" + a + b) for a, b in pairs] + hashes[len(hashes) & ~1 :]
    return hashes[0] if hashes else sha(b"")


def path_to(leaf, hashes, old=False, whole=True):
    """The inclusion path of a leaf, upwards; with `old`, the consistency path of the tree that ends with that leaf."""
    if len(hashes) == 1 or (old and leaf == len(hashes) - 1):
        return [tree(hashes)] if old and not whole else []
    k = 1 << ((len(hashes) - 1).bit_length() - 1)
    if leaf < k:
        return [*path_to(leaf, hashes[:k], old, whole), tree(hashes[k:])]
    return [*path_to(leaf - k, hashes[k:], old, False), tree(hashes[:k])]


def read_note(file, vkey):
    """Size and root of a checkpoint, its signature checked."""
    name, key_hash, key = vkey.strip().split("+", 2)
    key = base64.b64decode(key)
    check(key[:1] == b"\1" and sha(name.encode() + b"\n" + key)[:4].hex() == key_hash, "the key and its hash agree")
    text, _, signatures = file.read_bytes().decode().rpartition("\n\n")
    origin, size, root = text.split("\n")[:3]
    ours = [base64.b64decode(line.split(" ")[2]) for line in signatures.splitlines() if line.split(" ")[1] == name]
    ours = [signature for signature in ours if signature[:4].hex() == key_hash]
    check(ours and origin == name, f"{file.name} is of {name} and carries its signature")
    for signature in ours:
        Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], (text + "\n").encode())
    return int(size), base64.b64decode(root)


def check(holds, claim):
    if not holds:
        sys.exit(f"NOT TRUE: {claim}")
    sys.stdout.write(f"ok  {claim}\n")


def check_proof(said, hashes):
    if joins := said["proof"] == "consistency":
        said |= {"leaf": said["old"] - 1, "size": said["new"], "root": said["new_root"]}
        check(tree(hashes[: said["old"]]) == base64.b64decode(said["old_root"]), "the older root holds")
    leaf, size = said["leaf"], said["size"]
    check(leaf < size <= len(hashes) and tree(hashes[:size]) == base64.b64decode(said["root"]), "the root holds")
    path = path_to(leaf, hashes[:size], joins) if leaf >= 0 else []
    check(path == [base64.b64decode(value) for value in said["path"]], f"the {said['proof']} proof holds")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "--vkey", "--kept", "--proof"):
        parser.add_argument(name, type=str if name == "--vkey" else pathlib.Path)
    args = parser.parse_args()
    vkey = args.vkey or (args.folder / "falaj.vkey").read_text()
    size, root = read_note(args.folder / "checkpoint", vkey)
    lines = (args.folder / "leaves.jsonl").read_bytes().split(b"\n")
    check(lines.pop() == b"" and len(lines) == size, f"there are {size} leaves")
    hashes = [sha(b"\0" + line) for line in lines]
    check(tree(hashes) == root, f"their root is {base64.b64encode(root).decode()}")
    if args.kept:
        old, old_root = read_note(args.kept, vkey)
        check(old <= size and tree(hashes[:old]) == old_root, f"the first {old} are those of the kept checkpoint")
    if args.proof:
        check_proof(json.loads(args.proof.read_text()), hashes)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, KeyError, TypeError, IndexError, InvalidSignature) as error:
        sys.exit(f"NOT TRUE: {type(error).__name__} {error}")
