"""Signatures of models: a DSSE envelope over an in-toto statement that names each file with its SHA-256.

The bytes are those of the OpenSSF model-signing format 1.0 (a sigstore bundle 0.3 with a public key), so other tools
can read them; Falaj adds to the predicate which version of which asset the signature is for, which verifiers of that
format ignore and this one demands. The statement is parsed only after the signature over its bytes holds.

Sources: DSSE 1.0.2 (secure-systems-lab), in-toto attestation Statement v1, OpenSSF model signing v1.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from falaj.core.encoding import canonical
from falaj.core.errors import Invalid
from falaj.core.names import printable, tree_path
from falaj.models.errors import SignatureInvalid
from falaj.store.keys.signing import SigningKey

S = TypeVar("S")
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | SigningKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
MAX_BUNDLE: Final = 4 * 1024 * 1024

Hex64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the signature is for, beside the bytes: this version of this asset and nothing else.

    Attributes:
        project, asset: ids of the project and the asset, or their names.
        version: number of the version.
        run: id of the run that made it, "" where none did.
        payload: digest of the version's payload.
    """

    project: str
    asset: str
    version: int
    run: str
    payload: str


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid signature says.

    Attributes:
        files: path → `sha256:…`.
        key: hint of the key that signed.
    """

    claim: Claim
    files: dict[str, str]
    key: str


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class _Signature(_Strict, frozen=True, kw_only=True):
    sig: str
    keyid: str = ""


class _Envelope(_Strict, frozen=True, kw_only=True):
    payload: str
    payload_type: str
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=1)]


class _PublicKey(_Strict, frozen=True, kw_only=True):
    hint: str


class _Material(_Strict, frozen=True, kw_only=True):
    public_key: _PublicKey
    tlog_entries: tuple[Any, ...] = ()


class _Bundle(_Strict, frozen=True, kw_only=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    algorithm: str
    digest: Hex64


class _Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Predicate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    serialization: dict[str, Any]
    resources: Annotated[tuple[_Resource, ...], msgspec.Meta(min_length=1)]
    falaj: Claim


class _InToto(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: str = msgspec.field(name="_type")
    subject: Annotated[tuple[_Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: _Predicate


def key_hint(key: PublicKey) -> str:
    """How a bundle names its key: SHA-256 (hex) of the public key as PEM."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def public_key(raw: bytes) -> ed25519.Ed25519PublicKey:
    """A public key of the store from its 32 raw bytes."""
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


def hint_of(bundle: bytes) -> str:
    """Which key a bundle says it was made with. Raises: SignatureInvalid where it is no bundle."""
    return _read(bundle).verification_material.public_key.hint


def sign(files: Mapping[str, str], claim: Claim, key: PrivateKey) -> bytes:
    """Sign the files of a version; returns the bundle, JSON.

    Args:
        files: path → `sha256:…`; at least one.
        key: Ed25519 (a key of the store is one), or ECDSA on P-256 where tools that know no Ed25519 shall verify it.
    Raises: Invalid for no files, or a path or digest of a wrong form.
    """
    resources = _resources(files)
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": claim.asset, "digest": {"sha256": _root(r["digest"] for r in resources)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": resources,
            "falaj": claim,
        },
    }
    payload = canonical(statement)
    signature = _sign_ec(key, payload) if isinstance(key, ec.EllipticCurvePrivateKey) else key.sign(_pae(payload))
    return canonical(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key_hint(_public(key))}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    )


