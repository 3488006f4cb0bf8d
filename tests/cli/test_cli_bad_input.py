"""Bad input by command line: one clear error with its code and next step, an exit code, and nothing changed.

Where somebody reached for what is refused, an entry says so; the rows of every asset stay as they were.
"""

from __future__ import annotations

import json
import pickle
import unicodedata

import pytest

from tests.api.rights import open_folder, without_root
from tests.cli.playing import Folder, example, falaj

EVIL = "x\u202ey\x1b[2J"
LONG = "x" * 129
ID = "01JD8M3V9Y7X2K4T6R8P0N1B5C"

CASES = [
    # what is typed, exit code, code
    ("show nothing", 3, "not_found"),
    ("show flights@nowhere", 3, "not_found"),
    ("show flights:99", 3, "not_found"),
    ("show flights:0", 2, "invalid_name"),
    ("show flights:-1", 2, "invalid_name"),
    ("show nokind/flights", 2, "invalid"),
    ("show ../flights", 2, "invalid_name"),
    ("show flights@../main", 2, "invalid_name"),
    (["show", EVIL], 2, "invalid_name"),
    (["show", ""], 2, "invalid_name"),
    (["show", LONG], 2, "invalid_name"),
    (["show", "f\uff0elights"], 2, "invalid_name"),
    ("asset list nokind", 2, "invalid"),
    ("asset list --limit 0", 2, "invalid"),
    ("asset list --limit 100000", 2, "invalid"),
    ("asset list --limit 1e3", 2, "usage"),
    (["run", "show", "x' OR 1=1 --"], 2, "invalid_name"),
    (f"run show {ID}", 3, "not_found"),
    (f"proposal show {ID}", 3, "not_found"),
    (f"approve {ID}", 3, "not_found"),
    ("--project other show flights", 3, "not_found"),
    ("--project ../x show flights", 2, "invalid_name"),
    ("--project x project new flights", 5, "exists"),
    ("project new a/b", 2, "invalid_name"),
    ("lineage flights --direction sideways", 2, "usage"),
    ("log flights@nowhere", 3, "not_found"),
    ("rm flights", 2, "invalid"),
    ("rm flights:1", 6, "refused"),
    ("restore flights:1", 2, "invalid"),
    ("rollback flights", 2, "invalid"),
    ("rollback flights@main", 6, "rollback_refused"),
    ("rollback flights@main 99", 6, "rollback_refused"),
    ("rollback flights@main 1 --expect 7", 5, "ref_moved"),
    ("rollback flights@main seven", 2, "usage"),
    ("data add flights", 2, "usage"),
    ("data add flights missing.csv", 2, "invalid"),
    ("data add flights .", 2, "invalid"),
    ("data add flights link.csv", 2, "invalid"),
    ("data add flights notes.txt", 2, "invalid"),
    ("data add flights good.csv --ref rejected", 2, "invalid"),
    ("data add flights good.csv --ref a/b", 2, "invalid_name"),
    ("data add flights good.csv --mode sideways", 2, "usage"),
    (["data", "add", EVIL, "good.csv"], 2, "invalid_name"),
    (["data", "add", "flights", "good.csv", "--source", "../x"], 2, "invalid_name"),
    (["data", "add", "flights", "a\\..\\b.csv"], 2, "invalid_name"),
    (["data", "add", "flights", f"{EVIL}.csv"], 2, "invalid_name"),
    ("data add flights one/good.csv two/good.csv", 2, "invalid"),
    ("data files flights:99", 3, "not_found"),
    ("data get flights --file ../../../etc/passwd", 3, "not_found"),
    ("data get flights --file %2e%2e%2fetc%2fpasswd", 3, "not_found"),
    ("data get contract/flights", 2, "invalid"),
    ("data contract show nothing", 3, "not_found"),
    ("data contract show flights --version 99", 3, "not_found"),
    ("apply good.csv", 2, "invalid"),
    ("apply missing.yaml", 2, "invalid"),
    ("apply /etc/hostname", 2, "invalid"),
    ("apply contracts/out.yaml", 2, "invalid"),
    ("apply bad/contracts", 2, "invalid"),
    ("model register delay model.pkl --label y", 6, "model_refused"),
    ("model register delay good.csv --label y", 6, "model_refused"),
    ("model register delay empty.csv --label y", 6, "model_refused"),
    ("model register delay model.pkl", 2, "usage"),
    ("model verify delay@production", 3, "not_found"),
    ("predict delay@production flights@main --into out", 3, "not_found"),
    ("access why nothing", 2, "invalid"),
    ("access why data.add nowhere", 2, "invalid"),
    ("access grant nobody viewer", 3, "not_found"),
    ("access grant me emperor", 2, "usage"),
    (f"access revoke {ID}", 3, "not_found"),
    ("principal add a/b", 2, "invalid_name"),
    ("token issue nobody", 3, "not_found"),
    (f"token revoke {ID}", 3, "not_found"),
    ("ledger show 999999", 3, "not_found"),
    (["ledger", "show", "1 OR 1=1"], 3, "not_found"),
    ("ledger log --what everything", 2, "invalid"),
    ("ledger verify --kept missing", 2, "invalid"),
    ("keys destroy flights --confirm yes", 2, "invalid"),
    ("gc --grace forever", 2, "invalid"),
    ("init --project other", 2, "invalid"),
    ("init --region Atlantis", 2, "invalid"),
    ("promot delay@production 1", 2, "usage"),
    ("login ftp://falaj.example.ae", 2, "invalid"),
    ("--url http://169.254.169.254 show flights", 2, "invalid"),
    ("--url https://a:b@falaj.example.ae show flights", 2, "invalid"),
    ("--url https://falaj.example.ae show flights", 4, "unauthenticated"),
    ("--url https://falaj.example.ae --token-file missing show flights", 2, "invalid"),
    ("--url https://falaj.example.ae --token-file good.csv show flights", 4, "unsafe_file"),
    ("server --host 0.0.0.0", 2, "tls_required"),
    ("server --tls-cert missing.pem", 2, "invalid"),
]


