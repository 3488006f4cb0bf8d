"""Every command that a page shows is one of ours, with arguments that it takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.cli.parser import find, parse
from falaj.cli.spec import Help
from tests.docs.pages import DOCS, ROOT

PAGES = sorted(
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md"), *(ROOT / "src").rglob("README.md"))
    if page.name not in ("cli.md", "formats.md")  # written from the commands themselves; about bytes
)
_FENCE = re.compile(r"(?ms)^```.*?^```$")
_OTHER_LANGUAGES = re.compile(r"(?ms)^```(?:python|json|text).*?^```$")
_END = {"|", "<", ">", "2>", ">>", "&", "&&", ";"}


def shown(page: Path) -> Iterator[tuple[str, bool]]:
    """The commands of a page, and whether they stand in a block, where their arguments must be whole."""
    text = page.read_text(encoding="utf-8")
    for block in _FENCE.findall(_OTHER_LANGUAGES.sub("", text)):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r" {2,}", line.strip().removeprefix("$ ")):  # two commands side by side
                if match := re.match(r"(?:\w+=\S+ +)*(falaj .+)", part):
                    yield match[1], True
    for span in re.findall(r"`(falaj [a-z][^`\n]*)`", _FENCE.sub("", text)):
        yield span, False


def words(line: str) -> list[str]:
    """The words of a command, up to a comment, a pipe or a redirection; what a shell would put in stands for itself."""
    found = shlex.split(re.sub(r"\$\(.*\)", "PUT-IN", line), comments=True)[1:]
    end = next((at for at, word in enumerate(found) if word in _END), len(found))
    return found[:end]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_one(page: Path) -> None:
    for line, whole in shown(page):
        try:
            if whole:
                parse(words(line))
            else:
                find([word for word in words(line) if not word.startswith("-")])
        except Help:
            continue  # a noun alone, which shows what it can
