"""From words to a command: which one is meant, and the pages of help. `arguments` reads the rest of the line.

Global options may stand before or after the command's words. Help and completion need no more than this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from falaj.cli.spec import Command, Help, UsageError, metavar
from falaj.cli.table import COMMANDS, GLOBAL

_BY_WORDS = {tuple(c.words.split()): c for c in COMMANDS}
_LONGEST = max(map(len, _BY_WORDS))
_VALUED = frozenset(flag for arg in GLOBAL if arg.type != "switch" for flag in arg.flag.split("/"))


class Given(NamedTuple):
    """What was typed.

    Attributes:
        options: the global options, by name; those not given are missing.
        args: the command's own arguments; those not given are missing.
    """

    command: Command
    options: dict[str, Any]
    args: dict[str, Any]


def parse(argv: Sequence[str]) -> Given:
    """Read a command line.

    Raises: UsageError, with the nearest command as next step; Help where help was asked for.
    """
    if argv and argv[0] == "help":
        argv = [*argv[1:], "--help"]
    start = _first_word(argv)
    lead, words = list(argv[:start]), list(argv[start:])
    if not words:
        if lead and not {"-h", "--help"} & set(lead):
            if "--version" in lead:
                return Given(_BY_WORDS["version",], {}, {})
            raise UsageError("a command is expected", next_step="falaj --help")
        raise Help(overview())
    command, used = find(words)
    from falaj.cli.arguments import read  # argparse: only for a command that is done

    return Given(command, *read(command, [*lead, *words[used:]]))


def find(words: Sequence[str]) -> tuple[Command, int]:
    """The command with the longest match, and how many words it takes. Raises: UsageError, Help for a noun alone."""
    for length in range(min(_LONGEST, len(words)), 0, -1):
        if command := _BY_WORDS.get(tuple(words[:length])):
            return command, length
    if len(words) > 1 and words[1] == "list" and words[0].replace("_", "").isalpha():
        return kind_list(words[0]), 2
    below = [c for c in COMMANDS if c.words.split()[0] == words[0]]
    if below and (len(words) == 1 or words[1] in ("-h", "--help")):
        raise Help("\n".join(_listed(below)))
    raise UsageError(
        f"no such command: {' '.join(words[: 2 if below else 1])[:60]!r}",
        next_step=_nearest(words) or "falaj --help",
    )


def kind_list(kind: str) -> Command:
    """`falaj KIND list`: the list of assets with its kind decided."""
    base = _BY_WORDS["asset", "list"]
    args = tuple(arg for arg in base.args if arg.dest != "kind")
    return base._replace(words=f"{kind} list", args=args, fixed=(("kind", kind),), examples=())


def overview() -> str:
    """The page of `falaj --help`: every command in its group, then the global options."""
    lines = [
        "usage: falaj [-C DIR] [--url URL] [--json] … COMMAND …",
        "",
        "One governed channel from data to prediction and back.",
    ]
    for group in dict.fromkeys(c.group for c in COMMANDS):
        lines += ["", group, *_listed([c for c in COMMANDS if c.group == group])]
    lines += ["", "everywhere"]
    named = [(", ".join(a.flag.split("/")) + (f" {metavar(a)}" if a.type != "switch" else ""), a.help) for a in GLOBAL]
    lines += [f"  {name:<22}{about}" for name, about in named]
    return "\n".join([*lines, "", "falaj COMMAND --help says more about one of them."])


def _listed(commands: Sequence[Command]) -> list[str]:
    return [f"  {c.words:<22}{c.summary}" for c in commands]


def _first_word(argv: Sequence[str]) -> int:
    at = 0
    while at < len(argv) and argv[at].startswith("-") and argv[at] != "-":
        at += 2 if argv[at] in _VALUED else 1
    return min(at, len(argv))


def _nearest(words: Sequence[str]) -> str:
    import difflib  # only to help after a mistake

    known = [c.words for c in COMMANDS]
    for count in (2, 1):
        if close := difflib.get_close_matches(" ".join(words[:count]), known, n=1):
            return f"falaj {close[0]} --help"
    return ""
