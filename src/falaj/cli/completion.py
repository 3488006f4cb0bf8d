"""Shell completion: the scripts ask `falaj __complete LINE`, so that all shells know the same, names included.

A line of candidates is printed for each; an error prints nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from falaj.cli.parser import find
from falaj.cli.spec import Arg, Command, Help, UsageError
from falaj.cli.table import COMMANDS, GLOBAL
from falaj.core.errors import FalajError

_PLAIN = re.compile(r"[\w./@:+-]{1,400}")  # nothing that a shell could act on
_FLAGS = {flag: arg for arg in GLOBAL for flag in arg.flag.split("/")}

SCRIPTS = {
    "bash": """\
_falaj() {
    local line=${COMP_LINE:0:COMP_POINT} candidate cut= part mark
    local word=${line##*[[:space:]]}
    for mark in @ : =; do
        if [[ $COMP_WORDBREAKS == *"$mark"* && $word == *"$mark"* ]]; then
            part=${word%"${word##*"$mark"}"}
            (( ${#part} > ${#cut} )) && cut=$part
        fi
    done
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate#"$cut"}")
    done < <("${COMP_WORDS[0]}" __complete "$line" 2>/dev/null)
}
complete -o default -F _falaj falaj""",
    "zsh": """\
#compdef falaj
_falaj() {
    local -a candidates
    candidates=("${(@f)$(falaj __complete "${LBUFFER}" 2>/dev/null)}")
    candidates=(${candidates:#})
    if (( ${#candidates} )); then compadd -Q -- $candidates; else _files; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _falaj "$@"; else compdef _falaj falaj; fi""",
    "fish": """\
function __falaj_complete
    falaj __complete (commandline -cp) 2>/dev/null
end
complete -c falaj -f -n '__falaj_complete | string length -q' -a '(__falaj_complete)'""",
}


def candidates(line: str) -> list[str]:
    """What may stand in place of the last word of a command line up to the cursor."""
    words = line.split()
    current = "" if not words or line[-1:].isspace() else words.pop()
    words = words[1:]  # the program itself
    found = _possible(words, current)
    return sorted({c for c in found if c.startswith(current) and _PLAIN.fullmatch(c)})


def _possible(words: list[str], current: str) -> Iterable[str]:
    lead, rest = _without_options(words)
    before = words[-1] if words else ""
    if before in _FLAGS and _FLAGS[before].type != "switch":
        return ()
    if not rest:
        return _next_words(rest, current)
    try:
        command, used = find(rest)
    except (UsageError, Help):  # the words are not complete yet
        return _next_words(rest, current)
    return [*_next_words(rest, current), *_of_command(command, rest[used:], current, lead)]


def _without_options(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The global options, wherever they stand, and the other words."""
    options: dict[str, Any] = {}
    rest = []
    following = iter(words)
    for word in following:
        if word not in _FLAGS:
            rest.append(word)
        elif _FLAGS[word].type != "switch":
            options[_FLAGS[word].dest] = next(following, "")
    return options, rest


def _next_words(words: list[str], current: str) -> list[str]:
    if current.startswith("-"):
        return list(_FLAGS)
    known = [c.words.split() for c in COMMANDS]
    return [k[len(words)] for k in known if len(k) > len(words) and k[: len(words)] == words]


def _of_command(command: Command, rest: list[str], current: str, options: dict[str, Any]) -> Iterable[str]:
    flags = {flag: arg for arg in command.args for flag in arg.flag.split("/") if flag}
    valued = {flag for flag, arg in flags.items() if arg.type not in ("switch", "off")}
    if current.startswith("-"):
        return [*flags, *_FLAGS]
    if rest and rest[-1] in valued:
        return _values(flags[rest[-1]], current, options)
    given = [w for i, w in enumerate(rest) if w not in flags and (i == 0 or rest[i - 1] not in valued)]
    positional = [arg for arg in command.args if not arg.flag]
    if not positional or (len(given) >= len(positional) and positional[-1].type != "many"):
        return ()
    return _values(positional[min(len(given), len(positional) - 1)], current, options)


def _values(arg: Arg, current: str, options: dict[str, Any]) -> Iterable[str]:
    if arg.choices:
        return arg.choices
    if arg.complete == "operation":
        return {command.operation for command in COMMANDS if command.operation}
    if arg.complete in ("thing", "kind"):
        with suppress(FalajError, OSError):
            return _names(arg.complete, current, options)
    return ()


def _names(what: str, current: str, options: dict[str, Any]) -> list[str]:
    from falaj.cli import target

    session = target.resolve(options).open()
    try:
        items = session.call("asset.list", {"limit": 500})["items"]
    finally:
        session.close()
    if what == "kind":
        return [i["kind"] for i in items]
    names = [(n, i) for i in items for n in (i["name"], f"{i['kind']}/{i['name']}")]
    bare = [n for n, i in names if "/" in current or "/" not in n]
    return bare + [f"{n}@{ref}" for n, i in names if current.startswith(n) for ref in i["refs"]]
