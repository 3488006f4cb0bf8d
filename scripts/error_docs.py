"""Write docs/errors.md: every code that an error can carry, from the classes themselves.

python -m scripts.error_docs           write the page; what to do about a code is written there by hand and kept
python -m scripts.error_docs --check   exit 1 where it is stale, or a code has nothing to do about it
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import falaj
from falaj.client import RemoteError
from falaj.core import errors
from falaj.core.errors import FalajError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"

HEAD = """\
# Errors

<!-- Written by `python -m scripts.error_docs` from the classes, but for the last column, which is written here. -->

Every error has a stable `code`, a message that says what happened with which values, and mostly a `next_step`. It is
the same on the command line (exit code), in Python (`FalajError` and its subclasses) and over HTTP (a problem document
with that status). An unknown thing and one that is not yours look alike on purpose.
"""


def classes() -> dict[str, type[FalajError]]:
    """Every error class of Falaj by its code; of two with one code, the more general. Imports every module."""
    for module in pkgutil.walk_packages(falaj.__path__, "falaj."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[str, type[FalajError]] = {}
    for cls in _below(FalajError):
        # The client makes classes for what a server tells; they stand in no module.
        if cls.__module__.startswith("falaj.") and vars(sys.modules[cls.__module__]).get(cls.__name__) is cls:
            found.setdefault(cls.code, cls)
    return found


def _below(cls: type[FalajError]) -> Iterator[type[FalajError]]:
    yield cls
    if cls is RemoteError:
        return  # below it stands what servers said, made while it was heard
    for sub in sorted(cls.__subclasses__(), key=lambda c: c.__name__):
        yield from _below(sub)


def steps(text: str) -> dict[str, str]:
    """What to do, by code, as a page says it."""
    rows = re.findall(r"^\| `([a-z_0-9]+)` \|.*\| ([^|]*?) \|$", text, re.MULTILINE)
    return {code: step for code, step in rows if step}


def page(known: dict[str, str]) -> str:
    """The whole page, with what is known of what to do."""
    found = classes()
    families = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, FalajError)]
    parts = [HEAD]
    for exit_code in dict.fromkeys(family.exit_code for family in families):
        members = [cls for cls in found.values() if cls.exit_code == exit_code]
        head = next(f for f in families if f.exit_code == exit_code)
        parts += [f"## Exit code {exit_code}\n", f"{_meaning(head)}\n"]
        parts += ["| code | HTTP | meaning | what to do |", "|---|---|---|---|"]
        parts += [
            f"| `{cls.code}` | {cls.status} | {_meaning(cls)} | {known.get(cls.code, '')} |"
            for cls in sorted(members, key=lambda c: (c is not head, c.code))
        ]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _meaning(cls: type[FalajError]) -> str:
    first = (cls.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


def problems() -> list[str]:
    """What is wrong with the page as it stands."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    known = steps(text)
    wrong = [f"{code}: nothing says what to do" for code in classes() if code not in known]
    return wrong + ([] if text == page(known) else ["stale: python -m scripts.error_docs"])


def main() -> int:
    """Write the page, or say what is wrong with it."""
    if "--check" in sys.argv[1:]:
        for line in (wrong := problems()):
            print(f"{PAGE.name}: {line}")
        return 1 if wrong else 0
    PAGE.parent.mkdir(exist_ok=True)
    known = steps(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    PAGE.write_text(page(known), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
