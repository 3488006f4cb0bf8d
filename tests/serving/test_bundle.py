"""The signed bundle: only what was signed is read, and only what a server may serve is signed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core import bundle
from falaj.core.bundle import FULL, Bundle, BundleDamaged, BundleRefused, Route
from falaj.core.bundle_folder import BundleFolder
from falaj.core.errors import Invalid, Unavailable
from tests.serving.places import KEY, PUBLIC, Place, X, changed, forged, shadow, sigmoid, signed


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "delay")
    place.add(6, sigmoid(), X)
    place.add(7, sigmoid(), X)
    return place


def test_what_was_signed_is_read_back(place):
    one = place.bundle(3, 6, canary=7, share=500)
    assert bundle.verify(signed(one), [bytes(32), PUBLIC]) == one


def test_every_flipped_bit_is_refused(place):
    document = signed(place.bundle(3, 6))
    for at, bit in itertools.product(range(len(document)), range(8)):
        flipped = bytearray(document)
        flipped[at] ^= 1 << bit
        with pytest.raises(BundleDamaged):
            bundle.verify(bytes(flipped), [PUBLIC])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d + b"\n",
        lambda d: b" " + d,
        lambda d: d.replace(b'"v":1', b'"v":1,"v":1'),
        lambda d: d.replace(b'"revision":3', b'"revision":3.0'),
        lambda d: d[:-1],
        lambda d: b"[" * 100_000,
        lambda d: b"",
        lambda d: b"\xff" * 40,
        lambda d: b" " * (bundle.MAX_DOCUMENT + 1),
    ],
)
def test_there_is_one_way_to_write_it(place, spoil):
    with pytest.raises(BundleDamaged):
        bundle.verify(spoil(signed(place.bundle(3, 6))), [PUBLIC])


def test_unsigned_and_signed_by_another_are_refused(place):
    one = place.bundle(3, 6)
    for document in (
        bundle.canonical(one),
        bundle.canonical(bundle.Signed(bundle=one, key=KEY, signature=b"")),
        bundle.canonical(bundle.Signed(bundle=one, key=KEY, signature=bytes(64))),
    ):
        with pytest.raises(BundleDamaged):
            bundle.verify(document, [PUBLIC])
    with pytest.raises(BundleDamaged, match="not pinned"):
        bundle.verify(signed(one), [bytes(32)])


def without_verdict(one: Bundle) -> dict[str, Any]:
    return {"models": {**one.models, "7": changed(one.models["7"], verdict="")}}


def with_path(path: str) -> Any:
    def change(one: Bundle) -> dict[str, Any]:
        file = changed(one.models["6"].files[0], path=path)
        return {"models": {**one.models, "6": changed(one.models["6"], files=(file,))}}

    return change


def routes(*those: tuple[str, int, int]) -> dict[str, Any]:
    return {"routes": tuple(Route(role=r, model="delay", version=v, share=s) for r, v, s in those)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_verdict, "no verdict"),
        (lambda one: {"revoked": (one.models["7"].digest,)}, "revoked"),
        (lambda one: routes(("stable", 6, 9_000), ("canary", 7, 999)), "add up"),
        (lambda one: routes(("stable", 6, 9_999)), "add up"),
        (lambda one: routes(("canary", 6, FULL)), "one stable"),
        (lambda one: routes(("stable", 6, 5_000), ("stable", 7, 5_000)), "one stable"),
        (lambda one: routes(("stable", 6, 5_000), ("canary", 6, 5_000)), "one version"),
        (lambda one: routes(("stable", 8, FULL)), "does not hold"),
        (lambda one: {"routes": (*one.routes, changed(shadow(7)[0], model="other"))}, "routes to"),
        (lambda one: {"lease_until": "2001-01-01T00:00:00.000000Z"}, "before it was issued"),
        (lambda one: {"lease_until": "never"}, "expected UTC"),
        (lambda one: {"previous": 3}, "follows"),
        (lambda one: {"deployment": "../delay"}, "starts with"),
        (with_path("../model.onnx"), "starts with"),
        (with_path("/etc/passwd"), "characters"),
        (with_path("a//b"), "characters"),
        (with_path("a\x00b"), "not allowed"),
    ],
)
def test_what_no_server_may_serve_is_neither_signed_nor_read(place, change, words):
    wrong = changed(place.bundle(3, 6), **change(place.bundle(3, 6)))
    with pytest.raises(BundleRefused, match=words):
        signed(wrong)
    with pytest.raises(BundleRefused, match=words):
        bundle.verify(forged(wrong), [PUBLIC])


def test_a_skops_model_builds_types_of_scikit_learn_only(place):
    wrong = changed(place.bundle(3, 6).models["6"], types=("builtins.eval",))
    with pytest.raises(BundleDamaged, match="types"):
        bundle.verify(forged(changed(place.bundle(3, 6), models={"6": wrong})), [PUBLIC])


def test_it_never_goes_back(place):
    first, renewed, later = place.bundle(3, 6), place.bundle(3, 6), place.bundle(4, 6)
    for new, last in ((first, None), (first, first), (renewed, first), (later, renewed)):
        bundle.check_follows(new, last)
    for new, last in ((first, renewed), (renewed, later), (changed(later, deployment="other"), first)):
        with pytest.raises(BundleRefused):
            bundle.check_follows(new, last)


@given(st.text(max_size=40), st.integers(1, 100))
def test_a_key_keeps_its_slot(key, version):
    slot = bundle.slot("delay", version, key)
    assert 0 <= slot < FULL
    assert slot == bundle.slot("delay", version, key)


def test_keys_spread_evenly_and_anew_for_each_canary():
    counts = [0] * 10
    for key in range(10_000):
        counts[bundle.slot("delay", 7, str(key)) // 1_000] += 1
    assert max(abs(count - 1_000) for count in counts) < 150
    both = sum(
        bundle.slot("delay", 7, str(k)) < 1_000 and bundle.slot("delay", 8, str(k)) < 1_000 for k in range(10_000)
    )
    assert both < 200


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:" + "g" * 64, "rsa:" + "0" * 64, "ed25519:" + "0" * 63])
def test_a_key_is_read_whole(text):
    with pytest.raises(Invalid):
        bundle.parse_key(text)


def test_the_folder_says_what_is_in_force(place):
    folder = place.folder
    assert folder.stamp() is None
    with pytest.raises(Unavailable):
        folder.revision()
    one = place.bundle(3, 6)
    place.publish(one)
    before = folder.stamp()
    assert (folder.revision(), bundle.verify(folder.document(3), [PUBLIC])) == (3, one)
    place.deploy(4, 7)
    assert folder.revision() == 4
    assert folder.stamp() != before
    assert {p.name for p in folder.root.iterdir()} == {"3.json", "4.json", "current", "models"}


@pytest.mark.parametrize("text", [b"", b"3", b"03\n", b"-1\n", b"../3\n", b"3\n3\n", b"9" * 30 + b"\n"])
def test_a_broken_pointer_is_damage(place, text):
    place.deploy(3, 6)
    (place.folder.root / "current").write_bytes(text)
    with pytest.raises(BundleDamaged):
        place.folder.revision()


def test_a_file_is_placed_whole_or_not_at_all(place):
    file = place.models["6"].files[0]
    path = place.folder.root / "models" / "6" / file.path
    whole = path.read_bytes()
    assert place.folder.file("6", file) == whole
    path.write_bytes(whole[:-1] + b"\0")
    with pytest.raises(BundleDamaged):
        place.folder.file("6", file)
    with pytest.raises(BundleDamaged):
        place.folder.place("6", file, [b"something", b"else"])
    place.folder.place("6", file, [whole[:10], whole[10:]])
    assert place.folder.file("6", file) == whole
    assert [p.name for p in path.parent.iterdir()] == [file.path]


@pytest.mark.parametrize(("version", "path"), [("6", "../x"), ("6", "/x"), ("..", "x"), ("6/../7", "x")])
def test_no_path_leads_out(tmp_path, version, path):
    file = bundle.BundleFile(path=path, sha256="sha256:" + "0" * 64, size_bytes=1)
    with pytest.raises((BundleRefused, Invalid)):
        BundleFolder(tmp_path / "a").place(version, file, [b"x"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_longer_needed_goes(place):
    for revision in range(1, 7):
        place.deploy(revision, 6)
    left = [place.folder.root / f".current.{'A' * 26}", place.folder.root / "models" / f".model.onnx.{'A' * 26}"]
    for draft in (*left, fresh := place.folder.root / f".served.{'A' * 26}"):
        draft.write_bytes(b"half")
    place.folder.prune(changed(place.bundle(6, 6), models={"6": place.models["6"]}))
    assert [draft for draft in (*left, fresh) if draft.exists()] == [fresh]  # a server may be writing that one
    assert sorted(p.name for p in place.folder.root.glob("*.json")) == ["4.json", "5.json", "6.json"]
    assert [p.name for p in (place.folder.root / "models").iterdir()] == ["6"]


def test_the_document_is_readable_by_anybody(place):
    """The one form: keys sorted, no spaces; what other programs need to check a signature is written in docs."""
    plain = msgspec.json.decode(signed(place.bundle(3, 6)))
    assert list(plain) == ["bundle", "key", "signature"]
    assert list(plain["bundle"]) == sorted(plain["bundle"])
    assert plain["key"] == KEY
