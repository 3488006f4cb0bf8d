"""What the commands that read tell, on real results: the lines that people see, and the same facts as JSON."""

from __future__ import annotations

import getpass
import re

import pytest


def shape(text: str) -> list[str]:
    """The lines of a told text, with times, ids, sizes of packs and digests replaced: two runs tell the same."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"\b01[0-9A-HJKMNP-TV-Z]{24}\b", "ID", text)
    text = re.sub(r"\bsha256:[0-9a-f]{64}\b", "DIGEST", text)
    return re.sub(r"( by +)" + getpass.getuser(), r"\1ME", text).splitlines()


def test_show_tells_an_asset_in_few_lines(project):
    lines = shape(project.done("show", "flights@main").out)
    columns = next(line for line in lines if line.startswith("    columns"))
    assert columns.startswith("    columns          year integer, month integer, day integer, dep_time integer, ")
    assert columns.endswith(", minute integer, time_hour timestamp")
    lines.remove(columns)
    assert re.fullmatch(r"    stored +\d+\.\d kB", lines.pop(7))
    assert lines == [
        "  dataset/flights   3 versions   since TIME",
        "    @main      v3  TIME",
        "    @rejected  v2  TIME",
        "  v3   live",
        "    by               ME",
        "    created          TIME",
        "    size             2.3 MB",
        "    run              ID",
        "    digest           DIGEST",
        "    format           csv",
        "    rows             24,951",
        "    contract         contract/flights:1",
        "    contract digest  DIGEST",
        "    report           0 of 38 rules failed",
        "    source           2013-02.csv",
    ]


def test_a_gate_is_shown_by_its_rules_in_words(project):
    lines = shape(project.done("show", "gate/production").out)
    assert lines[4:] == [
        "    created   TIME",
        "    digest    DIGEST",
        "    name      production",
        "    guards    delay@production",
        "    rules     auc ≥ 0.65",
        "              auc by origin ≥ 0.6",
        "              brier against holder no worse than 0.002",
        "              lineage_complete",
        "              signature",
        "              format",
        "              approval from a maintainer (embedded: waived)",
        "    evidence  data=flights@holdout, label=arr_delay > 30",
    ]


def test_the_list_of_assets_names_their_refs(project):
    assert project.done("asset", "list").lines == [
        "  kind      name        versions  refs",
        "  contract  flights            1  main → v1",
        "  dataset   flights            3  main → v3  rejected → v2",
        "  gate      production         1  main → v1",
        "  location  main               1  main → v1",
        "  policy    residency          1  main → v1",
    ]
    assert project.done("dataset", "list").lines == [
        "  kind     name     versions  refs",
        "  dataset  flights         3  main → v3  rejected → v2",
    ]
    assert project.done("model", "list").lines == ["  nothing"]


def test_a_page_says_how_to_see_the_next(project):
    first = project.done("asset", "list", "--limit", 2)
    assert first.lines[-1] == "  more with --after dataset/flights"
    assert "gate" in project.done("asset", "list", "--after", "dataset/flights").out


def test_the_log_tells_who_moved_what_and_the_entry(project):
    head, newest, oldest = project.done("log", "flights@main").lines
    assert head == "  dataset/flights"
    assert re.fullmatch(r"    @main  v1 → v3  move  \S+ \S+Z  \S+  entry \d+", newest)
    assert re.fullmatch(r"    @main  v1       move  \S+ \S+Z  \S+  entry \d+", oldest)


def test_the_files_of_a_version(project):
    assert project.done("data", "files", "flights:1").lines == ["  flights v1   1 file", "    2013-01.csv  2.5 MB"]


def test_files_come_out_as_they_went_in(project, months, tmp_path):
    told = project.done("data", "get", "flights:1", "-o", tmp_path / "out")
    assert told.lines[-1] == f"  written to {tmp_path / 'out'}"
    assert (tmp_path / "out" / "2013-01.csv").read_bytes() == (months / "2013-01.csv").read_bytes()
    again = project("data", "get", "flights:1", "-o", tmp_path / "out")
    assert (again.code, again.out) == (5, "")
    assert "is there already" in again.err


def test_the_contract_and_what_it_found_on_a_version(project):
    lines = project.done("data", "contract", "show", "flights", "--version", 2).lines
    assert lines[0] == "  contract/flights v1 (1.0.0)   21 rules"
    assert lines[-4:] == [
        "  flights v2   29,208 rows   3 of 38 rules failed",
        "    tailnum null ≤ 2 %                                  60.3 %",
        "    distance between 1 and 6,000                        7 rows, e.g. 999999",
        "    unique (year, month, day, carrier, flight, origin)  412 rows, e.g. 2013-05-01 AA 677 JFK",
    ]


def test_lineage_names_the_run_and_the_contract(project):
    assert shape(project.done("lineage", "flights@main").out) == [
        "  dataset/flights v3 @main   TIME   by ME",
        "      made by data.add, run ID · from contract/flights:1",
        "    contract/flights v1 @main   TIME   by ME",
    ]


def test_runs_and_one_of_them(project):
    listed = project.done("run", "list", "--json").json["items"]
    assert [r["state"] for r in listed] == ["done", "failed", "done"]
    told = project.done("run", "show", listed[1]["id"])
    assert "data.add   failed" in told.lines[0]
    assert any(line.strip().startswith("flights: 3 of 38 rules failed") for line in told.lines)
    assert any("412 rows" in line for line in told.lines)


def test_the_ledger_page_by_page(project):
    newest = project.done("ledger", "log", "--limit", 3)
    assert newest.lines[0].split() == ["entry", "at", "event", "operation", "by", "about"]
    last = int(newest.lines[-1].removeprefix("  more with --before "))
    assert int(newest.lines[-2].split()[0]) == last
    assert project.done("ledger", "log", "--before", last, "--json").json["items"][0]["leaf"] < last


def test_a_refusal_is_an_entry_with_what_failed(project):
    page = project.done("ledger", "log", "--what", "request.refused", "--json").json
    leaf = page["items"][0]["leaf"]
    told = project.done("ledger", "show", leaf)
    assert told.lines[0].startswith(f"  entry {leaf}   request.refused")
    assert any("412 rows, e.g." in line for line in told.lines)
    assert max(map(len, told.lines)) < 200


def test_an_entry_of_the_store_is_found_from_the_project(project):
    assert project.done("ledger", "show", 0).lines[0].startswith("  entry 0   store.created")
    assert project("ledger", "show", 10_000).code == 3


def test_verification_says_what_it_looked_at(project):
    looked = r"  \d+ entries · root \S{12}… · \d+ checkpoints?, \d+ kept outside · \d+ states"
    sound = " · consistent · every state has its entry"
    assert re.fullmatch(looked + sound, project.done("ledger", "verify").lines[0])
    assert re.fullmatch(looked + r" · 3 versions, \d\.\d MB read" + sound, project.done("verify").lines[0])


def test_doctor_tells_how_the_store_is(project):
    lines = project.done("doctor").lines
    assert re.fullmatch(r"  falaj \S+   sqlite \S+   embedded", lines[0])
    assert "    location main: AE-DU" in lines


def test_a_proof_is_the_path_to_the_signed_root(project):
    told = project.done("ledger", "proof", 4)
    assert re.match(r"  entry 4 is one of the \d+ entries under the signed root\n", told.out)
    assert "    checkpoint  falaj/" in told.out
    assert project.done("ledger", "consistency", 4).out.startswith("  the ledger of ")


@pytest.mark.parametrize(
    "line",
    [
        "show flights@main", "asset list", "log flights", "lineage flights", "data files flights", "run list",
        "data contract show flights", "ledger log", "ledger show 3", "ledger verify", "verify", "doctor", "keys list",
        "principal list", "token list", "access list", "proposal list", "gc --dry-run", "version", "ledger proof 3",
        "access why data.add", "access who-can data.add", "completion bash",
    ],
)  # fmt: skip
def test_json_is_one_line_of_the_same_facts(project, line):
    told = project.done(*line.split(), "--json")
    assert told.err == ""
    assert told.out.endswith("\n")
    assert told.out.count("\n") == 1
    assert told.out[:-1].isascii()
    assert told.out[:-1].isprintable()
    assert told.json is not None


@pytest.mark.parametrize("line", ["show flights@main", "asset list", "verify", "log flights"])
def test_quiet_prints_nothing(project, line):
    assert project.done(*line.split(), "--quiet") == (0, "", "")


def test_what_is_done_to_keys_and_the_store_has_its_entry(project):
    for line in ("keys rotate", "keys rotate-root", "repair", "gc"):
        assert re.search(r"   entry \d+$", project.done(*line.split()).lines[0]), line
    assert project.done("ledger", "verify", "--json").json["ok"] is True


def test_lineage_downwards_stands_under_what_it_came_from(project):
    lines = project.done("lineage", "contract/flights", "--direction", "down").lines
    depths = [len(line) - len(line.lstrip()) for line in lines if not line.strip().startswith("made by")]
    assert depths == [2, 4, 4, 4]
