"""The habits of the repository: they hold for the tree as it is, and each rule finds what it is there to find."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from scripts import links, tree

ROOT = Path(__file__).parents[2]
PINNED = f"starlette==1.0.0 \\\n    --hash=sha256:{'0' * 64}\n"


def test_the_tree_keeps_its_rules() -> None:
    assert tree.problems(ROOT) == []


def test_the_documentation_has_no_broken_link() -> None:
    assert links.broken(ROOT)[1] == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("see https://" + "pypi" + ".org/simple", "address of a registry"),
        ("pip install --index" + "-url https://mirror.example", "address of a registry"),
        ("root = '/" + "work/main'", "path of a machine"),
        ("cd /" + "root", "path of a machine"),
        ("# TO" + "DO later", "unfinished"),
        ("raise NotImplemented" + "Error", "unfinished"),
        ("    from psyc" + "opg import connect", "a database driver outside"),
        ("import sqlite" + "3", "a database driver outside"),
    ],
)
def test_a_planted_line_is_found(line: str, what: str) -> None:
    found = list(tree.in_text(Path("src/falaj/data/rules.py"), f"first\n{line}\n"))
    assert len(found) == 1
    assert found[0].startswith(f"src/falaj/data/rules.py:2: {what}")


@pytest.mark.parametrize(
    "line", ["url = 'https://falaj.example.ae'", "a network/worker/ro" + "ot path", "todo_list", "./wo" + "rk/x"]
)
def test_a_harmless_line_is_not(line: str) -> None:
    assert list(tree.in_text(Path("src/falaj/data/rules.py"), line)) == []


def test_the_store_may_know_its_drivers() -> None:
    assert list(tree.in_text(Path("src/falaj/store/metadata/sqlite.py"), "import sqlite" + "3\n")) == []


def test_a_long_file_is_found() -> None:
    path = Path("src/falaj/core/long.py")
    assert list(tree.in_text(path, "x = 1\n" * tree.LONGEST_FILE)) == []
    assert list(tree.in_text(path, "x = 1\n" * (tree.LONGEST_FILE + 1))) == [f"{path}: 601 lines, more than 600"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (PINNED, 0),
        ("# a comment\n" + PINNED * 2, 0),
        ("starlette==1.0.0\n", 1),
        ("starlette>=1.0.0 \\\n    --hash=sha256:00\n", 1),
        ("--extra-index" + "-url https://mirror.example\n" + PINNED, 1),
        ("starlette @ https://mirror.example/starlette.whl\n", 1),
        ("-r other.txt\n", 1),
    ],
)
def test_a_lock_file_pins_by_hash_and_names_no_address(text: str, wrong: int) -> None:
    assert len(list(tree.in_lock(Path("requirements/dev.txt"), text))) == wrong


def test_a_room_with_operations_is_whole() -> None:
    names = ["__init__.py", "operations.py", "records.py", "rules.py", "README.md"]
    room = [Path("src/falaj/data") / name for name in names]
    package = [Path("src/falaj/__init__.py"), *room]
    assert list(tree.in_layout(package)) == []
    for gone in room[0:1] + room[2:]:
        found = list(tree.in_layout([p for p in package if p != gone]))
        assert len(found) == 1
        assert gone.name in found[0]


def test_the_lock_of_the_core_is_part_of_the_full_one() -> None:
    pins = {name: set(_pins(name)) for name in ("core", "local", "dev")}
    assert pins["core"] < pins["local"] < pins["dev"]
    assert len(pins["core"]) <= 35


def test_the_lock_files_cover_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {
        "core": project["dependencies"],
        "local": [*project["dependencies"], *extras["local"]],
        "dev": [*project["dependencies"], *extras["local"], *extras["dev"]],
    }
    for lock, requirements in declared.items():
        locked = {pin.partition("==")[0] for pin in _pins(lock)}
        assert {_name(r) for r in requirements} <= locked


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "there.md").write_text("# One heading: `code`, and more\n")
    (tmp_path / "README.md").write_text(
        "[a](there.md) [b](there.md#one-heading-code-and-more) [c](https://example.org) `[d](code.md)`\n"
        "[e](gone.md) [f](there.md#gone)\n"
    )
    assert links.broken(tmp_path) == (4, ["README.md: gone.md", "README.md: there.md#gone (no such heading)"])


def _pins(lock: str) -> list[str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    return [line.split()[0] for line in text.splitlines() if "==" in line and not line.startswith("#")]


def _name(requirement: str) -> str:
    for i, char in enumerate(requirement):
        if char in "[<>=! ;":
            return requirement[:i]
    return requirement
