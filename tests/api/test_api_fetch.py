"""Files out of a version: whole or not at all, below the folder asked for, whatever the other side says."""

from __future__ import annotations

import pytest

from falaj.core.errors import Damaged, Invalid, InvalidName, NotFound
from falaj.session import FileThere, check_files, fetch, staged

FILES = {"2013-01.csv": b"a,b\n1,2\n", "more/2013-02.csv": b"a,b\n" + b"3,4\n" * 100_000}


class Other:
    """The other side of a session, which may lie: it has these files and sends these bytes."""

    project = "flights"

    def __init__(self, files: dict[str, bytes], sent: dict[str, bytes] | None = None):
        self.files, self.sent = files, sent or files
        self.asked: list[str] = []

    def call(self, operation, args, **more):
        assert operation == "data.files"
        files = [{"path": p, "size_bytes": len(b), "digest": ""} for p, b in self.files.items()]
        return {"thing": "dataset/flights", "version": 4, "files": files}

    def stream(self, operation, args):
        self.asked.append(args["thing"])
        body = self.sent[args["path"]]
        yield from (body[at : at + 65536] for at in range(0, len(body), 65536))

    def stage(self, path):
        return {"staged": "word", "name": path.name, "size": path.stat().st_size, "sha256": ""}

    def close(self):
        pass


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_all_files_come_from_the_one_version_that_the_ref_held(tmp_path):
    other = Other(FILES)
    found = fetch(other, "flights@main", tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert set(other.asked) == {"dataset/flights:4"}
    assert [f["path"] for f in found["files"]] == list(FILES)


def test_one_file_can_be_asked_for(tmp_path):
    fetch(Other(FILES), "flights@main", tmp_path, ["2013-01.csv"])
    assert tree(tmp_path) == {"2013-01.csv": FILES["2013-01.csv"]}


def test_a_path_that_the_version_does_not_have_is_told_and_nothing_is_written(tmp_path):
    with pytest.raises(NotFound, match="v4"):
        fetch(Other(FILES), "flights@main", tmp_path / "out", ["2013-01.csv", "2013-13.csv"])
    assert not (tmp_path / "out").exists()


def test_a_file_is_never_written_over(tmp_path):
    (tmp_path / "2013-01.csv").write_text("mine")
    with pytest.raises(FileThere):
        fetch(Other(FILES), "flights@main", tmp_path)
    assert (tmp_path / "2013-01.csv").read_text() == "mine"
    assert not (tmp_path / "more" / "2013-02.csv").exists()


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "a\\..\\x",
        "C:x",
        ".ssh",
        "a/.ssh/x",
        "a\x00b",
        "x\u202egpj",
        "a//b",
        "",
        "\u2024\u2024/x",
    ],
)
def test_a_path_that_leads_out_is_refused_before_anything_is_written(tmp_path, path):
    out = tmp_path / "out"
    with pytest.raises(InvalidName):
        fetch(Other({path: b"evil"}), "flights@main", out)
    assert not out.exists() or tree(out) == {}
    assert sorted(p.name for p in tmp_path.iterdir()) in ([], ["out"])


@pytest.mark.parametrize("name", ["more", "2013-01.csv"])
def test_a_link_in_the_folder_is_not_followed(tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(elsewhere / ("" if name == "more" else "stolen"))
    with pytest.raises((Invalid, FileThere)):
        fetch(Other(FILES), "flights@main", out)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"a,b\n1,2", b"a,b\n1,2\n3,4\n"], ids=["none", "short", "long"])
def test_bytes_that_are_not_all_there_leave_no_file(tmp_path, body):
    with pytest.raises(Damaged):
        fetch(Other({"2013-01.csv": FILES["2013-01.csv"]}, {"2013-01.csv": body}), "flights@main", tmp_path)
    assert tree(tmp_path) == {}


def test_a_broken_stream_leaves_no_file(tmp_path):
    class Broken(Other):
        def stream(self, operation, args):
            yield b"a,b\n"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(Broken(FILES), "flights@main", tmp_path)
    assert tree(tmp_path) == {}


def test_what_is_no_file_cannot_be_sent(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "x.csv").write_text("a\n")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    for paths, message in (
        ([tmp_path / "missing.csv"], "no such file"),
        ([tmp_path / "gone.csv"], "no such file"),
        ([tmp_path / "a"], "not a file"),
        ([tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv"], "two files of one name"),
    ):
        with pytest.raises(Invalid, match=message):
            check_files(paths)
    assert staged(Other({}), [tmp_path / "a" / "x.csv"]) == [{"staged": "word", "name": "x.csv"}]
