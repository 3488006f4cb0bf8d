"""The form of a declared command; see `table` for the commands themselves."""

from __future__ import annotations

from typing import Any, NamedTuple

from falaj.core.errors import Invalid


class UsageError(Invalid):
    """The command line is not one of ours."""

    code = "usage"


class Help(Exception):
    """A page of help was asked for: it is the answer."""

    def __init__(self, page: str) -> None:
        super().__init__("help")
        self.page = page


class Arg(NamedTuple):
    """One argument of a command.

    Attributes:
        dest: the operation's field; for a handler's own arguments, the name it reads.
        flag: `--reason` or `-r/--reason`; "" for a positional argument.
        type: "text", "int", "number", "switch" (true when given), "off" (false when given) or "many" (one or more).
        need: whether it must be given; positional arguments with `need` False may be left out.
    """

    dest: str
    help: str
    flag: str = ""
    type: str = "text"
    need: bool = True
    choices: tuple[str, ...] = ()
    metavar: str = ""
    complete: str = ""


class Command(NamedTuple):
    """One command.

    Attributes:
        words: what is typed.
        operation: the operation it calls; "" for one that calls none, with its reason in `local`.
        render: name of the renderer in `render.RENDERERS`.
        handler: `module:function` below `falaj.cli.commands` that works around the operation; "" calls it as it is.
        fixed: arguments of the operation that the command itself decides.
        scoped: the argument that is a scope, typed in its short form (see `scopes`); the project where it is left out.
        local: why there is no operation behind it.
    """

    words: str
    operation: str
    summary: str
    args: tuple[Arg, ...] = ()
    render: str = "plain"
    handler: str = ""
    examples: tuple[str, ...] = ()
    fixed: tuple[tuple[str, Any], ...] = ()
    scoped: str = ""
    local: str = ""
    group: str = ""


def option(dest: str, help: str, type: str = "text", **more: Any) -> Arg:
    """An argument with a flag of its own name, which may be left out."""
    return Arg(dest, help, "--" + dest.replace("_", "-"), type, False, **more)


def metavar(arg: Arg) -> str:
    """The word that stands for an argument's value."""
    return arg.metavar or arg.dest.upper()
