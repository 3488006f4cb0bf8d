"""Residency: bytes rest and are read only where the project's policies let them."""

from __future__ import annotations

from pathlib import Path

import pytest

from falaj.compliance.rules import ResidencyRefused
from falaj.core.errors import FalajError, Invalid
from falaj.platform import Platform
from tests.platform.places import TOML, make_place, rows

POLICY = {"path": "policies/home.yaml", "text": "policy: home\nallow: [AE]\n"}


def add(platform: Platform, path: Path, **more: object) -> object:
    session = platform.session("flights")
    staged = session.stage(path)
    files = [{"staged": staged["staged"], "name": staged["name"]}]
    return session.call("data.add", {"dataset": "cities", "files": files, **more})


@pytest.mark.parametrize(
    ("region", "allow", "fits"),
    [
        ("AE-DU", "[AE]", True),
        ("AE-DU", "[AE-DU]", True),
        ("AE-DU", "[AE-AZ]", False),
        ("AE-DU", "[SA, AE]", True),
        ("DE", "[AE]", False),
        ("", "[AE]", False),  # nobody said where this is
        ("AE-DU", "[]", False),
        ("AEX", "[AE]", None),  # no region at all
    ],
)
def test_bytes_rest_where_the_policy_allows(tmp_path: Path, region: str, allow: str, fits: bool | None) -> None:
    toml = TOML.replace("AE-DU", region) if region else TOML.replace('region = "AE-DU"\n', "")
    place = make_place(tmp_path / "flights", toml)
    if fits is None:
        with pytest.raises(Invalid):
            Platform.create(place, "flights").close()
        return
    with Platform.create(place, "flights") as platform:
        session = platform.session("flights")
        session.call(
            "config.apply", {"files": [{"path": "policies/home.yaml", "text": f"policy: home\nallow: {allow}\n"}]}
        )
        if fits:
            assert add(platform, rows(tmp_path / "a.csv"))
            return
        with pytest.raises(ResidencyRefused) as refused:
            add(platform, rows(tmp_path / "a.csv"))
        assert refused.value.facts["entry"] is not None
        with pytest.raises(FalajError):
            session.call("asset.show", {"thing": "dataset/cities"})
        assert not list((place / ".falaj" / "objects").rglob("packs/*"))


def test_reading_is_refused_once_the_policy_forbids_it(tmp_path: Path) -> None:
    place = make_place(tmp_path / "flights")
    with Platform.create(place, "flights") as platform:
        add(platform, rows(tmp_path / "a.csv"))
        session = platform.session("flights")
        assert b"".join(session.stream("data.get", {"thing": "cities@main"})).startswith(b"id,city")
        session.call("config.apply", {"files": [{"path": "policies/home.yaml", "text": "policy: home\nallow: [SA]\n"}]})
        with pytest.raises(ResidencyRefused):
            list(session.stream("data.get", {"thing": "cities@main"}))


def test_a_host_that_moved_is_found_by_the_declared_location(tmp_path: Path) -> None:
    place = make_place(tmp_path / "flights")
    location = {"path": "locations/main.yaml", "text": "location: main\nurl: file:objects\nregion: AE-DU\n"}
    with Platform.create(place, "flights") as platform:
        platform.session("flights").call("config.apply", {"files": [location, POLICY]})
        add(platform, rows(tmp_path / "a.csv"))
    make_place(place, TOML.replace("AE-DU", "AE-AZ"))
    with Platform.open(place) as platform, pytest.raises(ResidencyRefused, match="AE-DU"):
        add(platform, rows(tmp_path / "b.csv", start=10))


@pytest.mark.parametrize(
    "text",
    [
        "policy: home\nallow: [Dubai]\n",
        "policy: home\n",
        "policy: home\nallow: [AE]\nregime: mars\n",
        "policy: home\nallow: [AE]\nextra: 1\n",
        "policy: ho/me\nallow: [AE]\n",
        "policy: !!python/object/apply:os.system [id]\nallow: [AE]\n",
        "{",
        "x: " + "[" * 2000,
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(platform: Platform, text: str) -> None:
    session = platform.session("flights")
    with pytest.raises(Invalid, match=r"policies/home\.yaml"):
        session.call("config.apply", {"files": [{"path": "policies/home.yaml", "text": text}]})
    assert session.call("asset.list")["items"] == []
