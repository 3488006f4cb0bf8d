"""How errors and findings are told: what failed with its numbers, what became of it, where to look. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from falaj.cli.render.shapes import Lines, indented, printed_lines, short
from falaj.cli.text import counted, plain, safe, table
from falaj.core.errors import FalajError, Refused

MAX_FINDINGS = 50
MAX_STEPS = 20


def error_lines(error: FalajError, *, colour: bool = False) -> Lines:
    """An error as people read it: `refused` or `error`, what failed, the next step, the entry, the code."""
    word = "refused" if error.exit_code == Refused.exit_code else "error"
    head = f"\x1b[1;31m{word}\x1b[0m" if colour else word
    lines = [f"{head}  {safe(error.message, 1000)}", *indented(finding_lines(failed_findings(error.facts)))]
    lines += _step_lines(error.facts)
    if kept := error.facts.get("kept_as"):
        lines.append(
            f"nothing moved under {short(error.facts.get('ref', 'the ref'))}; what was refused is kept as {safe(kept)}"
        )
    return lines + table([*_where(error), ("code", safe(error.code))])


def _step_lines(facts: Mapping[str, Any]) -> Lines:
    """Of a run whose step failed: its steps, and the last that the first failed one printed."""
    return [*_listed_steps(facts.get("steps")), *printed_lines(facts.get("log"))]


def _listed_steps(steps: Any) -> Lines:
    if not isinstance(steps, list) or not all(isinstance(one, Mapping) and "seconds" in one for one in steps):
        return []
    from falaj.cli.render.pipelines import step_lines

    shown = [one for one in steps if one["state"] not in ("waiting", "ready")]
    shown = sorted(shown, key=lambda one: one["state"] == "failed")[-MAX_STEPS:]
    waiting = len(steps) - len([one for one in steps if one["state"] not in ("waiting", "ready")])
    lines = indented(step_lines([{**one, "error": None} for one in shown]))
    if waiting:
        lines.append(f"  {counted(waiting, 'step')} not begun")
    return lines


def _where(error: FalajError) -> list[tuple[str, str]]:
    facts = error.facts
    told = [("next", safe(error.next_step, 1000))] if error.next_step else []
    if facts.get("kept_as") and facts.get("dataset") and facts.get("version"):
        see = f"falaj data contract show {safe(facts['dataset'])} --version {plain(facts['version'], 'version')}"
        told.append(("see", see))
    if facts.get("verdict"):
        told.append(("see", f"falaj gate show {safe(facts['verdict'])}"))
    entry = facts.get("entry") if facts.get("entry") is not None else facts.get("entry_id")
    return told + [(k, plain(v, "leaf")) for k, v in (("entry", entry), ("run", facts.get("run"))) if v is not None]


def failed_findings(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The findings that an error carries: those that did not pass."""
    for key in ("findings", "failed"):
        found = facts.get(key)
        if isinstance(found, list | tuple):
            return [f for f in found if isinstance(f, Mapping) and not f.get("passed") and _is_decided(f)]
    return []


def _is_decided(finding: Mapping[str, Any]) -> bool:
    """Not an approval that waits, or that nobody asks for."""
    return finding.get("state") not in ("pending", "not_needed")


def finding_lines(findings: Sequence[Mapping[str, Any]], *, states: bool = False) -> Lines:
    """What was found for each rule, in columns: the rule, the value, on what.

    Args:
        states: begin each line with passed, failed, waived, …
    """
    rows: list[tuple[str, ...]] = []
    for finding in findings[:MAX_FINDINGS]:
        state = (safe(finding.get("state") or "").replace("_", " "),) if states else ()
        rows += [(*(state if not at else ("",) * len(state)), *row) for at, row in enumerate(_rows(finding))]
    rest = len(findings) - MAX_FINDINGS
    return table(rows) + ([f"… and {rest:,} more; --json shows all"] if rest > 0 else [])


def _rows(finding: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """One row for a rule, or one for each slice that its text names, the rule's title on the first alone."""
    title = safe(finding.get("title") or finding.get("rule") or "rule")
    text = str(finding.get("text") or "")
    if not finding.get("state"):
        value = safe(text) if text else _measured(finding)
        return [(title, value, "warning" if finding.get("severity") == "warning" else "")]
    rows = []
    for at, part in enumerate(text.split("; ")):  # of a gate: `LGA 0.641 < 0.66, 8,214 rows; JFK …`
        value, _, rest = part.partition(", ")
        rows.append((title if not at else "", safe(value), safe(rest)))
    return rows


def _measured(finding: Mapping[str, Any]) -> str:
    """The number and what it had to be, of a finding without words."""
    if finding.get("observed") is None:
        return ""
    bound = finding.get("bound")
    return plain(finding["observed"]) + (f" ({safe(bound)})" if isinstance(bound, str) and bound else "")
