"""The arguments of one command, by argparse. Loaded only when a command is done, not for help or completion."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from falaj.cli.spec import Arg, Command, Help, UsageError, metavar
from falaj.cli.table import GLOBAL

_GLOBAL_NAMES = frozenset(arg.dest for arg in GLOBAL)


def read(command: Command, line: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The global options and the command's own arguments; those not given are missing.

    Raises: UsageError; Help where it was asked for.
    """
    found = vars(parser_of(command).parse_args(line))
    args = {
        name.removeprefix("arg_"): value
        for name, value in found.items()
        if name not in _GLOBAL_NAMES and value is not None and value != []
    }
    for arg in command.args:
        if arg.complete not in ("file", "folder"):  # the bytes of a path need not be text
            _check_text(arg, args.get(arg.dest))
    return {name: value for name, value in found.items() if name in _GLOBAL_NAMES}, args


def _check_text(arg: Arg, value: Any) -> None:
    for text in value if isinstance(value, list) else (value,):
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UsageError(
                    f"{arg.flag or metavar(arg)}: {text[:40]!a} is not text in UTF-8",
                    next_step="set the terminal and its locale to UTF-8",
                ) from None


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
        more["metavar"] = metavar(arg)
    if arg.type in ("int", "number"):
        more["type"] = _whole if arg.type == "int" else _number
    if arg.flag:
        parser.add_argument(*arg.flag.split("/"), action="append" if arg.type == "many" else "store", **more)
    elif arg.type == "many":
        parser.add_argument(dest, nargs="+" if arg.need else "*", **more)
    else:
        parser.add_argument(dest, **more if arg.need else {**more, "nargs": "?", "default": None})


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