def verify(bundle: bytes, files: Mapping[str, str], key: PublicKey, claim: Claim | None = None) -> Statement:
    """Verify that the key signed exactly these files, for exactly this version.

    Args:
        files: path → `sha256:…` of the bytes at hand, computed by the caller.
        claim: what the signature must be for; None to be told instead.
    Raises: SignatureInvalid with the first thing that does not hold.
    """
    found = _read(bundle)
    envelope = found.dsse_envelope
    hint = key_hint(key)
    if found.verification_material.public_key.hint != hint:
        raise _invalid("it was made with another key")
    payload = _unbase64(envelope.payload)
    _check_signature(key, _unbase64(envelope.signatures[0].sig), payload)
    statement = _decode(payload, _InToto, "statement")
    if statement.type != STATEMENT_TYPE or statement.predicate_type != PREDICATE_TYPE:
        raise _invalid("the statement is of another form")
    signed = _signed_files(statement)
    _compare(signed, files)
    if claim is not None and statement.predicate.falaj != claim:
        raise _invalid(f"it is for {_words(statement.predicate.falaj)}, not for {_words(claim)}")
    return Statement(claim=statement.predicate.falaj, files=signed, key=hint)


def _public(key: PrivateKey) -> PublicKey:
    return public_key(key.public) if isinstance(key, SigningKey) else key.public_key()


def _read(bundle: bytes) -> _Bundle:
    if len(bundle) > MAX_BUNDLE:
        raise _invalid(f"the bundle has {len(bundle):,} bytes; at most {MAX_BUNDLE:,} are read")
    found = _decode(bundle, _Bundle, "bundle")
    if found.media_type != MEDIA_TYPE or found.dsse_envelope.payload_type != PAYLOAD_TYPE:
        raise _invalid("the bundle is of another form")
    return found


def _resources(files: Mapping[str, str]) -> list[dict[str, str]]:
    if not files:
        raise Invalid("signature: there are no files to sign")
    resources = []
    for path in sorted(files):
        algorithm, _, digest = files[path].partition(":")
        if algorithm != "sha256" or len(digest) != 64:
            raise Invalid(f"signature: digest of {printable(path)} is not sha256: with 64 hex digits")
        resources.append({"name": tree_path(path), "algorithm": "sha256", "digest": digest})
    return resources


def _signed_files(statement: _InToto) -> dict[str, str]:
    resources = statement.predicate.resources
    names = [resource.name for resource in resources]
    if names != sorted(set(names)) or any(resource.algorithm != "sha256" for resource in resources):
        raise _invalid("its list of files is out of order, doubled or of another hash")
    if statement.subject[0].digest != {"sha256": _root(resource.digest for resource in resources)}:
        raise _invalid("its root digest is not that of its list of files")
    return {resource.name: f"sha256:{resource.digest}" for resource in resources}


def _compare(signed: Mapping[str, str], files: Mapping[str, str]) -> None:
    for why, names in (
        ("is not signed", files.keys() - signed.keys()),
        ("is signed and missing", signed.keys() - files.keys()),
        (
            "differs from what was signed",
            {name for name in signed.keys() & files.keys() if signed[name] != files[name]},
        ),
    ):
        if names:
            raise _invalid(f"{', '.join(printable(name) for name in sorted(names)[:5])} {why}")


def _root(digests: Any) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def _pae(payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE: lengths first, so type and body cannot run into each other."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _sign_ec(key: ec.EllipticCurvePrivateKey, payload: bytes) -> bytes:
    if not isinstance(key.curve, ec.SECP256R1):
        raise Invalid(f"signature: curve {key.curve.name}; P-256 or Ed25519 are used here")
    return key.sign(_pae(payload), ec.ECDSA(hashes.SHA256()))


def _check_signature(key: PublicKey, signature: bytes, payload: bytes) -> None:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, _pae(payload))
        else:
            key.verify(signature, _pae(payload), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm) as error:
        raise _invalid("the signature does not hold for its statement") from error


def _decode(data: bytes, kind: type[S], what: str) -> S:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(f"the {what} cannot be read: {error}") from error


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("the bundle is not base64 where it should be") from error


def _words(claim: Claim) -> str:
    return f"{claim.project}/{claim.asset}:{claim.version} (payload {claim.payload[:16]}…)"


def _invalid(why: str) -> SignatureInvalid:
    return SignatureInvalid(f"model signature: {why}", next_step="falaj verify; register the model again from its run")
