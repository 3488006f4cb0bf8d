"""How pipelines and their runs are told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from falaj.cli.render.shapes import Lines, entry_of, fields, indented, joined, printed_lines, short
from falaj.cli.text import counted, plain, safe, table

MAX_LOG_LINES = 20
MARKS = {"done": "✓", "cached": "=", "failed": "✗", "cancelled": "-", "lost": "?", "running": "…"}


def told_pipeline_run(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A run of a pipeline: each step with its time, what was not computed again, what was registered."""
    head = joined(
        f"{safe(result['pipeline'])} v{result['version']}",
        f"{counted(result['computed'], 'step')} computed" if result["computed"] else "nothing to compute",
        f"{result['cached']} as committed before" if result["cached"] else "",
        f"{result['seconds']:,.1f} s",
    )
    made = [f"registered  {short(thing).replace(':', ' v')}" for thing in result["registered"]]
    where = joined(f"run {safe(result['run'])}", f"falaj run show {safe(result['run'])}", entry_of(result))
    return [head, *indented(step_lines(result["steps"])), *made, where]


def step_lines(steps: Iterable[Mapping[str, Any]]) -> Lines:
    """Steps, one a line: name, how it went, time, what it came to, or why it failed."""
    rows = []
    for step in steps:
        error = step.get("error") or {}
        where = f" ({safe(error['where'])})" if error.get("where") else ""
        told = f"{safe(error.get('message', ''), 300)}{where}" if error else safe(step["output"])
        time = f"{step['seconds']:,.1f} s" if step["state"] == "done" else safe(step["state"])
        rows.append((f"{MARKS.get(step['state'], ' ')} {step_name(step)}", time, told))
    return table(rows, right=(1,))


def step_name(step: Mapping[str, Any]) -> str:
    """`train[31]`."""
    item = f"[{safe(step['label'] or step['item'])}]" if step["item"] >= 0 else ""
    return safe(step["step"]) + item


def told_pipeline(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A pipeline: parameters, steps, files."""
    head = joined(f"{safe(result['pipeline'])} v{result['version']}", safe(result["summary"]))
    rows = [
        (safe(node["id"]), ", ".join(safe(one) for one in node["takes"]), f"→ {safe(node['returns'])}")
        for node in result["nodes"]
    ]
    names = ("params", "files", "environment", "environments")
    about = fields((name, result[name]) for name in names)
    return [head, *indented(table(rows)), *indented(about)]


def told_cancelled(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A run that was cancelled."""
    return [joined(f"run {safe(result['run'])}", safe(result["state"]), entry_of(result))]


def told_begun(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A run that an engine works on: its steps in order, and the token, which is shown once."""
    head = joined(f"{safe(result['pipeline'])} v{result['version']}", f"run {safe(result['run'])}", entry_of(result))
    rows = [
        (
            safe(step["step"]),
            f"{step['items'] if step['items'] is not None else 'some'} items" if step["mapped"] else "",
            f"after {', '.join(safe(one) for one in step['after'])}" if step["after"] else "",
        )
        for step in result["steps"]
    ]
    token = [f"token  {safe(result['token'])}   until {safe(result['expires_at'])}"] if result["token"] else []
    each = f"falaj step run --run {safe(result['run'])} --step STEP [--item I] --attempt 1"
    return [head, *indented(table(rows)), *token, each]


def told_step_ended(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """How an attempt ended, and its run where it ended with it."""
    name = step_name({"step": result["step"], "item": result["item"], "label": result.get("label", "")})
    run = f"run {safe(result['run'])} is {safe(result['run_state'])}" if result.get("run_state") else ""
    head = joined(f"{MARKS.get(result['state'], ' ')} {name}", safe(result["state"]), safe(result["output"]), run)
    return [head, *indented(printed_lines(result.get("log")))]


def told_step_items(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The items of a step, each by its place and what it is mapped over."""
    if not result["is_known"]:
        return [f"{safe(result['step'])}: not known yet"]
    rows = [(str(place), safe(label)) for place, label in zip(result["items"], result["labels"], strict=True)]
    return table(rows)


def told_watched(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """How a run that was followed ended."""
    count = counted(result["steps"], "step") if result["steps"] else ""
    return [joined(f"run {safe(result['run'])}", safe(result["name"]), safe(result["state"]), count)]


def told_explained(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Each attempt of a run: how it went, why it was computed; what the failed ones printed, or those of one step."""
    lines = [joined(f"run {safe(result['run'])}", safe(result["pipeline"]), safe(result["state"]))]
    rows = []
    for one in result["steps"]:
        step = one["step"]
        time = f"{step['seconds']:,.1f} s" if step["state"] != "cached" else ""
        because = ", ".join(safe(word) for word in one["because"])
        metrics = "  ".join(f"{safe(k)} {plain(v)}" for k, v in list(one["metrics"].items())[:4])
        mark = MARKS.get(step["state"], " ")
        rows.append((f"{mark} {step_name(step)}", safe(step["state"]), time, because, safe(step["output"]), metrics))
    lines += indented(table(rows, right=(2,)))
    for one in result["steps"]:
        if error := one["step"]["error"]:
            where = f" ({safe(error['where'])})" if error.get("where") else ""
            attempt = f", attempt {one['step']['attempts']}" if one["step"]["attempts"] > 1 else ""
            lines.append(f"{step_name(one['step'])}{attempt}: {safe(error['message'], 1000)}{where}")
        elif given.get("step") and one["step"]["log"]:
            lines.append(f"{step_name(one['step'])}:")
        if error or given.get("step"):
            lines += indented(safe(line, 300) for line in one["step"]["log"].splitlines()[-MAX_LOG_LINES:])
    return lines


def told_compared(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What differs between two runs."""
    rows = [(safe(d["what"]), _compared(d["one"]), _compared(d["other"])) for d in result["differences"]]
    head = joined(counted(len(rows), "difference"), f"{result['same']} the same")
    return [head, *indented(table(rows, ("", safe(result["run"]), safe(result["other"])) if rows else ()))]


def _compared(value: Any) -> str:
    """A fact of a run; of a digest as much as tells it from another."""
    return safe(value, 19 if str(value).startswith("sha256:") else 60) or "-"


def told_reproduced(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A run that was computed again: which outputs are what they were."""
    rows = [
        (
            f"{'=' if one['same'] else '≠'} {step_name(one)}",
            safe(one["digest_again"])[:19],
            "" if one["same"] else f"was {safe(one['digest'])[:19] or 'nothing'}",
        )
        for one in result["steps"]
    ]
    same = sum(one["same"] for one in result["steps"])
    head = joined(
        f"run {safe(result['run'])}",
        "reproduced" if result["ok"] else "not reproduced",
        f"{same} of {counted(len(rows), 'output')} as they were",
        f"{safe(result['environment'])} environment",
        f"{result['seconds']:,.1f} s",
    )
    return [head, *indented(table(rows)), joined(f"as run {safe(result['again'])}", entry_of(result))]
