"""A signature holds for these bytes, this version and this key, and for nothing else."""

from __future__ import annotations

import base64
import hashlib
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.digests import sha256
from falaj.core.errors import Invalid
from falaj.models.errors import SignatureInvalid
from falaj.models.signing import Claim, _pae, key_hint, sign, verify

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CLAIM = Claim(project="flights", asset="delay", version=7, run="01JD8", payload="sha256:" + "c" * 64)
FILES = {"model.skops": sha256(b"weights"), "card/model.md": sha256(b"card")}
BUNDLE = sign(FILES, CLAIM, KEY)

KEYS = {"ed25519": KEY, "p256": ec.generate_private_key(ec.SECP256R1())}


def opened(bundle: bytes = BUNDLE) -> tuple[dict, dict]:
    outer = json.loads(bundle)
    return outer, json.loads(base64.b64decode(outer["dsseEnvelope"]["payload"]))


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_what_was_signed_verifies(key):
    statement = verify(sign(FILES, CLAIM, key), FILES, key.public_key(), CLAIM)
    assert (statement.claim, statement.files) == (CLAIM, FILES)
    assert statement.key == key_hint(key.public_key())


def test_the_order_of_files_changes_nothing():
    assert sign(dict(reversed(FILES.items())), CLAIM, KEY) == BUNDLE


def test_the_bytes_are_of_the_form_that_other_tools_read():
    outer, inner = opened()
    assert outer["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert outer["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    assert inner["_type"] == "https://in-toto.io/Statement/v1"
    assert inner["predicateType"] == "https://model_signing/signature/v1.0"
    assert [r["name"] for r in inner["predicate"]["resources"]] == ["card/model.md", "model.skops"]
    digests = b"".join(hashlib.sha256(data).digest() for data in (b"card", b"weights"))
    assert inner["subject"] == [{"name": "delay", "digest": {"sha256": hashlib.sha256(digests).hexdigest()}}]
    assert hashlib.sha256(BUNDLE).hexdigest() == "07c222467436cd45b786fbcd7536e10d6ba7e52f13b44f41b652c4c49ece2962"


def test_the_pre_authentication_encoding_is_that_of_dsse():
    assert _pae(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"


CHANGED_FILES = {
    "a flipped bit": {**FILES, "model.skops": sha256(b"weightt")},
    "an extra file": {**FILES, "extra.py": sha256(b"")},
    "a missing file": {"model.skops": FILES["model.skops"]},
    "swapped files": dict(zip(FILES, reversed(FILES.values()), strict=True)),
    "no files": {},
}


@pytest.mark.parametrize("files", CHANGED_FILES.values(), ids=CHANGED_FILES)
def test_other_files_are_refused(files):
    with pytest.raises(SignatureInvalid):
        verify(BUNDLE, files, KEY.public_key(), CLAIM)


@pytest.mark.parametrize("field", ["project", "asset", "version", "run", "payload"])
def test_a_signature_is_not_replayed_for_anything_else(field):
    other = msgspec.structs.replace(CLAIM, **{field: 8 if field == "version" else "other"})
    with pytest.raises(SignatureInvalid, match="it is for"):
        verify(BUNDLE, FILES, KEY.public_key(), other)


def test_another_key_is_refused_even_when_the_bundle_names_it():
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(SignatureInvalid, match="another key"):
        verify(BUNDLE, FILES, other)
    outer, _ = opened()
    outer["verificationMaterial"]["publicKey"]["hint"] = key_hint(other)
    with pytest.raises(SignatureInvalid, match="does not hold"):
        verify(json.dumps(outer).encode(), FILES, other)


def test_a_changed_statement_is_refused():
    outer, inner = opened()
    inner["predicate"]["falaj"]["version"] = 8
    outer["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(inner).encode()).decode()
    with pytest.raises(SignatureInvalid, match="does not hold"):
        verify(json.dumps(outer).encode(), FILES, KEY.public_key())


def resigned(change) -> bytes:
    """A statement that the right key signed, and that is wrong in itself."""
    outer, inner = opened()
    change(inner)
    payload = json.dumps(inner).encode()
    outer["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    outer["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(KEY.sign(_pae(payload))).decode()}]
    return json.dumps(outer).encode()


WRONG = {
    "root digest": lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
    "another predicate": lambda s: s.update(predicateType="https://example.org/other"),
    "another statement": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "a file twice": lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]),
    "another hash": lambda s: s["predicate"]["resources"][0].update(algorithm="md5"),
    "no claim": lambda s: s["predicate"].pop("falaj"),
    "two subjects": lambda s: s["subject"].append(s["subject"][0]),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_signed_statement_that_is_wrong_in_itself_is_refused(change):
    assert verify(resigned(lambda s: None), FILES, KEY.public_key(), CLAIM)
    with pytest.raises(SignatureInvalid):
        verify(resigned(change), FILES, KEY.public_key())


@pytest.mark.parametrize(
    "bundle",
    [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b" " * (4 * 1024 * 1024 + 1)],
    ids=["empty", "no fields", "list", "bytes", "deep", "large"],
)
def test_what_is_no_bundle_is_refused(bundle):
    with pytest.raises(SignatureInvalid):
        verify(bundle, FILES, KEY.public_key())


@given(st.integers(0, len(BUNDLE) - 1), st.integers(0, 7))
def test_any_flipped_bit_is_refused_or_changes_nothing_that_is_said(at, bit):
    flipped = bytearray(BUNDLE)
    flipped[at] ^= 1 << bit
    try:
        told = verify(bytes(flipped), FILES, KEY.public_key(), CLAIM).claim
    except SignatureInvalid:
        told = CLAIM
    assert told == CLAIM


@pytest.mark.parametrize("files", [{}, {"../x": FILES["model.skops"]}, {"a": "md5:00"}, {"a": "sha256:xyz"}])
def test_nothing_and_bad_names_are_not_signed(files):
    with pytest.raises(Invalid):
        sign(files, CLAIM, KEY)


def test_other_curves_are_not_used():
    with pytest.raises(Invalid, match="secp384r1"):
        sign(FILES, CLAIM, ec.generate_private_key(ec.SECP384R1()))
