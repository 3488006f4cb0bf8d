"""Results as lines of a terminal and as the page docs/benchmarks.md. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTHS = (62, 18, 12, 8, 8)
Result = Mapping[str, Any]

PAGE_HEAD = """# Benchmarks

Written by `python -m benchmarks --write`. Each value stands beside a bare limit of the same run, from
`benchmarks/limits/`: the least that the same libraries, settings and durability ask for. Value and limit take turns,
each figure is the median of its turns, and the ratio is of the two medians, so a busy machine slows both. The load
tells how busy it was (one minute, before and after, what the benchmark itself starts included): figures of processor
time bear it well, those of elapsed time and of throughput less.

Repeat one: `.venv/bin/python -m benchmarks ref_move`. Sizes, rounds and spreads are in `build/bench/NAME.json`.
"""


def machine_line(machine: Mapping[str, str]) -> str:
    """The machine in one line."""
    versions = [f"Python {machine['python']}", f"SQLite {machine['sqlite']}", f"PostgreSQL {machine['postgresql']}"]
    return f"{machine['processor']}, {machine['memory']}, {', '.join(versions)}, {machine['system']}"


def heading() -> str:
    """The columns of `lines`."""
    return _columns("", "value", "bare limit", "ratio", "bar") + "  load"


def lines(made: Result) -> Iterator[str]:
    """One result: its bars, then what is recorded beside."""
    load = f"{made['load']['before']:g} → {made['load']['after']:g}"
    for bar in made["bars"]:
        cells = (bar["what"], _value(bar), _number(bar["limit"]), _ratio(bar), _asked(bar))
        yield f"{_columns(*cells)}  {'ok' if bar['ok'] else 'OVER'}, {load}"
    for other in made["recorded"]:
        cells = (f"  {other['what']}", _value(other), _number(other["limit"]), _ratio(other), "")
        yield f"{_columns(*cells)}  {load}"


def page(results: Sequence[Result]) -> str:
    """The whole page."""
    parts = [
        PAGE_HEAD,
        "## Bars\n",
        _table(("bar", "value", "bare limit", "ratio", "asked", "", "load"), _bars(results)),
    ]
    parts += ["## Recorded beside them\n", _table(("figure", "value", "bare limit", "ratio", "load"), _others(results))]
    parts += ["## Where\n", *_machines(results)]
    return "\n".join(parts)


def _bars(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for made in results:
        for bar in made["bars"]:
            held = "holds" if bar["ok"] else "**does not hold**"
            yield (bar["what"], _value(bar), _number(bar["limit"]), _ratio(bar), _asked(bar), held, _load(made))


def _others(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for made in results:
        for other in made["recorded"]:
            yield (other["what"], _value(other), _number(other["limit"]), _ratio(other), _load(made))


def _machines(results: Sequence[Result]) -> Iterator[str]:
    """Each machine once, with the names and days of what ran on it."""
    found: dict[str, list[str]] = {}
    for made in results:
        found.setdefault(machine_line(made["machine"]), []).append(f"{made['name']} ({made['at']})")
    for machine, names in found.items():
        yield f"{machine}: {', '.join(names)}.\n"
    facts = {made["name"]: made["facts"] for made in results}
    settings = facts.get("writers", {}).get("settings")
    if settings:
        yield f"PostgreSQL's settings: `{json.dumps(settings)}`.\n"


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    rule = "|".join(["---"] + ["---:"] * 3 + ["---"] * (len(head) - 4))
    return "\n".join([_row(head), f"|{rule}|", *(_row(row) for row in rows), ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _columns(what: str, *cells: str) -> str:
    return what.ljust(WIDTHS[0]) + "".join(f" {cell:>{width}}" for cell, width in zip(cells, WIDTHS[1:], strict=True))


def _load(made: Result) -> str:
    return f"{made['load']['before']:.1f} → {made['load']['after']:.1f}"


def _value(figure: Mapping[str, Any]) -> str:
    return f"{_number(figure['value'])} {figure['unit']}"


def _number(value: float | None) -> str:
    """At least the digits that matter: whole from a hundred, with thousands parted."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ratio(figure: Mapping[str, Any]) -> str:
    return "" if figure["ratio"] is None else f"{figure['ratio']:.2f}"


def _asked(bar: Mapping[str, Any]) -> str:
    at_most, at_least = bar["at_most"], bar["at_least"]
    return f"≤ {at_most:g}" if at_most is not None else f"≥ {at_least:g}"
