"""Entry point of `falaj`: parse, call one operation through a session, render; map every error to its exit code.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | an error of Falaj itself (`internal`) |
| 2 | the command line, an argument or a file has the wrong form |
| 3 | no such thing, or not for you |
| 4 | not allowed, or no valid token |
| 5 | the state is not the one expected; ask again |
| 6 | refused by a gate, contract, policy or residency rule |
| 7 | stored bytes, rows or entries are damaged; a verification found problems |
| 8 | a part that is needed is away; later it may work |
| 9 | an extra or an outside program is not installed |
| 130 | stopped by Ctrl-C |
| 141 | the reader of the output went away |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from falaj.cli.parser import Given, parse
from falaj.cli.spec import Help
from falaj.core.errors import Damaged, FalajError

STOPPED, NO_READER = 130, 141


class Internal(FalajError):
    """An error that Falaj did not foresee."""

    code = "internal"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    try:
        code = _answer(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains while it ends
        return NO_READER
    except KeyboardInterrupt as stop:
        run = getattr(stop, "run", "")  # of a server that goes on with it
        goes_on = f"; the server goes on: falaj run watch {run}, or falaj run cancel {run}" if run else ""
        print(f"stopped{goes_on}", file=sys.stderr)
        return STOPPED


def _answer(words: list[str]) -> int:
    as_json = "--json" in words
    if words[:1] == ["__complete"]:
        from falaj.cli.completion import candidates

        print("\n".join(candidates(" ".join(words[1:]))))
        return 0
    try:
        given = parse(words)
        result = run(given)
        lines = [to_json(result)] if as_json else _lines(given, result)
    except Help as asked:
        print(asked.page)
        return 0
    except FalajError as error:
        return _tell(error, as_json, words)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001  the one edge of the command line
        return _tell(_internal(error), as_json, words)
    if as_json or "quiet" not in given.options:
        for line in lines:
            print(line)
    return Damaged.exit_code if isinstance(result, dict) and result.get("ok") is False else 0


def run(given: Given) -> Any:
    """Do the command; returns its result in plain values. Raises: FalajError."""
    from importlib import import_module

    command = given.command
    args = {**dict(command.fixed), **given.args}
    handler = None
    if command.handler:
        module, _, function = command.handler.partition(":")
        handler = getattr(import_module(f"falaj.cli.commands.{module}"), function)
    if handler is not None and not command.operation:
        return handler(given.options, args)

    from falaj.cli import target
    from falaj.cli.progress import Reporter

    session = target.resolve(given.options).open()
    try:
        if command.scoped:
            from falaj.cli.scopes import scope

            args[command.scoped] = scope(session.project, args.get(command.scoped, ""))
        shown = not given.options.keys() & {"json", "quiet"}
        with Reporter(shown=shown, colour=_coloured(given.options, sys.stderr)) as progress:
            if handler is not None:
                return handler(session, given.options, args, progress)
            return session.call(command.operation, args, progress=progress)
    finally:
        session.close()


def to_json(value: Any) -> str:
    """One line of JSON that is safe to print: everything beyond printable ASCII is escaped."""
    import json

    return json.dumps(value, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")


def _lines(given: Given, result: Any) -> list[str]:
    from falaj.cli.render import BARE, RENDERERS
    from falaj.cli.render.shapes import indented

    lines = RENDERERS[given.command.render](result, given.args)
    return lines if given.command.render in BARE else indented(lines)


def _internal(error: Exception) -> FalajError:
    if os.environ.get("FALAJ_DEBUG"):
        import traceback

        traceback.print_exception(error)
    return Internal(f"{type(error).__name__}: {error}", next_step="FALAJ_DEBUG=1 shows where; please report it")


def _tell(error: FalajError, as_json: bool, words: list[str]) -> int:
    if as_json:
        print(to_json({"status": error.status, **error.as_dict()}))
        return error.exit_code
    from falaj.cli.render import error_lines
    from falaj.cli.render.shapes import indented

    colour = _coloured({"no_color": True} if "--no-color" in words else {}, sys.stderr)
    sys.stdout.flush()
    for line in indented(error_lines(error, colour=colour)):
        print(line, file=sys.stderr)
    return error.exit_code


def _coloured(options: dict[str, Any], stream: Any) -> bool:
    return not (options.get("no_color") or os.environ.get("NO_COLOR")) and stream.isatty()


if __name__ == "__main__":
    sys.exit(main())
