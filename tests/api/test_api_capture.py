"""What a run says of its code and environment: names and digests, never paths of a person's machine."""

from __future__ import annotations

import json
import subprocess

import pytest

from falaj import capture


def git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True, capture_output=True
    )


@pytest.fixture
def tree(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("leaves = 31\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_clean_tree_is_its_commit(tree):
    told = capture.code_state(tree)
    assert len(told["commit"]) == 40
    assert told["dirty"] is False
    assert "diff_digest" not in told


def test_equal_changes_have_one_digest_and_others_another(tree):
    digests = []
    for text in ("leaves = 32\n", "leaves = 33\n", "leaves = 32\n"):
        (tree / "train.py").write_text(text)
        told = capture.code_state(tree)
        assert told["dirty"] is True
        digests.append(told["diff_digest"])
    assert digests[0] == digests[2] != digests[1]


def test_an_untracked_file_counts_by_its_bytes_and_an_ignored_one_does_not(tree):
    (tree / ".gitignore").write_text("*.log\n")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "two")
    (tree / "noise.log").write_text("x")
    assert capture.code_state(tree)["dirty"] is False
    (tree / "new.py").write_text("a = 1\n")
    first = capture.code_state(tree)["diff_digest"]
    (tree / "new.py").write_text("a = 2\n")
    assert capture.code_state(tree)["diff_digest"] != first


def test_a_sub_folder_sees_changes_of_the_whole_tree(tree):
    (tree / "sub").mkdir()
    (tree / "other.py").write_text("a = 1\n")
    assert capture.code_state(tree / "sub")["dirty"] is True


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    assert "commit" not in capture.code_state(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert "commit" not in capture.code_state(tmp_path)


def test_no_path_of_the_machine_is_told(tree):
    told = json.dumps([capture.code_state(tree), capture.environment()])
    assert str(tree) not in told
    assert "/" not in told


def test_the_environment_is_told_by_one_digest():
    told = capture.environment()
    assert told == capture.environment()
    assert len(told["distributions_digest"]) == 64
    assert told["distributions"] > 10
