"""Exports, judged by a stranger's script that shares no code with Falaj."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.errors import Invalid
from falaj.store.ledger.checkpoint import sign_checkpoint
from falaj.store.ledger.errors import CheckpointInvalid, ExportExists, ExportFailed, LedgerDamaged, ProofImpossible
from falaj.store.ledger.export import (
    CHECKPOINT,
    LEAVES,
    VKEY,
    ConsistencyProof,
    InclusionProof,
    consistency_proof,
    export,
    inclusion_proof,
)
from falaj.store.ledger.log import SqlNodes
from falaj.store.ledger.merkle import MemoryNodes
from falaj.store.metadata import open_database
from tests.store.ledger.stores import FOREIGN, SIGNER, filled, grown_nodes

STRANGER = Path(__file__).parents[3] / "docs" / "stranger_verify.py"
BODIES = [b'{"entry":%d}' % number for number in range(11)]


def note_of(bodies: list[bytes]) -> str:
    frontier, _ = grown_nodes(bodies)
    return sign_checkpoint(SIGNER, frontier.size, frontier.root())


def stranger(folder: Path, *more: str | Path) -> tuple[int, str]:
    """Exit code and words of the script, run where no Falaj can be imported."""
    done = subprocess.run(
        [sys.executable, "-I", str(STRANGER), str(folder), *map(str, more)],
        capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(tmp_path / "proof", BODIES, note_of(BODIES), SIGNER.vkey)
    return tmp_path / "proof"


@pytest.fixture
def nodes() -> MemoryNodes:
    made = MemoryNodes()
    made.put_many(grown_nodes(BODIES)[1])
    return made


def test_the_script_has_no_code_of_falaj() -> None:
    assert "import falaj" not in STRANGER.read_text()
    assert "from falaj" not in STRANGER.read_text()


def test_line_i_is_leaf_i_byte_for_byte(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == [CHECKPOINT, VKEY, LEAVES]
    assert (folder / LEAVES).read_bytes().split(b"\n") == [*BODIES, b""]
    assert (folder / CHECKPOINT).read_text() == note_of(BODIES)
    assert (folder / VKEY).read_text() == SIGNER.vkey + "\n"


def test_a_stranger_verifies_the_export_of_a_real_store(database_address: str, tmp_path: Path) -> None:
    database = open_database(database_address)
    store = filled(database)
    with database.read() as tx:
        bodies = [row[0] for row in tx.rows("SELECT body FROM ledger_entry ORDER BY leaf")]
        kept = str(tx.rows("SELECT note FROM ledger_checkpoint ORDER BY size")[0][0])
        proof = inclusion_proof(SqlNodes(tx), 3, store.size())
    export(tmp_path / "out", bodies, store.newest_note(), SIGNER.vkey)
    (tmp_path / "kept").write_text(kept)
    (tmp_path / "proof.json").write_bytes(msgspec.json.encode(proof))
    code, words = stranger(
        tmp_path / "out", "--vkey", SIGNER.vkey, "--kept", tmp_path / "kept", "--proof", tmp_path / "proof.json"
    )
    assert code == 0, words
    assert "the first" in words
    assert "the inclusion proof holds" in words
    database.close()


def test_an_export_of_an_empty_ledger_is_true(tmp_path: Path) -> None:
    export(tmp_path / "out", [], note_of([]), SIGNER.vkey)
    assert stranger(tmp_path / "out")[0] == 0


def test_leaves_after_the_checkpoint_are_not_read(tmp_path: Path) -> None:
    def leaves() -> Iterator[bytes]:
        yield from BODIES
        raise AssertionError("a leaf beyond the checkpoint was asked for")

    assert export(tmp_path / "out", leaves(), note_of(BODIES), SIGNER.vkey).size == len(BODIES)


# what was tampered with


def edit_leaf(folder: Path) -> None:
    file = folder / LEAVES
    file.write_bytes(file.read_bytes().replace(b'"entry":5', b'"entry":6'))


def swap_leaves(folder: Path) -> None:
    lines = (folder / LEAVES).read_bytes().split(b"\n")
    lines[2], lines[3] = lines[3], lines[2]
    (folder / LEAVES).write_bytes(b"\n".join(lines))


def drop_leaf(folder: Path) -> None:
    file = folder / LEAVES
    file.write_bytes(file.read_bytes().replace(BODIES[4] + b"\n", b""))


def add_leaf(folder: Path) -> None:
    with (folder / LEAVES).open("ab") as file:
        file.write(b"{}\n")


def drop_last_newline(folder: Path) -> None:
    file = folder / LEAVES
    file.write_bytes(file.read_bytes()[:-1])


def other_size(folder: Path) -> None:
    file = folder / CHECKPOINT
    file.write_text(file.read_text().replace("\n11\n", "\n10\n"))


def signed_by_another(folder: Path) -> None:
    frontier, _ = grown_nodes(BODIES)
    (folder / CHECKPOINT).write_text(sign_checkpoint(FOREIGN, frontier.size, frontier.root()))


def rewritten_whole(folder: Path) -> None:
    edit_leaf(folder)
    frontier, _ = grown_nodes((folder / LEAVES).read_bytes().split(b"\n")[:-1])
    (folder / CHECKPOINT).write_text(sign_checkpoint(FOREIGN, frontier.size, frontier.root()))
    (folder / VKEY).write_text(FOREIGN.vkey + "\n")


def key_with_a_false_hash(folder: Path) -> None:
    name, _, key = SIGNER.vkey.split("+", 2)
    (folder / VKEY).write_text(f"{name}+00000000+{key}\n")


@pytest.mark.parametrize(
    "tamper",
    [
        edit_leaf,
        swap_leaves,
        drop_leaf,
        add_leaf,
        drop_last_newline,
        other_size,
        signed_by_another,
        rewritten_whole,
        key_with_a_false_hash,
    ],
)
def test_a_stranger_with_the_key_is_not_deceived(folder: Path, tamper: Callable[[Path], None]) -> None:
    tamper(folder)
    given_key = [] if tamper is key_with_a_false_hash else ["--vkey", SIGNER.vkey]
    code, words = stranger(folder, *given_key)
    assert code != 0
    assert "NOT TRUE" in words


def test_a_cut_export_is_not_what_a_kept_checkpoint_saw(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text(note_of(BODIES))
    export(tmp_path / "out", BODIES[:7], note_of(BODIES[:7]), SIGNER.vkey)
    assert stranger(tmp_path / "out")[0] == 0
    code, words = stranger(tmp_path / "out", "--kept", tmp_path / "kept")
    assert (code, "the first 11 are those of the kept checkpoint" in words) == (1, True)


# what is not written at all


@pytest.mark.parametrize(
    "leaves",
    [BODIES[:-1], [*BODIES[:-1], b"{}"], [*BODIES[1:], BODIES[0]], [*BODIES[:-1], BODIES[-1] + b"\n"]],
    ids=["too few", "another", "another order", "two lines"],
)
def test_leaves_that_are_not_those_that_were_signed_are_not_exported(tmp_path: Path, leaves: list[bytes]) -> None:
    with pytest.raises(LedgerDamaged):
        export(tmp_path / "out", leaves, note_of(BODIES), SIGNER.vkey)
    assert list(tmp_path.iterdir()) == []


def test_a_note_of_another_key_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid):
        export(tmp_path / "out", BODIES, note_of(BODIES), FOREIGN.vkey)
    with pytest.raises(Invalid):
        export(tmp_path / "out", BODIES, note_of(BODIES), "no key")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for taken in ("full", "file", "link"):
        with pytest.raises(ExportExists):
            export(tmp_path / taken, BODIES, note_of(BODIES), SIGNER.vkey)
    export(tmp_path / "empty", BODIES, note_of(BODIES), SIGNER.vkey)
    assert stranger(tmp_path / "empty")[0] == 0
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_leaf_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def leaves() -> Iterator[bytes]:
        yield from BODIES[:3]
        raise ConnectionResetError("the server went away")

    with pytest.raises(ExportFailed, match="went away"):
        export(tmp_path / "out", leaves(), note_of(BODIES), SIGNER.vkey)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportFailed, match=r"Not a directory|exists"):
        export(tmp_path / "file" / "out", BODIES, note_of(BODIES), SIGNER.vkey)


# proofs


@given(st.integers(1, len(BODIES)), st.data())
def test_proofs_are_of_the_leaf_and_the_size_asked_for(size: int, data: st.DataObject) -> None:
    made = MemoryNodes()
    made.put_many(grown_nodes(BODIES)[1])
    leaf, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    inclusion, consistency = inclusion_proof(made, leaf, size), consistency_proof(made, old, size)
    assert (inclusion.leaf, inclusion.size, inclusion.root) == (leaf, size, consistency.new_root)
    assert SIGNER.open(note_of(BODIES[:old])).root == b64decode(consistency.old_root)


@pytest.mark.parametrize("size", range(1, len(BODIES) + 1))
def test_a_stranger_checks_proofs_of_every_size(folder: Path, nodes: MemoryNodes, size: int, tmp_path: Path) -> None:
    proofs: list[InclusionProof | ConsistencyProof] = [
        inclusion_proof(nodes, size - 1, size),
        consistency_proof(nodes, size // 2, size),
    ]
    for proof in proofs:
        (tmp_path / "proof.json").write_bytes(msgspec.json.encode(proof))
        code, words = stranger(folder, "--proof", tmp_path / "proof.json")
        assert code == 0, words


@pytest.mark.parametrize(
    "change",
    [
        {"leaf": 4},
        {"size": 10},
        {"path": []},
        {"root": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
        {"leaf": 99},
        {"leaf": -1},
        {"path": "no list"},
    ],
)
def test_a_stranger_is_not_deceived_by_a_false_proof(
    folder: Path, nodes: MemoryNodes, change: dict[str, object], tmp_path: Path
) -> None:
    proof = json.loads(msgspec.json.encode(inclusion_proof(nodes, 5, 11)))
    (tmp_path / "proof.json").write_text(json.dumps({**proof, **change}))
    code, words = stranger(folder, "--proof", tmp_path / "proof.json")
    assert (code != 0, "NOT TRUE" in words) == (True, True)


def test_a_proof_outside_of_the_tree_is_impossible(nodes: MemoryNodes) -> None:
    for leaf, size in ((11, 11), (-1, 11), (0, 0)):
        with pytest.raises(ProofImpossible):
            inclusion_proof(nodes, leaf, size)
    with pytest.raises(ProofImpossible):
        consistency_proof(nodes, 5, 4)
