"""Checkpoints: golden bytes, known keys of others, strict reading."""

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.errors import Invalid
from falaj.store.ledger.checkpoint import Signer, Verifier, parse_checkpoint, parse_note, sign_checkpoint
from falaj.store.ledger.errors import CheckpointInvalid

# The seed and public key of the first test of RFC 8032.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
NAME = "falaj.example/flights"
SIGNER = Signer(NAME, SEED)
OTHER = Signer(NAME, bytes(range(32)))
ROOT = sha256(b"").digest()
NOTE = sign_checkpoint(SIGNER, 0, ROOT)
ROOT64 = b64encode(ROOT).decode()


def test_the_golden_note():
    assert SIGNER.public == PUBLIC
    assert NOTE == GOLDEN_NOTE
    assert SIGNER.vkey == GOLDEN_VKEY


GOLDEN_VKEY = "falaj.example/flights+2b2f8fc0+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
GOLDEN_NOTE = (
    "falaj.example/flights\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"
    "\u2014 falaj.example/flights "
    "Ky+PwCqYf+c39Pas4Zq6s4Ar1NpfxOCgagdrEGh12f7cK+3msCbUR4v5POLDbX0QjIbYiS+tZg8JmI1+cT2iRho2WwI=\n"
)


def test_the_key_hash_of_a_public_log():
    vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert Verifier.parse(vkey).vkey == vkey


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_what_is_read(size, root):
    opened = Verifier.parse(SIGNER.vkey).open(sign_checkpoint(SIGNER, size, root))
    assert (opened.origin, opened.size, opened.root, opened.extensions) == (NAME, size, root, ())


@given(st.integers(0, len(NOTE) - 1), st.characters())
def test_no_other_character_anywhere_is_accepted(at, character):
    changed = NOTE[:at] + character + NOTE[at + 1 :]
    if changed != NOTE:
        with pytest.raises(CheckpointInvalid):
            SIGNER.open(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n",
        f"o\n1\n{ROOT64}",
        f"\n1\n{ROOT64}\n",
        f"o\n01\n{ROOT64}\n",
        f"o\n-1\n{ROOT64}\n",
        f"o\n+1\n{ROOT64}\n",
        f"o\n1_0\n{ROOT64}\n",
        f"o\n\u0661\n{ROOT64}\n",
        f"o\n9223372036854775808\n{ROOT64}\n",
        f"o\n1\n{ROOT64[:-1]}\n",
        f"o\n1\n{ROOT64[:-2]}V=\n",
        "o\n1\nAAAA\n",
        f"o\n1\n{ROOT64}\n\n",
        f"o\n1\n{ROOT64}\n\nx\n",
    ],
)
def test_a_malformed_text_is_refused(text):
    with pytest.raises(CheckpointInvalid):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("flights", "fli\tghts"),
        NOTE.replace("\u2014 falaj", "\u2014  falaj"),
        NOTE + "\u2014 a+b AAAAAAA=\n",
        NOTE + "\u2014 witness AAAA\n",
        "\ud800" + NOTE,
        "x" * (1 << 20) + NOTE,
    ],
)
def test_a_malformed_note_is_refused(note):
    with pytest.raises(CheckpointInvalid):
        parse_note(note)


def test_further_signatures_are_read_past():
    witness = Signer("witness.example", bytes(range(32)))
    text, _, ours = NOTE.rpartition("\n\n")
    theirs = witness.sign(text + "\n").rpartition("\n\n")[2]
    for both in (text + "\n\n" + ours + theirs, text + "\n\n" + theirs + ours):
        assert SIGNER.open(both).root == witness_root(both) == ROOT


def witness_root(note):
    return parse_checkpoint(parse_note(note).text).root


def test_a_signature_of_another_key_of_the_same_name_is_no_signature():
    with pytest.raises(CheckpointInvalid, match="not signed by"):
        Verifier.parse(OTHER.vkey).open(NOTE)


def test_one_false_signature_of_a_known_key_spoils_the_note():
    false = b64encode(SIGNER.key_id + bytes(64)).decode()
    with pytest.raises(CheckpointInvalid, match="does not hold"):
        SIGNER.open(NOTE + f"\u2014 {NAME} {false}\n")


def test_a_checkpoint_of_another_origin_is_refused():
    with pytest.raises(CheckpointInvalid, match="not of falaj"):
        SIGNER.open(SIGNER.sign(f"other.example\n0\n{ROOT64}\n"))


def test_extension_lines_are_read():
    assert SIGNER.open(SIGNER.sign(f"{NAME}\n0\n{ROOT64}\nmore\n")).extensions == ("more",)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000",
        SIGNER.vkey[:-4],
        SIGNER.vkey.replace("+", "+0", 1),
        SIGNER.vkey.replace("flights", "other"),
        "+" + SIGNER.vkey.split("+", 1)[1],
        f"{NAME}+{SIGNER.key_id.hex()}+" + b64encode(b"\2" + PUBLIC).decode(),
    ],
)
def test_a_false_verifier_key_is_refused(vkey):
    with pytest.raises(Invalid):
        Verifier.parse(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb"])
def test_a_key_name_has_no_spaces_or_plus(name):
    with pytest.raises(Invalid):
        Signer(name, SEED)