class Touched:
    """Unpickled, it would leave a mark."""

    def __reduce__(self):
        return eval, ("open('pwned', 'w')",)


@pytest.fixture(scope="module")
def place(tmp_path_factory, months) -> Folder:
    """A project with one version of the flights, and files that are wrong in their own ways."""
    folder = example(tmp_path_factory.mktemp("bad") / "flights")
    folder.done("apply")
    folder.done("data", "add", "flights", months / "2013-01.csv")
    good = b"a,b\n1,2\n"
    files = {
        "good.csv": good,
        "one/good.csv": good,
        "two/good.csv": good,
        "a\\..\\b.csv": good,
        f"{EVIL}.csv": good,
        "empty.csv": b"",
        "binary.csv": b"\xff\xfe\x00\x01" * 100,
        "notes.txt": b"hello",
        "model.pkl": pickle.dumps(Touched()),
        "bad/contracts/flights.yaml": b"!!python/object/apply:os.system ['touch pwned']\n",
    }
    for name, data in files.items():
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder.path / "link.csv").symlink_to(folder.path / "nowhere.csv")
    (folder.path / "contracts" / "out.yaml").symlink_to("/etc/hostname")
    return folder


def standing(place: Folder) -> list:
    """Every asset with its refs and its number of versions, and every file outside of the store."""
    return [place.done("asset", "list", "--json").json["items"], place.state()]


@pytest.mark.parametrize(("line", "exit_code", "code"), CASES, ids=[str(c[0])[:60] for c in CASES])
def test_bad_input_is_one_clear_error_that_changes_nothing(place, line, exit_code, code):
    words = line.split() if isinstance(line, str) else line
    before = standing(place)
    told = place(*words)
    assert told.code == exit_code, told
    assert told.out == ""
    head, *rest = told.err.splitlines()
    assert head.startswith("  refused  " if exit_code == 6 else "  error  ")
    assert rest[-1].split() == ["code", code]
    assert any(line.split()[0] in ("next", "see") for line in rest)
    assert "Traceback" not in told.err
    assert not any(unicodedata.category(c) in ("Cc", "Cf") for c in told.err.replace("\n", ""))
    assert standing(place) == before
    assert not (place.path / "pwned").exists()


