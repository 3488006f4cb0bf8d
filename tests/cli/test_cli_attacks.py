"""The attacks that other registries fell to, tried by command line: each gets nothing and changes nothing.

Numbers are those of the list of attacks in the security model; those that only a server meets are tried over HTTP, and
by people with tokens of their own in `test_cli_server`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile

import pytest

from tests.cli.playing import Folder

ATTACKS = [
    # id, what is typed, exit code
    ("1 traversal in what is read", "data get plain --file ../../../etc/passwd -o out", 3),
    ("1 absolute path in what is read", "data get plain --file /etc/passwd -o out", 3),
    ("2 fragment in a location", "apply locations/fragment.yaml", 2),
    ("3 another scheme as location", "apply locations/dbfs.yaml", 2),
    ("3 a file outside as source", "apply /etc/hostname", 2),
    ("4 backslashes in a name", ["data", "add", "plain", "..\\..\\evil.csv"], 2),
    ("4 encoded dots in a name", ["data", "add", "%2e%2e%2fevil", "good.csv"], 2),
    ("4 twice encoded dots in a ref", ["data", "add", "plain", "good.csv", "--ref", "%252e%252e"], 2),
    ("4 a share as name", ["show", "\\\\host\\share"], 2),
    ("4 a drive as name", ["show", "dataset/C:evil"], 2),
    ("4 dots of Unicode", ["show", "\u2024\u2024/evil"], 2),
    ("4 a hidden name", ["data", "add", ".ssh", "good.csv"], 2),
    ("6 a bomb as model", "model register delay bomb.skops --label y", 6),
    ("6 a million members", "model register delay many.skops --label y", 6),
    ("7 a server inside the house", "--url http://169.254.169.254/latest show plain", 2),
    ("7 the same in decimal", "--url http://2852039166 show plain", 2),
    ("7 the unspecified address", "--url http://[::] show plain", 2),
    ("8 a pickle as model", "model register delay model.pkl --label y", 6),
    ("8 a pickle under another name", "model register delay renamed.skops --label y", 6),
    ("8 YAML that makes objects", "apply contracts/evil.yaml", 2),
    ("11 another project's thing", "--project other show plain", 3),
    ("11 another project's run", "--project other run show {run}", 3),
    ("14 SQL in a search", ["run", "list", "--sort", "' OR 1=1 --"], 0),
    ("14 SQL as a page's start", ["asset", "list", "--after", "'; DROP TABLE asset; --"], 0),
    ("14 SQL as an id", ["gate", "show", "' UNION SELECT 1"], 2),
    ("15 a deep file", "apply contracts/deep.yaml", 2),
    ("15 more than may be applied at once", "apply policies", 2),
    ("17 a verdict that is none", "approve 01JD8M3V9Y7X2K4T6R8P0N1B5C", 3),
    ("18 a holder that is not held any more", "rollback plain@main 1 --expect 9", 5),
]


class Touches:
    """Unpickled, it would leave a mark."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("attacks") / "p")
    folder.path.mkdir()
    folder.done("init", "--project", "p", "--region", "AE")
    write = {
        "good.csv": b"a,b\n1,2\n",
        "..\\..\\evil.csv": b"a\n",
        "model.pkl": pickle.dumps(Touches()),
        "renamed.skops": pickle.dumps(Touches(), protocol=0),
        "locations/fragment.yaml": b'{location: x, url: "http:///#/../../etc/", region: AE}',
        "locations/dbfs.yaml": b'{location: x, url: "dbfs:/x", region: AE}',
        "contracts/evil.yaml": b"!!python/object/apply:os.system ['touch pwned']",
        "contracts/deep.yaml": b"[" * 100_000,
        **{f"policies/p{i}.yaml": b"{}" for i in range(501)},
    }
    for name, data in write.items():
        file = folder.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    with zipfile.ZipFile(folder.path / "bomb.skops", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("schema.json", b" " * (200 << 20))
    with zipfile.ZipFile(folder.path / "many.skops", "w") as many:
        for number in range(70_000):
            many.writestr(str(number), b"")
    folder.done("data", "add", "plain", "good.csv")
    folder.done("project", "new", "other")
    return folder


def standing(place: Folder) -> list:
    own = [p.done("asset", "list", "--json").json for p in (place,)]
    other = place.done("--project", "other", "asset", "list", "--json").json
    return [own, other, sorted(place.state())]


@pytest.mark.parametrize(("line", "code"), [a[1:] for a in ATTACKS], ids=[a[0] for a in ATTACKS])
def test_an_attack_gets_nothing_and_changes_nothing(place, line, code):
    run = place.done("run", "list", "--json").json["items"][-1]["id"]
    words = line.format(run=run).split() if isinstance(line, str) else line
    before = standing(place)
    told = place(*words)
    assert told.code == code, told
    assert standing(place) == before
    assert not (place.path / "pwned").exists()
    assert "Traceback" not in told.err
    if code == 6:
        page = place.done("ledger", "log", "--what", "request.refused", "--limit", 1, "--json").json
        assert page["items"][0]["detail"]["code"] == told.err.split()[-1]


def test_5_an_archive_is_stored_and_given_back_as_it_is_never_unpacked(place, tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("../evil", "/evil"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    (place.path / "x.tar").write_bytes(packed.getvalue())
    place.done("data", "add", "archives", "x.tar")
    place.done("data", "get", "archives", "-o", tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["x.tar"]
    assert (tmp_path / "out" / "x.tar").read_bytes() == packed.getvalue()


def test_14_what_was_searched_for_is_searched_for_as_it_was_typed(place):
    assert place.done("run", "list", "--sort", "' OR 1=1 --").lines == ["  nothing"]
    assert len(place.done("run", "list", "--json").json["items"]) > 0


def test_19_secrets_do_not_come_back_in_words_or_entries(place, monkeypatch):
    secret = "falaj_01JD8M3V9Y7X2K4T6R8P0N1B5C_" + "s3cret" * 8
    monkeypatch.setenv("FALAJ_TOKEN", secret)
    monkeypatch.setenv("FALAJ_DEBUG", "1")
    for line in ("--url http://127.0.0.1:9 show plain", "--url https://u:s3cret@h show plain"):
        told = place(*line.split())
        assert told.code in (2, 8)
        assert "s3cret" not in told.out + told.err
    assert "s3cret" not in json.dumps(place.done("ledger", "log", "--scope", "store", "--limit", 500, "--json").json)


def test_after_all_of_it_the_store_is_sound(place):
    assert place.done("verify", "--json").json["ok"] is True
