"""Starting is cheap because little is loaded: what help, completion and `import falaj` must not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "argparse", "asyncio", "backports.zstd", "blake3", "cryptography", "duckdb", "email", "http.client", "json",
    "msgspec", "numpy", "psycopg", "pyarrow", "rich", "sklearn", "sqlite3", "ssl", "starlette", "subprocess", "tomllib",
    "uvicorn", "yaml",
}  # fmt: skip


def loaded(program: str, cwd) -> set[str]:
    """The modules that a fresh interpreter holds after a program, beyond those of one that does nothing."""
    listed = "import sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    found = []
    for code in (listed, f"{program}\n{listed}"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=cwd
        )
        found.append(set(done.stderr.split()))
    return found[1] - found[0]


@pytest.mark.parametrize(
    "words", [["--help"], [], ["data", "--help"], ["__complete", "falaj pro"], ["__complete", "falaj promote x --"]]
)
def test_help_and_completion_load_nothing_heavy(words, tmp_path):
    modules = loaded(f"from falaj.cli.main import main; main({words!r})", tmp_path)
    assert "falaj.cli.parser" in modules
    assert modules & HEAVY == set()


def test_import_falaj_loads_itself_alone(tmp_path):
    assert loaded("import falaj", tmp_path) - {"__future__"} == {"falaj"}


def test_every_name_of_the_package_is_there_when_it_is_asked_for():
    import falaj

    for name in falaj.__all__:
        assert getattr(falaj, name).__name__ == name
        assert name in dir(falaj)
    with pytest.raises(AttributeError):
        _ = falaj.nothing


def test_one_command_s_help_builds_its_own_parser_only(tmp_path):
    modules = loaded("from falaj.cli.main import main; main(['promote', '--help'])", tmp_path)
    assert "argparse" in modules
    assert modules & (HEAVY - {"argparse"}) == set()
