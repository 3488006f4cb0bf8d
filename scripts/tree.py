"""What must hold for every file of the repository, beyond what formatter, linter and type checker see.

    python -m scripts.tree        print what is wrong, one line each; exit 1 where anything is

Looked at: the files that Git tracks or would add.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_FILE = 600  # lines
LARGEST_FILE = 1024 * 1024  # bytes

# Written so that no pattern matches its own line here.
_REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|-{2}(?:extra-)?index-url|-{2}find-links|-{2}trusted-host"
)
_MACHINE = re.compile(r"(?<![\w.~/-])/(?:work|root|opt/pypi|opt/wheels)(?=/|[^\w.]|$)")
_UNFINISHED = re.compile(r"\b(?:T[O]DO|F[I]XME|H[A]CK|T[B]D)\b|\braise NotImplemented[E]rror\b")
_DRIVER = re.compile(r"^\s*(?:import|from) +(?:psycopg|sqlite3)\b")
_TEXT = {
    ".py",
    ".pyi",
    ".sh",
    ".md",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    ".json",
    ".sql",
    ".ts",
    ".css",
    ".html",
    ".svg",
    "",
}


def files(root: Path) -> list[Path]:
    """Every file of the work tree that Git tracks or would add, relative to the root, sorted."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True).stdout.decode()
    return sorted(Path(name) for name in set(listed.split("\0")) if name and (root / name).is_file())


def problems(root: Path) -> list[str]:
    """Everything that is wrong, each as `file:line: what`; empty where all holds."""
    all_files = files(root)
    found: list[str] = []
    for path in all_files:
        if (root / path).stat().st_size > LARGEST_FILE:
            found.append(f"{path}: larger than {LARGEST_FILE // 1024} KiB")
        elif path.suffix in _TEXT and path.name != "LICENSE":
            text = (root / path).read_text(encoding="utf-8")
            found += in_lock(path, text) if path.parts[0] == "requirements" else in_text(path, text)
    found += in_layout(all_files)
    return found


def in_text(path: Path, text: str) -> Iterator[str]:
    """Addresses of registries, paths of one machine, unfinished marks, drivers outside the store, long files."""
    lines = text.splitlines()
    if path.suffix in {".py", ".sh", ".ts"} and len(lines) > LONGEST_FILE:
        yield f"{path}: {len(lines)} lines, more than {LONGEST_FILE}"
    in_package = path.parts[:2] == ("src", "falaj") and path.suffix == ".py"
    for number, line in enumerate(lines, 1):
        for pattern, what in ((_REGISTRY, "address of a registry"), (_MACHINE, "path of a machine")):
            if match := pattern.search(line):
                yield f"{path}:{number}: {what}: {match[0]}"
        if match := _UNFINISHED.search(line):
            yield f"{path}:{number}: unfinished: {match[0]}"
        if in_package and path.parts[2] != "store" and _DRIVER.search(line):
            yield f"{path}:{number}: a database driver outside falaj.store"


def in_lock(path: Path, text: str) -> Iterator[str]:
    """A lock file pins every package by version and by hash, and names no place to get it from."""
    requirements = re.sub(r"(?m)^\s*#.*\n?", "", text).replace("\\\n", " ").splitlines()
    for line in filter(str.strip, requirements):
        name = line.split()[0]
        if "://" in line or "file:" in line or line.lstrip().startswith("-"):
            yield f"{path}: an address or an option: {line.strip()[:80]}"
        elif not re.match(r"[\w.-]+==[\w.!+-]+\s", line) or "--hash=sha256:" not in line:
            yield f"{path}: not pinned by version and hash: {name}"


def in_layout(all_files: list[Path]) -> Iterator[str]:
    """Every folder of Python is a package; a room with operations has records, rules and a README beside them."""
    package = [p for p in all_files if p.parts[:2] == ("src", "falaj")]
    folders = {p.parent for p in package if p.suffix == ".py"}
    for folder in sorted(folders):
        if folder / "__init__.py" not in package:
            yield f"{folder}: no __init__.py, so no contract sees it"
        if folder / "operations.py" in package:
            for beside in ("records.py", "rules.py", "README.md"):
                if folder / beside not in package:
                    yield f"{folder}: a room without {beside}"


def main() -> int:
    found = problems(Path(__file__).resolve().parents[1])
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
