"""Write docs/cli.md from the table of commands, so that the page cannot differ from the program.

python -m scripts.cli_docs           write the page
python -m scripts.cli_docs --check   exit 1 where it is stale
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from falaj.cli import main as entry
from falaj.cli.spec import Arg, Command, metavar
from falaj.cli.table import COMMANDS, GLOBAL

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"

HEAD = """\
# The command line

<!-- Written by `python -m scripts.cli_docs` from the table of commands: change that, not this page. -->

`falaj [options] NOUN VERB …`: one command calls one operation, in the project folder (the nearest with a
`falaj.toml`, or the one of `-C`) or on a server. Results go to standard output, errors and progress to standard
error. With `--json` the same facts come as one line of JSON in printable ASCII, errors too (`code`, `message`,
`next_step`, `facts`, `status`), and nothing else is printed. On a terminal everything that came from data, from
other people or from a server is escaped: a name cannot move the cursor or turn its direction.
"""

ENVIRONMENT = (
    ("FALAJ_URL", "a server, as `--url`"),
    ("FALAJ_TOKEN", "the token for it; else `--token-file`, else what `falaj login` kept"),
    ("FALAJ_PROJECT", "the project, as `--project`"),
    ("FALAJ_DATABASE", "address of the metadata, where `falaj.toml` must not hold it because of its password"),
    ("FALAJ_PASSPHRASE, FALAJ_PASSPHRASE_FILE", "passphrase of the key file, where it has one"),
    ("FALAJ_DEBUG", "set: an error that nobody foresaw is printed with its traceback"),
    ("NO_COLOR", "set: no colours"),
    ("XDG_CONFIG_HOME", "where `falaj/credentials.toml` lies (default: `~/.config`)"),
)

COMPLETION = """\
## Completion

```
source <(falaj completion bash)                                            # in ~/.bashrc
falaj completion zsh > ~/.zfunc/_falaj                                     # a folder of $fpath
falaj completion fish > ~/.config/fish/completions/falaj.fish
```
The scripts ask the program itself, so they know the names of assets and refs too.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Options of every command\n", *_table(("option", ""), [(_flags(a), a.help) for a in GLOBAL])]
    parts += ["\n## Environment\n", *_table(("variable", ""), [(f"`{n}`", text) for n, text in ENVIRONMENT])]
    parts += ["\n## Exit codes\n", *_exit_codes(), f"\n{COMPLETION.rstrip()}"]
    for group in dict.fromkeys(command.group for command in COMMANDS):
        parts.append(f"\n## {group[0].upper()}{group[1:]}")
        for command in COMMANDS:
            if command.group == group:
                parts += _command(command)
    return "\n".join(parts).rstrip() + "\n"


def _command(command: Command) -> Iterator[str]:
    yield f"\n### falaj {command.words}\n"
    yield f"{command.summary}\n"
    yield f"```\n{_usage(command)}\n```"
    if command.args:
        yield ""
        yield from _table(("argument", ""), [(_flags(arg), _about(arg)) for arg in command.args])
    if command.examples:
        yield "\n```"
        yield from command.examples
        yield "```"
    told = f"Operation `{command.operation}`." if command.operation else f"No operation: it {command.local}."
    yield f"\n{told}"


def _usage(command: Command) -> str:
    words = [f"falaj {command.words}"]
    for arg in sorted(command.args, key=lambda a: bool(a.flag)):
        more = " …" if arg.type == "many" and not arg.flag else ""
        word = _flags(arg, plain=True) + more
        words.append(word if arg.need else f"[{word}]")
    return " ".join(words)


def _flags(arg: Arg, *, plain: bool = False) -> str:
    """`--reason REASON`; on the page in back quotes, `-q`, `--quiet` apart."""
    value = "|".join(arg.choices) or metavar(arg)
    if not arg.flag:
        return value if plain else f"`{value}`"
    valued = f" {value}" if arg.type not in ("switch", "off") else ""
    flags = arg.flag.split("/")
    return flags[-1] + valued if plain else ", ".join(f"`{flag}{valued}`" for flag in flags)


def _about(arg: Arg) -> str:
    return arg.help + ("" if arg.need or arg.flag or "default" in arg.help else " (may be left out)")


def _table(headings: tuple[str, str], rows: list[tuple[str, str]]) -> Iterator[str]:
    yield f"| {headings[0]} | {headings[1]} |".replace("|  |", "| |")
    yield "|---|---|"
    for name, about in rows:
        yield f"| {name.replace('|', chr(92) + '|')} | {about.replace('|', chr(92) + '|')} |"


def _exit_codes() -> list[str]:
    return re.findall(r"^\|.*\|$", entry.__doc__ or "", re.MULTILINE)


def main() -> int:
    """Write the page, or say whether it is stale."""
    if "--check" in sys.argv[1:]:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        if not fresh:
            print(f"{PAGE.name} is stale: python -m scripts.cli_docs")
        return 0 if fresh else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
