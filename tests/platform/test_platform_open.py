"""Making and opening a store: again, interrupted, at once, with a wrong key, by another user."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from falaj.core.errors import FalajError, Forbidden, Invalid, NotFound, Unauthenticated
from falaj.folder import NoProject
from falaj.platform import OwnerExists, Platform
from falaj.platform.opening import NoStore, ServedStore
from falaj.store.keys import KeyFile
from falaj.store.keys.errors import KeyMissing, WrongKey, WrongPassphrase
from tests.platform.places import TOML, Served, contract, make_place, serve


def test_creating_twice_is_creating_once(place: Path) -> None:
    Platform.create(place, "flights").close()
    before = (place / ".falaj" / "key").read_bytes()
    with Platform.create(place, "flights") as platform:
        assert platform.session("flights").call("asset.list")["items"] == []
        assert platform.session("flights").call("principal.list")[0]["name"]
    assert (place / ".falaj" / "key").read_bytes() == before


def test_a_creation_that_was_interrupted_goes_on(place: Path) -> None:
    store = place / ".falaj"
    store.mkdir()
    KeyFile.create(store / "key")  # and no database yet
    with Platform.create(place, "flights") as platform:
        assert platform.session("flights").call("asset.list")["items"] == []


def test_many_creations_at_once_make_one_store(place: Path, database_address: str) -> None:
    start, failed = threading.Barrier(4), []

    def create() -> None:
        start.wait()
        try:
            Platform.create(place, "flights", database=database_address).close()
        except FalajError as error:
            failed.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Platform.create(place, "flights", database=database_address).close()
    with Platform.open(place, database=database_address) as platform:
        people = platform.session("flights").call("principal.list")
        assert len({p["name"] for p in people}) == len(people)
    assert all(error.exit_code == 5 for error in failed), failed


def test_the_store_is_closed_to_others(place: Path) -> None:
    Platform.create(place, "flights").close()
    store = place / ".falaj"
    assert store.stat().st_mode & 0o077 == 0
    assert (store / "key").stat().st_mode & 0o077 == 0
    assert (store / "falaj.db").stat().st_mode & 0o077 == 0


def test_no_store_and_no_project_are_told_apart(tmp_path: Path, place: Path) -> None:
    with pytest.raises(NoStore, match="no store"):
        Platform.open(place)
    with pytest.raises(NoProject):
        Platform.open(tmp_path / "elsewhere")


def test_a_key_file_that_is_gone_is_not_made_anew_over_a_store(place: Path) -> None:
    Platform.create(place, "flights").close()
    (place / ".falaj" / "key").unlink()
    with pytest.raises(NoStore):
        Platform.open(place)
    with pytest.raises(KeyMissing):
        Platform.create(place, "flights").close()
    assert not (place / ".falaj" / "key").exists()


def test_the_key_file_of_another_store_opens_nothing(tmp_path: Path, place: Path) -> None:
    Platform.create(place, "flights").close()
    other = make_place(tmp_path / "other")
    Platform.create(other, "flights").close()
    (place / ".falaj" / "key").write_bytes((other / ".falaj" / "key").read_bytes())
    with pytest.raises(WrongKey):
        Platform.open(place)


def test_a_passphrase_protects_the_key(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALAJ_PASSPHRASE", "a date palm by the falaj")
    Platform.create(place, "flights").close()
    Platform.open(place).close()
    monkeypatch.setenv("FALAJ_PASSPHRASE", "another")
    with pytest.raises(WrongPassphrase):
        Platform.open(place)
    monkeypatch.delenv("FALAJ_PASSPHRASE")
    with pytest.raises(WrongPassphrase):
        Platform.open(place)


def test_a_store_that_was_served_stays_a_servers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(place).platform.close()
    with Platform.open(place) as platform:
        assert platform.ground.four_eyes
    someone_else = os.getuid() + 1
    monkeypatch.setattr("falaj.platform.opening.os.getuid", lambda: someone_else)
    with pytest.raises(ServedStore, match="served"):
        Platform.open(place)


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        ("project = 3\n", "project"),
        ('project = "a/b"\n', "U\\+002F"),
        ('project = "flights"\nregime = "mars"\n', "regime"),
        ('project = "flights"\ncolour = "red"\n', "colour"),
        ('project = "flights"\n[locations.main]\nurl = "ftp://x"\n', "file:FOLDER"),
        ('project = "flights"\n[locations.main]\nurl = "file:../../out"\n', "file:FOLDER"),
        ('project = "flights"\n[locations.main]\nurl = "file:objects"\nregion = "Dubai"\n', "region"),
        ('project = "flights"\n[ledger]\npublish = "https://x"\n', "file:"),
        ('project = "flights"\ndatabase = "mysql://x"\n', "mysql"),
    ],
)
def test_a_project_file_that_cannot_be_meant_is_refused(tmp_path: Path, toml: str, word: str) -> None:
    place = make_place(tmp_path / "flights", toml)
    with pytest.raises(Invalid, match=word):
        Platform.create(place, "flights").close()


def test_locations_may_lie_outside_of_the_store(tmp_path: Path) -> None:
    toml = TOML.replace("file:objects", f"file:{tmp_path}/far")
    with Platform.create(make_place(tmp_path / "flights", toml), "flights"):
        assert (tmp_path / "far").is_dir()


def test_heads_are_signed_and_published_when_the_store_is_let_go(place: Path) -> None:
    Platform.create(place, "flights").close()
    published = list((place / ".falaj" / "checkpoints").iterdir())
    assert published


def test_opening_read_only_changes_nothing(place: Path) -> None:
    Platform.create(place, "flights").close()
    with Platform.open(place, read_only=True) as platform:
        session = platform.session("flights")
        assert session.call("asset.list")["items"] == []
        with pytest.raises(FalajError, match="read-only"):
            session.call("principal.add", {"name": "sara"})


# the first owner


def test_the_one_time_token_lets_one_owner_in_once(place: Path) -> None:
    Platform.create(place, "flights").close()
    with Platform.open(place, server=True) as platform:
        first = platform.bootstrap_token()
        second = platform.bootstrap_token()
        assert first
        assert second
        with pytest.raises(Unauthenticated):  # the later one made the earlier void
            platform.claim(first, "olga")
        with pytest.raises(Unauthenticated):
            platform.authenticate(second)  # good for nothing but the claim
        view, text = platform.claim(second, "olga")
        assert view.name == "olga"
        assert platform.authenticate(text).principal.name == "olga"
        assert platform.bootstrap_token() is None
        with pytest.raises((Unauthenticated, OwnerExists)):
            platform.claim(second, "eve")


def test_of_two_claims_at_once_one_wins(place: Path, database_address: str) -> None:
    Platform.create(place, "flights", database=database_address).close()
    with Platform.open(place, server=True, database=database_address) as platform:
        token = platform.bootstrap_token()
        assert token
        start, won, lost = threading.Barrier(2), [], []

        def claim(name: str) -> None:
            start.wait()
            try:
                won.append(platform.claim(token, name)[0].name)
            except FalajError as error:
                lost.append(error)

        threads = [threading.Thread(target=claim, args=(n,)) for n in ("olga", "eve")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1, lost
        assert len(lost) == 1
        owners = platform.session("flights").call("access.list", {"scope": "store"})
        assert [o["subject"] for o in owners] == won


def test_a_hostile_name_claims_nothing(place: Path) -> None:
    Platform.create(place, "flights").close()
    with Platform.open(place, server=True) as platform:
        token = platform.bootstrap_token()
        assert token
        with pytest.raises(Invalid):
            platform.claim(token, "ol\u202ega")
        assert platform.claim(token, "olga")[0].name == "olga"


def test_expired_and_revoked_tokens_are_void_at_once(served: Served) -> None:
    sara = served.person("sara", ("viewer", "project:flights"))
    sara.call("asset.list")
    token_id = served.owner.call("token.list", project="", principal="sara")[0].id
    served.owner.call("token.revoke", project="", token=token_id)
    with pytest.raises(Unauthenticated):
        sara.call("asset.list")
    with pytest.raises(Unauthenticated):
        served.platform.authenticate(served.expired("sara"))


def test_a_person_without_a_binding_learns_nothing(served: Served) -> None:
    served.owner.call("config.apply", files=[contract()])
    eve = served.person("eve")
    answers = set()
    for thing in ("flights", "contract/flights", "nothing", "model/nothing"):
        with pytest.raises((NotFound, Forbidden)) as refused:
            eve.call("asset.show", thing=thing)
        answers.add((type(refused.value), refused.value.message, refused.value.next_step))
    with pytest.raises(NotFound) as refused:
        eve.call("asset.list", project="elsewhere")
    answers.add((type(refused.value), refused.value.message, refused.value.next_step))
    assert len(answers) == 1, answers
