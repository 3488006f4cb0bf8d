"""`falaj serve` that cannot start says why, and ends."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from falaj.core.errors import Invalid
from falaj.serving.run import PORT, listen_address
from tests.cli.playing import falaj
from tests.serving.places import KEY


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("[::1]:80", ("::1", 80)),
        (":9000", ("127.0.0.1", 9000)),
        ("10.0.0.1", ("10.0.0.1", PORT)),
        ("[::1]", ("::1", PORT)),
    ],
)
def test_an_address_to_listen_on(text, address):
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["a:b", "a:-1", "a:99999", "a:"])
def test_what_is_no_address(text):
    with pytest.raises(Invalid):
        listen_address(text)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--key", "ed25519:00"), 2),
        (("--key", KEY, "--listen", "nowhere:x"), 2),
        ((), 2),
    ],
)
def test_wrong_arguments(tmp_path, words, code):
    assert falaj("serve", tmp_path, *words).code == code


def test_there_must_be_a_folder(tmp_path):
    told = falaj("serve", tmp_path / "nothing", "--key", KEY)
    assert (told.code, "no such folder" in told.err) == (2, True)


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        words = [sys.executable, "-m", "falaj.cli.main", "serve", str(tmp_path), "--key", KEY, "--listen", listen]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "cannot_listen" in done.stderr) == (8, True)


def test_it_knows_nothing_of_store_and_platform(tmp_path):
    program = (
        "import sys, falaj.cli.main, falaj.cli.commands.serving, falaj.serving.run; print('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[1] for name in done.stdout.split() if name.startswith("falaj.")}
    assert loaded <= {"cli", "core", "serving", "credentials", "folder"}
