"""How triggers and their starts are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.shapes import Lines, entry_of, indented, joined, short
from falaj.cli.text import counted, plain, safe, table

_NEXT_STEPS = {"open": "falaj approve {}", "stale": "falaj proposal show {}"}
_BECAME = {
    "promote": "promoted",
    "move": "promoted",
    "proposed": "proposed",
    "rollout": "rolling out",
    "unchanged": "holds the ref already",
}


def told_triggers(result: Any, given: Mapping[str, Any]) -> Lines:
    """Each trigger with its newest starts."""
    lines: Lines = []
    for one in result:
        lines += [_head(one), *indented(table([_cells(start) for start in one["history"]], right=(0,)))]
        waiting = f"{counted(one['causes'], 'cause')} not noted yet   falaj watch" if one["causes"] else ""
        lines += indented([waiting] if waiting else [])
    return lines or ["no trigger is in force   write triggers.yaml, then falaj apply"]


def _head(one: Mapping[str, Any]) -> str:
    causes = f" {safe(one['needs'])} ".join(safe(text) for text in one["conditions"])
    return joined(
        f"{safe(one['trigger'])} v{one['version']}",
        causes.replace(" any ", " or ").replace(" all ", " and "),
        f"starts {safe(one['start'])}",
        f"proposes {safe(one['propose'])}" if one["propose"] else "",
        f"as {safe(one['acts_as'])}" if one["acts_as"] else "",
        "each cause" if one["starts"] == "each" else "",
        "paused" if one["paused"] else "",
        f"not there: {', '.join(safe(name) for name in one['absent'])}" if one["absent"] else "",
    )


def _cells(start: Mapping[str, Any]) -> tuple[str, ...]:
    cause = f"entry {plain(start['cause_entry'], 'leaf')}" if start["cause_entry"] is not None else "entry …"
    why = ", ".join(safe(text) for text in start["conditions"]) or "fired"
    return (str(start["number"]), safe(start["state"]), plain(start["noted_at"]), f"{cause}  {why}", _came_to(start))


def _came_to(start: Mapping[str, Any]) -> str:
    """What a start came to, or how far it came."""
    if start["covered_by"] is not None:
        return f"start {start['covered_by']} stands for it"
    registered = short(start["registered"]).replace(":", " v") if start["registered"] else ""
    became = _BECAME.get(start["became"], safe(start["became"]))
    run = f"run {safe(start['runs'][-1])}" if start["runs"] and not registered else ""
    again = f"attempt {start['attempt']}" if start["attempt"] > 1 else ""
    if error := start["error"]:
        verdict = f"falaj gate show {safe(start['verdicts'][0])}" if start["verdicts"] else ""
        return joined(registered, safe(error.get("message", ""), 300), run, again, verdict)
    if start["stands"]:
        became = f"{became} ({safe(start['stands'])})"
    next_step = _NEXT_STEPS.get(start["stands"], "").format(safe(start["proposal"] or ""))
    return joined(registered, became, run, again, next_step)


def told_start(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A start that a person asked for."""
    start = result["outcome"]
    if start["state"] == "due":
        return [joined(f"{safe(result['trigger'])} start {start['number']}", "waits for the one that is underway")]
    head = joined(f"{safe(result['trigger'])} start {start['number']}", safe(start["state"]), _came_to(start))
    return [head, *([told] if (told := entry_of(result)) else [])]
