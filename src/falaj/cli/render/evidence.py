"""What a verdict rests on, as lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.rooms import told_verdict
from falaj.cli.render.shapes import Lines, entry_of, indented, joined, short
from falaj.cli.text import counted, number, plain, safe, table

CHECK = "docs/stranger_evidence.py checks it without Falaj"


def told_evidence(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The evidence of a verdict, or what measuring it once more came to."""
    if "form" not in result:
        return _checked_lines(result)
    lines = told_verdict(result["verdict"], given)
    lines += ["rests on", *indented(table([_part(part) for part in result["parts"]]))]
    lines += _persons(result)
    proved = [entry for entry in result["entries"] if entry["path"]]
    told = f"{len(proved)} of {counted(len(result['entries']), 'entry')} proved under the signed head of"
    lines.append(f"{told} {number(result['size'])}")
    lines += indented(table([(plain(e["leaf"], "leaf"), safe(e["what"]), safe(e["why"])) for e in proved], right=(0,)))
    lines += [f"missing  {safe(one)}" for one in result["missing"]]
    if result.get("checked"):
        lines += _checked_lines(result["checked"])
    if result.get("folder"):
        lines += [f"written to {safe(result['folder'])}", f"see    index.html; {CHECK}"]
    return lines


def _part(part: Mapping[str, Any]) -> tuple[str, ...]:
    rows = "" if part.get("rows") is None else f"{number(part['rows'])} rows"
    moved = part.get("moved") or {}
    since = f"in force since {plain(moved['at'])} by {safe(moved['by'])}" if moved else f"by {safe(part['by'])}"
    approved = f"approved by {plain(moved['approved_by'])}" if moved.get("approved_by") else ""
    state = "" if part["state"] == "live" else safe(part["state"])
    told = ", ".join(one for one in (rows, since, approved, state) if one)
    return safe(part["role"]), short(part["thing"]), safe(part["digest"])[:23], told


def _persons(result: Mapping[str, Any]) -> Lines:
    rows = [("proposed", safe(result["proposed_by"]), safe(result["reason"]))] if result["proposal"] else []
    rows += [("approved", safe(a["by"]), f"{plain(a['at'])} as {plain(a['roles'])}") for a in result["approvals"]]
    if moved := result["moved"]:
        rows.append(("moved", safe(moved["by"]), f"{plain(moved['at'])} {safe(moved['sort'])}"))
    return table(rows)


def _checked_lines(result: Mapping[str, Any]) -> Lines:
    head = f"{short(result['thing'])}  v{result['version']}"
    word = "not measured" if not result["measured"] else "the same figures" if result["same"] else "differs"
    lines = [joined(head, f"measured again: {word}", entry_of(result))]
    shown = [one for one in result["rules"] if result["measured"]]
    rows = [(safe(r["outcome"]).replace("_", " "), safe(r["rule"]), safe(r["now"])) for r in shown]
    lines += indented(table(rows))
    for rule in (one for one in shown if one["outcome"] == "differs"):
        lines.append(f"  then: {safe(rule['rule'])}: {safe(rule['then'])}")
    lines += [f"  {safe(name)} was {safe(then)}, is {safe(now)}" for name, (then, now) in result["program"].items()]
    return lines + [f"  missing  {safe(one)}" for one in result["missing"]]
