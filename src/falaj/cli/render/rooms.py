"""How data, models, gates and runs are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.errors import finding_lines
from falaj.cli.render.shapes import Lines, entry_of, fields, indented, joined, page, short, step
from falaj.cli.text import counted, number, plain, safe, size, table


def told_data_added(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A new version: rows, bytes, what the contract said, and the ref that moved."""
    rows = "" if result.get("rows") is None else f"{number(result['rows'])} rows"
    stored = f"{size(result['added_bytes'])} read, {size(result['stored_bytes'])} stored"
    kept = f"contract {result['rules_passed']} of {result['rules']}" if result.get("contract") else "no contract"
    name = f"{safe(result['dataset'])} v{result['version']}"
    moved = joined(f"{short(result['ref'])}  {step(result.get('previous'), result['version'])}", entry_of(result))
    warnings = [f"warning  {safe(text)}" for text in result.get("warnings", ())]
    return [joined(name, rows, counted(result["files"], "file"), stored, kept), *indented(warnings), moved]


def told_files(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The files of a version."""
    rows = [(safe(f["path"]), size(f["size_bytes"])) for f in result["files"]]
    head = joined(f"{short(result['thing'])} v{result['version']}", counted(len(rows), "file"))
    return [head, *indented(table(rows, right=(1,)))]


def told_fetched(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Files written by a transfer."""
    return [*told_files(result, given), f"written to {safe(result['into'])}"]


def told_contract(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The rules of a contract; for a version that was asked for, what was found on it."""
    head = f"contract/{safe(result['name'])} v{result['version']} ({safe(result['document_version'])})"
    lines = [joined(head, counted(len(result["rules"]), "rule")), *indented(safe(rule) for rule in result["rules"])]
    lines += indented(fields((key, result.get(key)) for key in ("purpose", "lawful_basis")))
    if not (judged := result.get("judged")):
        return lines
    failed = judged.get("findings") or []
    told = f"{judged.get('failed', len(failed))} of {judged.get('rules', 0)} rules failed"
    version = f"{safe(result['name'])} v{plain(given.get('version'), 'version')}"
    return [
        *lines,
        joined(version, f"{number(judged.get('rows', 0))} rows", told),
        *indented(finding_lines(failed)),
    ]


def told_registered(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A new version of a model: what it reads and predicts, from which data and code, signed by which key."""
    stored = f"{size(result['size_bytes'])} read, {size(result['stored_bytes'])} stored"
    head = joined(f"{safe(result['model'])} v{result['version']}", safe(result["format"]), stored, entry_of(result))
    kept = ("label", "inputs", "data", "code", "sha256", "conversion", "run")
    signed = joined(f"signed by key {safe(result['key'])}", f"loaded under {plain(result['sandbox'])}")
    return [head, *indented(fields((key, result.get(key)) for key in kept)), f"  {signed}"]


def told_model_verified(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A model version that holds, with all that was looked at."""
    rows = [("ok" if c["ok"] else "no", safe(c["check"]).replace("_", " "), safe(c["note"])) for c in result["checks"]]
    head = joined(f"{safe(result['model'])} v{result['version']}", "sound", safe(result["digest"]))
    return [head, *indented(table(rows))]


def told_predicted(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Predictions: how many, by which model on which data, and the ref that moved."""
    mean = result.get("mean_probability")
    head = joined(
        f"{safe(result['dataset'])} v{result['version']}",
        f"{number(result['rows'])} rows",
        "" if mean is None else f"mean probability {plain(mean)}",
        f"{size(result['stored_bytes'])} stored",
    )
    by = f"by {safe(result['model'])} on {safe(result['data'])}"
    moved = joined(f"{short(result['ref'])}  {step(result.get('previous'), result['version'])}", entry_of(result))
    return [head, joined(by, f"verdict {safe(result['verdict'])}"), moved]


def told_features_joined(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Joined features: how many rows, which features, and the ref that moved."""
    head = joined(
        f"{safe(result['dataset'])} v{result['version']}",
        f"{number(result['rows'])} rows",
        counted(len(result["features"]), "feature"),
        f"{size(result['stored_bytes'])} stored",
    )
    by = f"by {safe(result['service'])}: {', '.join(safe(f) for f in result['features'])}"
    moved = joined(f"{short(result['ref'])}  {step(result.get('previous'), result['version'])}", entry_of(result))
    return [head, by, moved]


def told_judgement(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What every gate of a ref found on a version; nothing moved."""
    lines = [joined("nothing moved", entry_of(result))]
    return [line for verdict in result["verdicts"] for line in told_verdict(verdict, given)] + lines


def told_verdict(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A verdict: which version for which ref, every rule with what was measured, and on what."""
    head = joined(
        f"{short(result['thing'])}  v{result['version']}",
        "passed" if result["passed"] else "refused",
        f"gate {safe(result['gate'])} v{result['gate_version']}",
        "against no holder" if result["holder"] is None else f"against v{result['holder']}",
    )
    unlabelled = f", {number(result['unlabelled'])} more without a label" if result["unlabelled"] else ""
    measured = f"on {safe(result['data'])}, {number(result['rows'])} rows{unlabelled}" if result["data"] else ""
    waits = [("waits for", f"approval from a {safe(role)}") for role in result["approvals"]]
    used = [("used by", f"entry {safe(result['used_by'])}")] if result["used_by"] else []
    about = [("verdict", safe(result["id"])), ("at", plain(result["at"])), ("by", safe(result["by"])), *waits, *used]
    findings = finding_lines(result["findings"], states=True)
    return [head, *indented(findings), *indented([measured] if measured else []), *indented(table(about))]


def told_runs(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Runs, one a line, with their metrics."""
    rows = [
        (
            safe(r["id"]),
            safe(r["sort"]),
            safe(_about(r), 40),
            safe(r["state"]),
            plain(r["started_at"]),
            safe(r["by"]),
            "  ".join(f"{safe(k)} {plain(v)}" for k, v in list(r["metrics"].items())[:4])
            or safe((r["error"] or {}).get("code", "")),
        )
        for r in result["items"]
    ]
    lines = table(rows, ("run", "sort", "name", "state", "started", "by", "metrics"))
    return page(lines, result.get("next"), "--before")


def _about(run: Mapping[str, Any]) -> str:
    """What a run is of: its own name, or what its operation was given first."""
    if run["name"] != run["sort"]:
        return str(run["name"])
    return next((value for value in run["params"].values() if isinstance(value, str) and value), "")


def told_run(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """One run: how it went, what it used and made, by which code."""
    name = "" if result["name"] == result["sort"] else safe(result["name"])
    head = joined(f"run {safe(result['id'])}", safe(result["sort"]), name, safe(result["state"]))
    links = [
        ("used" if link["direction"] == "in" else "made", safe(link["thing"]), safe(link["role"]))
        for link in result["links"]
    ]
    kept = ("by", "started_at", "ended_at", "params", "metrics", "code", "environment", "result")
    lines = [head, *indented(table(links)), *indented(fields((key, result.get(key)) for key in kept))]
    if error := result.get("error"):
        facts = error.get("facts") or {}
        lines.append(f"  {safe(error.get('message') or error.get('code'), 1000)}")
        lines += indented(finding_lines(facts.get("findings") or facts.get("failed") or []), 4)
    return lines
