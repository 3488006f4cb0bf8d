"""Bundles made for tests: a key, two models that know different things, and a folder that holds what was published."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import skops.io
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import helper

from falaj.core import bundle
from falaj.core.bundle import FULL, Bundle, BundleFile, BundleInput, BundleModel, Role, Route
from falaj.core.bundle_folder import BundleFolder
from falaj.core.encoding import moment
from falaj.models import formats
from tests.models import files

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY = bundle.key_name(PUBLIC)
START = datetime(2026, 11, 1, tzinfo=UTC)
TOWN = (BundleInput(name="town", type="text"), BundleInput(name="wind", type="number"))
NUMBERS = (BundleInput(name="town", type="integer"), BundleInput(name="wind", type="number"))
X = (BundleInput(name="x", type="number"),)


def dumped(model: Any) -> bytes:
    return bytes(skops.io.dumps(model))


@cache
def kite(seed: int = 3) -> bytes:
    """Reads (town, wind)."""
    return dumped(files.town_model(seed))


def windy(weight: float = 1.0) -> bytes:
    """Reads (town, wind) as numbers; answers sigmoid(weight x wind)."""
    nodes = [
        helper.make_node("Cast", ["town"], ["place"], to=files.FLOAT),
        helper.make_node("Mul", ["place", "none"], ["nothing"]),
        helper.make_node("Mul", ["wind", "weight"], ["force"]),
        helper.make_node("Add", ["force", "nothing"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["y"]),
    ]
    weights = {"weight": (files.FLOAT, [1], [weight]), "none": (files.FLOAT, [1], [0.0])}
    return files.graph(nodes, inputs={"town": files.INT64, "wind": files.FLOAT}, **weights)


def picky() -> bytes:
    """The same, but it knows the towns 0 to 2 only, and fails on any other."""
    nodes = [
        helper.make_node("Gather", ["table", "town"], ["known"]),
        helper.make_node("Mul", ["known", "wind"], ["force"]),
        helper.make_node("Sigmoid", ["force"], ["y"]),
    ]
    table = (files.FLOAT, [3], [0.1, 0.2, 0.3])
    return files.graph(nodes, inputs={"town": files.INT64, "wind": files.FLOAT}, table=table)


def sigmoid() -> bytes:
    """Reads x, answers sigmoid(x)."""
    return files.sigmoid()


class Place:
    """The folder of one deployment, and its writer."""

    def __init__(self, root: Path) -> None:
        self.folder = BundleFolder(root)
        self.models: dict[str, BundleModel] = {}
        self._seconds = itertools.count()

    def add(self, version: int, data: bytes, inputs: tuple[BundleInput, ...] = TOWN) -> None:
        """A version of the model, with its file in its place."""
        onnx = data[:1] == b"\x08"
        file = BundleFile(
            path="model.onnx" if onnx else "model.skops",
            sha256="sha256:" + hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
        )
        self.models[str(version)] = BundleModel(
            format="onnx" if onnx else "skops",
            files=(file,),
            inputs=inputs,
            digest=f"sha256:{version:064x}",
            verdict=f"verdict-{version}",
            types=() if data[:4] != b"PK\x03\x04" else formats.inspect_bytes(data, "model").types,
        )
        self.folder.place(str(version), file, [data])

    def bundle(self, revision: int, stable: int, canary: int | None = None, share: int = FULL, **more: Any) -> Bundle:
        """A bundle of all versions here; `share` is the canary's."""
        routes = [Route(role="stable", model="delay", version=stable, share=FULL if canary is None else FULL - share)]
        if canary is not None:
            routes.append(Route(role="canary", model="delay", version=canary, share=share))
        at = START + timedelta(seconds=next(self._seconds))
        return Bundle(
            project="kites",
            deployment="delay",
            revision=revision,
            issued_at=moment(at),
            lease_until=moment(at + timedelta(days=3650)),
            routes=(*routes, *more.pop("shadow", ())),
            models=dict(self.models),
            **more,
        )

    def publish(self, bundle: Bundle) -> None:
        self.folder.publish(bundle.revision, signed(bundle))

    def deploy(self, revision: int, stable: int, canary: int | None = None, share: int = FULL, **more: Any) -> None:
        self.publish(self.bundle(revision, stable, canary, share, **more))


def signed(one: Bundle) -> bytes:
    return bundle.sign(one, public=PUBLIC, signer=PRIVATE.sign)


def forged(one: Bundle) -> bytes:
    """Signed without being looked at, as by a writer that is wrong."""
    body = bundle.canonical(one)
    return bundle.canonical(bundle.Signed(bundle=one, key=KEY, signature=PRIVATE.sign(b"falaj.bundle.v1\n" + body)))


def shadow(version: int, share: int = FULL) -> tuple[Route, ...]:
    role: Role = "shadow"
    return (Route(role=role, model="delay", version=version, share=share),)


def changed(one: Bundle, **fields: Any) -> Bundle:
    return msgspec.structs.replace(one, **fields)
