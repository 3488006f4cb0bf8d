"""Where a project is, and what it is called."""

from __future__ import annotations

import pytest

from falaj import folder
from falaj.core.errors import Invalid
from falaj.folder import NoProject
from tests.api.rights import open_folder, without_root


@pytest.fixture
def project(tmp_path):
    (tmp_path / "falaj.toml").write_text('project = "flights"\n')
    return tmp_path


def test_the_nearest_folder_upwards_is_the_project(project):
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    assert folder.find(deep) == project
    (project / "a" / "falaj.toml").write_text('project = "inner"\n')
    assert folder.find(deep) == project / "a"
    assert folder.project_of(project / "a") == "inner"


def test_a_folder_named_like_the_file_is_no_project(tmp_path):
    (tmp_path / "x" / "falaj.toml").mkdir(parents=True)
    with pytest.raises(NoProject) as caught:
        folder.find(tmp_path / "x")
    assert (caught.value.code, caught.value.exit_code) == ("no_project", 3)
    assert "falaj init" in caught.value.next_step


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", 'no project = "'),
        (b"project = 7\n", 'no project = "'),
        (b'project = ""\n', 'no project = "'),
        (b"project\n", "falaj.toml: "),
        (b"project = \xff\n", "falaj.toml: "),
        (b"#" * (folder.MAX_BYTES + 1), "larger than 1 MiB"),
    ],
    ids=["empty", "number", "no name", "not toml", "not text", "too large"],
)
def test_a_file_of_the_wrong_form_is_one_clear_error(tmp_path, text, message):
    (tmp_path / "falaj.toml").write_bytes(text)
    with pytest.raises(Invalid) as caught:
        folder.project_of(tmp_path)
    assert message in caught.value.message
    assert caught.value.next_step


def test_an_unreadable_file_is_told():
    with open_folder() as place:
        (place / "falaj.toml").write_text('project = "flights"\n')
        (place / "falaj.toml").chmod(0)
        with without_root(), pytest.raises(Invalid, match="Permission denied"):
            folder.project_of(place)