def test_the_same_error_in_json(place):
    told = place("rollback", "flights@main", "99", "--json")
    body = json.loads(told.out)
    assert (told.code, told.err) == (6, "")
    assert {"code", "message", "next_step", "facts", "status"} <= body.keys()
    entry = place.done("ledger", "show", body["facts"]["entry"], "--json").json
    assert (entry["what"], entry["detail"]["code"]) == ("request.refused", "rollback_refused")


def test_a_pickle_is_refused_with_the_way_out_and_an_entry(place):
    told = place("model", "register", "delay", "model.pkl", "--label", "arr_delay > 30")
    assert "pickle" in told.err
    assert "skops.io.dump" in told.err
    entry = next(line.split()[1] for line in told.err.splitlines() if line.split()[0] == "entry")
    assert place.done("ledger", "show", entry, "--json").json["what"] == "request.refused"


def test_after_all_of_it_the_store_is_sound(place):
    assert place.done("verify", "--json").json["ok"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000, "flights.yaml"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n", "flights.yaml"),
        ("{", "flights.yaml"),
        ("", "flights.yaml"),
        ("- just\n- a list\n", "flights.yaml"),
        ("x" * (1 << 20) + "x", "over 1 MiB"),
        ("\x00", "flights.yaml"),
    ],
    ids=["deep", "aliases", "broken", "empty", "a list", "too large", "zero"],
)
def test_a_file_to_apply_that_is_wrong_names_itself(place, text, message):
    file = place.path / "contracts" / "flights.yaml"
    kept = file.read_text()
    (place.path / "contracts" / "out.yaml").unlink(missing_ok=True)
    before = place.done("asset", "list", "--json").json
    try:
        file.write_text(text)
        told = place("apply", "contracts/flights.yaml")
    finally:
        file.write_text(kept)
    assert told.code == 2, told
    assert message in told.err
    assert place.done("asset", "list", "--json").json == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('[residency]\nallow = "AE"', "residency"),
        ('[residency]\nallow = ["Atlantis"]', "Atlantis"),
        ("[residency]\nallow = [1979-05-27]", "residency"),
        ("residency = 7", "residency"),
        ('[locations.x]\nurl = "http:///#/../../etc"\nregion = "AE"', "http:"),
        ('[locations.x]\nurl = "file:../../etc"\nregion = "AE"', "'..'"),
        ('[locations.x]\nurl = "dbfs:/x"\nregion = "AE"', "dbfs"),
        ('[locations."../x"]\nurl = "file:x"\nregion = "AE"', "../x"),
        ("unknown = 1", "unknown"),
    ],
)
def test_settings_that_are_wrong_are_refused_by_every_command(tmp_path, setting, message):
    folder = Folder(tmp_path / "p")
    folder.path.mkdir()
    folder.done("init", "--project", "p")
    (folder.path / "falaj.toml").write_text(f'project = "p"\n{setting}\n')
    told = folder("apply")
    assert told.code == 2, told
    assert message in told.err


@pytest.mark.parametrize("name", ["empty.csv", "binary.csv"])
def test_what_is_no_table_is_refused_by_the_contract_and_moves_nothing(place, name):
    held = place.done("show", "flights@main", "--json").json["shown"]["version"]
    told = place("data", "add", "flights", name, "--mode", "replace")
    assert told.code == 6, told
    assert told.err.splitlines()[-1].split() == ["code", "contract_refused"]
    assert place.done("show", "flights@main", "--json").json["shown"]["version"] == held
    assert place.done("show", "flights@rejected", "--json").json["shown"]["state"] == "rejected"


def test_an_unreadable_file_is_told(monkeypatch):
    with open_folder() as root:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(root))
        folder = Folder(root / "flights")
        folder.done("init", "--project", "flights")
        for name in ("secret.csv", "falaj.toml"):
            path = folder.path / name
            path.touch()
            path.chmod(0)
        with without_root():
            for line in ("data add flights secret.csv", "show flights"):
                told = folder(*line.split())
                assert told.code == 2
                assert "Permission denied" in told.err


def test_a_folder_that_is_none_is_told(tmp_path):
    assert falaj("-C", tmp_path / "nowhere", "show", "flights").code == 2
    assert falaj("-C", tmp_path, "show", "flights").code == 3
    file = tmp_path / "file"
    file.touch()
    assert falaj("-C", file, "init").code == 2
    assert falaj("-C", file, "apply").code == 2
