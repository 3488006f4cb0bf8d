"""How predictions are told: as they were logged, and what one came from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.shapes import Lines, indented, joined
from falaj.cli.text import plain, safe, table

SHOWN = 10


def told_prediction(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The answer; then, a line each, what it came from and who let the model in."""
    rows = result["rows"]
    model = f"{safe(result['model'])} v{result['version']}"
    told = f"{safe(result['deployment'])} revision {result['revision']}, {safe(result['role'])}"
    head = joined(_answer(rows[0]), model, told, plain(result["at"]), f"{result['ms']:.3g} ms")
    more = [f"row {row['row']}   {_answer(row)}" for row in rows[1:SHOWN]]
    more += [f"and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    about = [*_made(result.get("made") or {}), *_admitted(result.get("admitted") or {})]
    about += [("before", safe(result.get("failed_first") or ""))]
    about += [("found in", safe(result["where"])), *(("problem", safe(p, 1000)) for p in result["problems"])]
    return [head, *indented(more), *indented(table([(name, value) for name, value in about if value]))]


def _answer(row: Mapping[str, Any]) -> str:
    return f"{row['output']:.4g}" if row.get("output") is not None else f"failed: {safe(row.get('error') or '')}"


def _made(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not made:
        return []
    services = [_version(one) for one in made["features"] if one.startswith("feature_service/")]
    views = [_version(one) for one in made["features"] if one.startswith("feature_view/")]
    features = ", ".join(services) + (f" ({', '.join(views)})" if views else "")
    run = safe(made["run"]) + (f" ({safe(made['run_name'])})" if made["run_name"] else "")
    of = f"of pipeline run {safe(made['pipeline_run'])}" if made["pipeline_run"] else ""
    clean = {True: " (clean)", False: " (changed)", None: ""}[made["clean"]]
    return [
        ("features", features),
        ("data", ", ".join(_version(one) for one in made["data"])),
        ("trained", joined(f"run {run}" if made["run"] else "", of)),
        ("code", f"{safe(made['code'][:19])}{clean}" if made["code"] else ""),
        ("environment", safe(made["environment"][:19])),
        ("registered", f"{plain(made['at'])} by {safe(made['by'])}"),
    ]


def _admitted(admitted: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not admitted:
        return []
    approved = f"approved by {plain(admitted['approved_by'])}" if admitted["approved_by"] else "no approval asked for"
    approved = "approval waived" if admitted["waived"] else approved
    by = ", ".join(f"gate {safe(one)}" for one in admitted["gates"])
    verdicts = f"verdict{'' if len(admitted['verdicts']) == 1 else 's'} {', '.join(map(safe, admitted['verdicts']))}"
    how = f"by rollout {safe(admitted['rollout'])}" if admitted["rollout"] else ""
    return [
        ("let in", joined(f"{safe(admitted['ref'])} {plain(admitted['at'])}", how)),
        ("", joined(by, verdicts)),
        ("", f"proposed by {safe(admitted['proposed_by'])}, {approved}"),
    ]


def _version(thing: str) -> str:
    """`flights v9` of `dataset/flights:9`."""
    name, _, number = thing.rpartition("/")[2].rpartition(":")
    return f"{safe(name)} v{safe(number)}" if name else safe(thing)


def told_log(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A line for each prediction; then how to go on."""
    lines = logged(result)
    if not lines:
        collected = f"{safe(str(given.get('deployment', '')).partition('/')[0])}_predictions"
        return [f"nothing of that is in the log here; what was collected from it is the dataset {collected}"]
    return lines


def logged(result: Mapping[str, Any]) -> Lines:
    """A line for each prediction: when, which, by whom, what; its inputs are for `--json`."""
    rows = [
        (
            plain(one["at"]),
            safe(one["id"]) + (f" row {one['row']}" if one.get("row") else ""),
            f"v{one['version']} {safe(one['role'])}",
            _answer(one),
            f"{one['ms']:.1f} ms",
            safe(one.get("key") or "", 80),
        )
        for one in result["predictions"]
    ]
    return table(rows) + [f"damaged, and passed over: {safe(name)}" for name in result["damaged"]]
