"""Tokens kept on a machine: private from the first byte, found by the address they were saved for, and by no other."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj import credentials
from falaj.core.errors import Invalid
from falaj.credentials import UnsafeFile, quoted

URL = "https://falaj.example.ae"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://falaj.example.ae/", URL),
        ("HTTPS://Falaj.Example.AE", URL),
        ("https://falaj.example.ae:8443/falaj/", f"{URL}:8443/falaj"),
        ("http://127.0.0.1:7400", "http://127.0.0.1:7400"),
        ("http://[::1]:7400/", "http://[::1]:7400"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_an_address_has_one_form(given, kept):
    assert credentials.server_url(given) == kept


@pytest.mark.parametrize(
    "address",
    [
        "",
        "falaj.example.ae",
        "ftp://falaj.example.ae",
        "file:///etc/passwd",
        "https://",
        "https://amal:secret@falaj.example.ae",
        "https://falaj.example.ae?token=x",
        "https://falaj.example.ae#x",
        "https://falaj.example.ae /x",
        "https://falaj.example.ae/\x1b[2J",
        "https://falaj.example.ae:99999",
        "http://falaj.example.ae",
        "http://169.254.169.254",
        "http://127.0.0.1.example.ae",
        "http://2130706433",
    ],
)
def test_an_address_that_a_token_must_not_go_to_is_refused(address):
    with pytest.raises(Invalid) as caught:
        credentials.server_url(address)
    assert caught.value.next_step
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("text", ["", " \n", "two words", "a\x1b[2J", "ß", "x" * 5000, "a\nb"])
def test_what_is_no_token_is_refused_without_being_repeated(text):
    with pytest.raises(Invalid) as caught:
        credentials.token_text(text)
    assert text.strip()[:20] not in caught.value.message or not text.strip()


def test_a_saved_token_is_found_by_its_address_alone(home):
    credentials.save(URL, "falaj_1_secret", folder=home / "flights", project="flights")
    assert credentials.token_for(URL) == "falaj_1_secret"
    assert credentials.token_for(f"{URL}:8443") is None
    assert credentials.token_for("http://localhost") is None
    assert credentials.login_of(home / "flights") == (URL, "flights")
    assert credentials.login_of(home) is None


def test_the_file_is_private_and_written_whole(home):
    file = credentials.save(URL, "one")
    credentials.save("https://other.example.ae", "two")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    assert (credentials.token_for(URL), credentials.token_for("https://other.example.ae")) == ("one", "two")


def test_forgetting_drops_the_token_and_every_login_to_it(home):
    credentials.save(URL, "one", folder=home / "a", project="a")
    credentials.save(URL, "two", folder=home / "b", project="b")
    assert credentials.forget(URL)
    assert not credentials.forget(URL)
    assert credentials.login_of(home / "a") is None
    assert "one" not in credentials.path().read_text()
    assert "two" not in credentials.path().read_text()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_read_is_not_used(home, mode):
    file = credentials.save(URL, "one")
    file.chmod(mode)
    with pytest.raises(UnsafeFile) as caught:
        credentials.token_for(URL)
    assert f"chmod 600 {file}" in caught.value.next_step
    assert caught.value.exit_code == 4


def test_a_broken_file_is_one_clear_error(home):
    file = credentials.save(URL, "one")
    file.write_text("[servers\n")
    with pytest.raises(Invalid):
        credentials.token_for(URL)


def test_a_token_file_is_read_only_where_it_is_private(home):
    file = home / "token"
    file.write_text("falaj_1_secret\n")
    file.chmod(0o644)
    with pytest.raises(UnsafeFile):
        credentials.read_token(file)
    file.chmod(0o600)
    assert credentials.read_token(file) == "falaj_1_secret"
    with pytest.raises(Invalid):
        credentials.read_token(home / "missing")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_survives_as_a_toml_string(text):
    import tomllib

    assert tomllib.loads(f"a = {quoted(text)}") == {"a": text}
