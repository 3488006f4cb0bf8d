"""The ledger for strangers: files and proofs that are checked without Falaj (`docs/stranger_verify.py`).

An export is a folder of three files: `leaves.jsonl`, whose line i without its newline is leaf i byte for byte;
`checkpoint`, the signed note of exactly that many leaves; `falaj.vkey`, the key to check it by. It is checked
while it is written, and appears whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from falaj.store.ledger.checkpoint import Checkpoint, Verifier
from falaj.store.ledger.errors import ExportExists, ExportFailed, LedgerDamaged
from falaj.store.ledger.merkle import Frontier, Nodes, consistency, inclusion, leaf_hash, root

LEAVES, CHECKPOINT, VKEY = "leaves.jsonl", "checkpoint", "falaj.vkey"


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """That one leaf stands under a root. Hashes are base64; the path goes from the leaf upwards."""

    proof: Literal["inclusion"] = "inclusion"
    leaf: int
    size: int
    root: str
    path: tuple[str, ...]


class ConsistencyProof(msgspec.Struct, frozen=True, kw_only=True):
    """That one tree is the beginning of another. Hashes are base64, in the order of RFC 6962."""

    proof: Literal["consistency"] = "consistency"
    old: int
    new: int
    old_root: str
    new_root: str
    path: tuple[str, ...]


def inclusion_proof(nodes: Nodes, leaf: int, size: int) -> InclusionProof:
    """The proof of one leaf in the tree of a size. Raises: ProofImpossible, LedgerDamaged."""
    path = inclusion(nodes, leaf, size)
    return InclusionProof(leaf=leaf, size=size, root=_text(root(nodes, size)), path=tuple(map(_text, path)))


def consistency_proof(nodes: Nodes, old: int, new: int) -> ConsistencyProof:
    """The proof between the trees of two sizes. Raises: ProofImpossible, LedgerDamaged."""
    path = consistency(nodes, old, new)
    return ConsistencyProof(
        old=old,
        new=new,
        old_root=_text(root(nodes, old)),
        new_root=_text(root(nodes, new)),
        path=tuple(map(_text, path)),
    )


def export(folder: Path, leaves: Iterable[bytes], note: str, vkey: str) -> Checkpoint:
    """Write the ledger up to a checkpoint into a new or empty folder.

    Args:
        leaves: the bodies of all entries in the order of their leaf numbers; those after the checkpoint are not read.
        note: the signed checkpoint.
        vkey: the verifier key that signed it.
    Returns: the checkpoint.
    Raises: ExportExists, ExportFailed, CheckpointInvalid; LedgerDamaged where the leaves are not those that were
        signed. Nothing is left behind then.
    """
    checkpoint = Verifier.parse(vkey).open(note)
    with appearing(folder) as building:
        write_new(building / CHECKPOINT, [note.encode()])
        write_new(building / VKEY, [vkey.strip().encode() + b"\n"])
        _write_leaves(building / LEAVES, leaves, checkpoint)
    return checkpoint


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to write into that appears under its name, whole and synced, when the block ends, or not at all.

    Raises: ExportExists where there is something already, ExportFailed.
    """
    folder = Path(os.path.abspath(folder))  # a link stays a link, and is refused
    try:
        refuse_taken(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield building
            building.chmod(0o755)
            _sync_folder(building)
            building.rename(folder)
            _sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    except OSError as error:
        raise ExportFailed(
            f"{folder}: {error.strerror or error}", next_step="check the disk and the rights of the folder above it"
        ) from error


def refuse_taken(folder: Path) -> None:
    """Raises: ExportExists where a folder could not appear under this name: there is something already."""
    taken = folder.is_symlink() or (folder.exists() and not folder.is_dir())
    if not taken:
        with suppress(FileNotFoundError):
            taken = any(folder.iterdir())
    if taken:
        raise ExportExists(f"{folder} is not an empty folder", next_step="give a folder that does not exist yet")


def _write_leaves(path: Path, leaves: Iterable[bytes], checkpoint: Checkpoint) -> None:
    frontier = Frontier()

    def lines() -> Iterable[bytes]:
        for leaf in islice(leaves, checkpoint.size):
            if b"\n" in leaf:
                raise LedgerDamaged(f"entry {frontier.size} is not one line", next_step="falaj ledger verify")
            frontier.push(leaf_hash(leaf))
            yield leaf + b"\n"

    write_new(path, lines())
    if frontier.size != checkpoint.size or frontier.root() != checkpoint.root:
        raise LedgerDamaged(
            f"the {frontier.size} entries here are not the {checkpoint.size} that were signed",
            next_step="falaj ledger verify names the cause",
        )


def write_new(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that is not there yet, synced. Raises: OSError."""
    with path.open("xb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _text(value: bytes) -> str:
    return b64encode(value).decode()
