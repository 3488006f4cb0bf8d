"""From words to a command and its arguments. Only the parser of the command at hand is built.

Global options may stand before or after the command's words.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from falaj.cli.spec import Arg, Command
from falaj.cli.table import COMMANDS, GLOBAL
from falaj.core.errors import Invalid

_BY_WORDS = {tuple(c.words.split()): c for c in COMMANDS}
_LONGEST = max(map(len, _BY_WORDS))
_GLOBAL_NAMES = frozenset(arg.dest for arg in GLOBAL)
_VALUED = frozenset(flag for arg in GLOBAL if arg.type != "switch" for flag in arg.flag.split("/"))


class UsageError(Invalid):
    """The command line is not one of ours."""

    code = "usage"


class Help(Exception):
    """A page of help was asked for: it is the answer."""

    def __init__(self, page: str) -> None:
        super().__init__("help")
        self.page = page


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
    start = _first_word(argv)
    lead, words = list(argv[:start]), list(argv[start:])
    if not words:
        if lead and not {"-h", "--help"} & set(lead):
            if "--version" in lead:
                return Given(_BY_WORDS["version",], {}, {})
            raise UsageError("a command is expected", next_step="falaj --help")
        raise Help(overview())
    command, used = find(words)
    parser = parser_of(command)
    found = vars(parser.parse_args([*lead, *words[used:]]))
    return Given(
        command,
        {name: value for name, value in found.items() if name in _GLOBAL_NAMES},
        {
            name.removeprefix("arg_"): value
            for name, value in found.items()
            if name not in _GLOBAL_NAMES and value is not None and value != []
        },
    )


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


def parser_of(command: Command) -> argparse.ArgumentParser:
    """The parser of one command, with the global options."""
    parser = _Parser(
        prog=f"falaj {command.words}",
        description=command.summary,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in command.examples) if command.examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for arg in command.args:
        _add(parser, arg, "arg_" + arg.dest)
    group = parser.add_argument_group("everywhere")
    for arg in GLOBAL:
        _add(group, arg, arg.dest)
    return parser


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
    named = [(", ".join(a.flag.split("/")) + (f" {_metavar(a)}" if a.type != "switch" else ""), a.help) for a in GLOBAL]
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, next_step=f"{self.prog} --help")

    def print_help(self, file: Any = None) -> None:
        raise Help(self.format_help().rstrip())


def _add(parser: Any, arg: Arg, dest: str) -> None:
    more: dict[str, Any] = {"help": arg.help.replace("%", "%%")}
    if arg.choices:
        more["choices"] = arg.choices
    if arg.flag:
        more["dest"] = dest
        if arg.need:
            more["required"] = True
    if arg.type == "switch":
        parser.add_argument(*arg.flag.split("/"), action="store_true", **more)
        return
    if arg.type == "off":
        parser.add_argument(*arg.flag.split("/"), action="store_false", **more)
        return
    if not arg.choices:
        more["metavar"] = _metavar(arg)
    if arg.type in ("int", "number"):
        more["type"] = _whole if arg.type == "int" else _number
    if arg.flag:
        parser.add_argument(*arg.flag.split("/"), action="append" if arg.type == "many" else "store", **more)
    elif arg.type == "many":
        parser.add_argument(dest, nargs="+" if arg.need else "*", **more)
    else:
        parser.add_argument(dest, **more if arg.need else {**more, "nargs": "?", "default": None})


def _metavar(arg: Arg) -> str:
    return arg.metavar or arg.dest.upper()


def _whole(text: str) -> int:
    try:
        return int(text.removeprefix("v"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is expected, not {text[:40]!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is expected, not {text[:40]!r}") from None
