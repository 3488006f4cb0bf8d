"""The serving bundle: one signed document that says which models a deployment serves, by which shares, on what grounds.

It is all that the inference server knows. Whoever deploys writes it (`bundle_folder` is the layout), the server reads
it with nothing but the pinned public key. The signature covers the canonical bytes of the `Bundle`; a document is
accepted only in exactly the bytes that `sign` makes, so there is no second way to write the same thing.

Order: a document replaces another of the same deployment where its (revision, issued_at) is later. A rollback is a
higher revision that names the earlier model; a renewed lease is the same revision issued later.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from falaj.core.encoding import canonical, parse_moment
from falaj.core.errors import Damaged, FalajError, Invalid, Refused
from falaj.core.names import name, tree_path

Role = Literal["stable", "canary", "shadow"]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
Number = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,17}$")]
SklearnType = Annotated[str, msgspec.Meta(pattern=r"^sklearn(\.[A-Za-z_][A-Za-z0-9_]*)+$", max_length=200)]

FULL: Final = 10_000
"""All traffic. Shares are whole ten-thousandths, so that they add up exactly."""
MAX_DOCUMENT: Final = 4 << 20
MAX_FILE: Final = 512 << 20
_MARK: Final = b"falaj.bundle.v1\n"
_KEY: Final = re.compile(r"ed25519:[0-9a-f]{64}")
_SLOT: Final = 1 << 64
_HINT: Final = "write the bundle again from the deployment"


class BundleDamaged(Damaged):
    """A serving bundle is not what was signed: its signature, its bytes or one of its files do not hold."""

    code = "bundle_damaged"


class BundleRefused(Refused):
    """A serving bundle that is signed and still not served: its form, its order or what it would route to."""

    code = "bundle_refused"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class BundleFile(_Part, frozen=True, kw_only=True):
    """One file of a model, below `models/<version>/`."""

    path: Text
    sha256: Sha256
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE)]


class BundleInput(_Part, frozen=True, kw_only=True):
    """One column that the model reads, in its order."""

    name: Text
    type: Literal["number", "integer", "text", "boolean"]


class BundleModel(_Part, frozen=True, kw_only=True):
    """One version of the model.

    Attributes:
        files: the first is the one that is loaded.
        types: of scikit-learn that a skops file is made of, as it was found when the version was registered; what skops
            does not trust by itself is built only if it stands here.
        digest: of the version, as verdicts name it.
        verdict: id of the verdict that let it in.
    """

    format: Literal["skops", "onnx"]
    files: Annotated[tuple[BundleFile, ...], msgspec.Meta(min_length=1, max_length=1000)]
    inputs: Annotated[tuple[BundleInput, ...], msgspec.Meta(min_length=1, max_length=10_000)]
    digest: Text
    verdict: str
    types: tuple[SklearnType, ...] = ()


class Route(_Part, frozen=True, kw_only=True):
    """Where requests go.

    Attributes:
        share: of 10,000. Stable and canary share the traffic between them; a shadow's share is copied to it, and its
            answers are only logged.
    """

    role: Role
    model: Text
    version: Annotated[int, msgspec.Meta(ge=1)]
    share: Annotated[int, msgspec.Meta(ge=0, le=FULL)]


class LogRule(_Part, frozen=True, kw_only=True):
    """What the prediction log leaves out: the named inputs (personal ones, say)."""

    drop: tuple[Text, ...] = ()


class Bundle(_Part, frozen=True, kw_only=True):
    """What one deployment serves.

    Attributes:
        project: id of the project.
        deployment: its name, `delay` or `delay/production`.
        issued_at, lease_until: `encoding.moment` texts: when the platform knew this, and until when it vouches for it.
            A server goes on after the lease, and says so.
        models: by version number. Models without a route are kept loaded, so that a rollback to them is quick.
        revoked: digests of versions that are not to be served by anybody.
        previous: the revision before this one.
    """

    project: Text
    deployment: Text
    revision: Annotated[int, msgspec.Meta(ge=1)]
    issued_at: str
    lease_until: str
    routes: Annotated[tuple[Route, ...], msgspec.Meta(min_length=1, max_length=3)]
    models: Annotated[dict[Number, BundleModel], msgspec.Meta(min_length=1, max_length=16)]
    log: LogRule = LogRule()
    revoked: tuple[Text, ...] = ()
    previous: int | None = None
    v: Literal[1] = 1

    @property
    def model(self) -> str:
        """The name of the one model that all routes serve."""
        return self.routes[0].model

    def route(self, role: Role) -> Route | None:
        """The route of a role."""
        return next((route for route in self.routes if route.role == role), None)


class Signed(_Part, frozen=True, kw_only=True):
    """A bundle as it lies on disk: the key that signed it (`key_name`), and the 64 bytes of the signature."""

    bundle: Bundle
    key: str
    signature: bytes


def key_name(public: bytes) -> str:
    """A public key as documents and command lines name it: `ed25519:` and its 32 bytes in hex."""
    return "ed25519:" + public.hex()


def parse_key(text: str) -> bytes:
    """The raw public key of a `key_name`. Raises: Invalid."""
    if not _KEY.fullmatch(text):
        raise Invalid("key: expected ed25519: and 64 hex digits", next_step="copy the whole key of the deployment")
    return bytes.fromhex(text.removeprefix("ed25519:"))


def sign(bundle: Bundle, *, public: bytes, signer: Callable[[bytes], bytes]) -> bytes:
    """The document: the bytes to publish.

    Args:
        public: the 32 raw bytes of the key.
        signer: signs a message with it, Ed25519.
    Raises: BundleRefused for a bundle that no server would serve.
    """
    check(bundle)
    signed = Signed(bundle=bundle, key=key_name(public), signature=signer(_MARK + canonical(bundle)))
    return canonical(signed)


def verify(document: bytes, keys: Collection[bytes]) -> Bundle:
    """The bundle of a document.

    Args:
        keys: raw public keys that are pinned; one of them must have signed.
    Raises: BundleDamaged for any other bytes than those that were signed; BundleRefused as `check`.
    """
    if len(document) > MAX_DOCUMENT:
        raise BundleDamaged(f"bundle: {len(document):,} bytes; at most {MAX_DOCUMENT:,} are read", next_step=_HINT)
    try:
        signed = msgspec.json.decode(document, type=Signed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleDamaged(f"bundle: not a signed document ({str(error)[:200]})", next_step=_HINT) from error
    if canonical(signed) != document:
        raise BundleDamaged("bundle: not in the one form that is signed", next_step=_HINT)
    public = next((key for key in keys if key_name(key) == signed.key), None)
    if public is None:
        raise BundleDamaged(
            f"bundle {signed.bundle.revision}: signed by {signed.key[:80]}, which is not pinned",
            next_step="falaj serve --key with the key of this deployment",
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signed.signature, _MARK + canonical(signed.bundle))
    except (InvalidSignature, ValueError) as error:
        raise BundleDamaged(f"bundle {signed.bundle.revision}: its signature does not hold", next_step=_HINT) from error
    return check(signed.bundle)


def check(bundle: Bundle) -> Bundle:
    """The rules beyond the form. Raises: BundleRefused."""
    what = f"bundle {bundle.revision}"
    try:
        tree_path(bundle.deployment)
        name(bundle.model, "model")
        issued, until = parse_moment(bundle.issued_at), parse_moment(bundle.lease_until)
        paths = [[tree_path(file.path) for file in model.files] for model in bundle.models.values()]
    except FalajError as error:
        raise BundleRefused(f"{what}: {error}", next_step=_HINT) from error
    if any(len(set(found)) != len(found) for found in paths):
        raise _refused(what, "a file stands in it twice")
    if until < issued:
        raise _refused(what, f"its lease ends {bundle.lease_until}, before it was issued")
    if bundle.previous is not None and bundle.previous >= bundle.revision:
        raise _refused(what, f"it follows revision {bundle.previous}")
    for number, model in bundle.models.items():
        if not model.verdict:
            raise _refused(what, f"no verdict of a gate let version {number} in")
        if model.digest in bundle.revoked:
            raise _refused(what, f"version {number} is revoked")
        if len({one.name for one in model.inputs}) != len(model.inputs):
            raise _refused(what, f"version {number} names an input twice")
    _check_routes(bundle, what)
    return bundle


def _check_routes(bundle: Bundle, what: str) -> None:
    roles = [route.role for route in bundle.routes]
    if roles.count("stable") != 1 or len(set(roles)) != len(roles):
        raise _refused(
            what, f"routes {', '.join(roles)}; one stable and at most one canary and one shadow are expected"
        )
    total = sum(route.share for route in bundle.routes if route.role != "shadow")
    if total != FULL:
        raise _refused(what, f"its shares add up to {total:,} of {FULL:,}")
    for route in bundle.routes:
        if str(route.version) not in bundle.models:
            raise _refused(what, f"{route.role} is version {route.version}, which it does not hold")
        if route.model != bundle.model:
            raise _refused(what, f"it routes to {route.model} and to {bundle.model}")
    if len({route.version for route in bundle.routes}) != len(roles):
        raise _refused(what, "two of its routes lead to one version")


def check_follows(new: Bundle, last: Bundle | None) -> None:
    """Refuse a bundle that goes back, or that is another deployment's. Raises: BundleRefused."""
    if last is None:
        return
    if (new.project, new.deployment) != (last.project, last.deployment):
        raise _refused(f"bundle {new.revision}", f"it is of {new.deployment}, this is {last.deployment}")
    if order(new) < order(last):
        raise _refused(
            f"bundle {new.revision}", f"issued {new.issued_at}: older than {last.revision}, issued {last.issued_at}"
        )


def order(bundle: Bundle) -> tuple[int, datetime]:
    """What documents of one deployment are ordered by."""
    return bundle.revision, parse_moment(bundle.issued_at)


def slot(deployment: str, version: int, key: str) -> int:
    """Where a key falls among the 10,000 slots of one canary; those below the canary's share are answered by it.

    A key keeps its slot while a rollout goes on, so what the canary answered it goes on to answer; the next rollout
    (of another version) tries it on other keys. Keys are independent and spread evenly.
    """
    raw = hashlib.blake2b(f"{deployment}\n{version}\n{key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw) * FULL // _SLOT


def _refused(what: str, why: str) -> BundleRefused:
    return BundleRefused(f"{what}: {why}", next_step=_HINT)
