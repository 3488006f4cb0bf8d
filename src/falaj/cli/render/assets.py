"""How assets, their refs, histories, lineages and proposals are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from falaj.cli.render.errors import finding_lines
from falaj.cli.render.predictions import told_prediction
from falaj.cli.render.shapes import Lines, entry_of, fields, indented, is_records, joined, page, short, step
from falaj.cli.text import counted, plain, safe, size, table


def told_move(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A moved ref; for a promotion, what its gates found, and what it still waits for."""
    ref = short(result["ref"])
    gates = ", ".join(f"gate {safe(gate)}" for gate in result.get("gates") or ())
    findings = indented(finding_lines(result.get("findings") or [], states=True))
    if result["sort"] == "unchanged":
        return [joined(f"{ref}  v{result['version']}", "held it already")]
    word = "" if result["sort"] in ("move", "promote", "rollback") else safe(result["sort"])
    head = joined(f"{ref}  {step(result.get('previous'), result['version'])}", word, gates, entry_of(result))
    if result.get("deployment"):
        told = result.get("taken_up_ms")
        when = f"taken up within {told} ms" if told is not None else "no server here has told that it took it up"
        findings.append(f"  all traffic of {safe(result['deployment'])} to v{result['version']}   {when}")
    waits = _waiting(result.get("waits_for") or (), result["next_step"] if result.get("proposal") else "")
    return [head, *findings, *waits, *_rolling_out(result)]


def _waiting(waits_for: Sequence[Any], next_step: object) -> Lines:
    lines = [f"waits   {safe(one)}" for one in waits_for]
    return indented([*lines, f"next    {safe(next_step)}"] if next_step else lines)


def _rolling_out(result: Mapping[str, Any]) -> Lines:
    """A ref that is deployed has not moved: how much the version answers, and where to look."""
    if not result.get("rollout"):
        return []
    told = f"answers  {result['share'] / 100:g} %; the ref moves when it has answered all and was not worse"
    return indented([told, f"next     {safe(result['next_step'])}"])


def told_applied(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Each applied file with its outcome."""
    rows = []
    for file in result["files"]:
        same = file["outcome"] == "unchanged"
        waits = f"another person: falaj approve {safe(file['proposal'])}" if file.get("proposal") else ""
        moved = step(None if same else file.get("previous"), file["version"])
        name = f"{safe(file['kind'])}/{safe(file['name'])}"
        rows.append((safe(file["path"]), name, safe(file["outcome"]), moved, waits))
    return [*table(rows), joined(counted(len(rows), "file"), entry_of(result))]


def told_assets(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A page of assets with their refs."""
    rows = [
        (
            safe(i["kind"]),
            safe(i["name"]),
            plain(i["versions"]),
            "  ".join(f"{safe(r)} → v{v}" for r, v in i["refs"].items()),
        )
        for i in result["items"]
    ]
    return page(table(rows, ("kind", "name", "versions", "refs"), right=(2,)), result.get("next"), "--after")


def told_asset(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """An asset, its refs, and the version asked for."""
    name = f"{safe(result['kind'])}/{safe(result['name'])}"
    lines = [joined(name, counted(result["versions"], "version"), f"since {plain(result['created_at'])}")]
    refs = [
        (
            f"@{safe(r['name'])}",
            f"v{r['version']}",
            plain(r["moved_at"]),
            f"guarded by {plain(r['guarded_by'])}" if r["guarded_by"] else "",
        )
        for r in result["refs"]
    ]
    lines += indented(table(refs))
    if shown := result.get("shown"):
        lines.append(f"v{shown['version']}   {safe(shown['state'])}")
        kept = [(k, shown.get(k)) for k in ("by", "created_at", "size_bytes", "stored_bytes", "run", "digest")]
        about = [(k, v) for k, v in kept if v != 0] + _payload(shown.get("payload"))
        lines += indented(fields(about))
    return lines


def _payload(payload: object) -> list[tuple[str, Any]]:
    """What a version's own record says, in few lines: columns as one, a report by its counts, no whole documents."""
    if not isinstance(payload, Mapping):
        return []
    told: list[tuple[str, Any]] = []
    for key, value in payload.items():
        if key in ("document", "signature", "size_bytes", "v"):
            continue  # long, or said above; --json shows them
        if key == "digest":
            told.append(("document digest", value))
        elif key == "report" and isinstance(value, Mapping):
            told.append((key, f"{value.get('failed')} of {value.get('rules')} rules failed"))
        elif key in ("columns", "inputs") and is_records(value) and all("name" in c for c in value):
            told.append((key, ", ".join(f"{c.get('name')} {c.get('type')}" for c in value)))
        elif key == "rules" and is_records(value):
            told += [("rules" if not at else "", _rule(rule)) for at, rule in enumerate(value)]
        else:
            told.append((key, value))
    return told


def _rule(rule: Mapping[str, Any]) -> str:
    """A rule of a gate in words: `auc by origin ≥ 0.6`."""
    bound = next((f" {sign} {rule[key]:g}" for sign, key in _BOUNDS if isinstance(rule.get(key), int | float)), "")
    if "at_most_ms" in rule:
        return f"latency_p99 ≤ {rule['at_most_ms']:g} ms"
    words = [rule.get("metric") or rule.get("check") or f"approval from a {rule.get('role')}"]
    words += [f"{word} {rule[word]}" for word in ("by", "against") if rule.get(word)]
    return " ".join(map(str, words)) + bound + (" (embedded: waived)" if rule.get("embedded") == "waive" else "")


_BOUNDS = (("≥", "at_least"), ("≤", "at_most"), ("no worse than", "no_worse_than"))


def told_log(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Moves of the refs, newest first, then the versions."""
    moves = [
        (
            f"@{safe(m['ref'])}",
            step(m["previous"], m["version"]),
            safe(m["sort"]),
            plain(m["at"]),
            safe(m["by"]),
            "entry pending" if m["entry"] is None else f"entry {plain(m['entry'], 'leaf')}",
            ", ".join(f"verdict {safe(one)}" for one in m.get("verdicts") or ()),
            safe(m["reason"]),
        )
        for m in result["moves"]
    ]
    versions = [
        (f"v{v['version']}", safe(v["state"]), size(v["size_bytes"]), plain(v["created_at"]), safe(v["by"]))
        for v in result["versions"]
    ]
    head = f"{safe(result['kind'])}/{safe(result['name'])}"
    return [head, *indented([*table(moves), *table(versions, right=(2,))])]


def told_lineage(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Each version under the one that it led to (or came from), once, with its run, code and people."""
    if "prediction" in result:
        return told_prediction(result, given)
    nodes = {f"{n['kind']}/{n['name']}:{n['version']}": n for n in result["nodes"]}
    below: dict[str, list[str]] = {address: [] for address in nodes}
    for address, node in nodes.items():
        for used in (one for one in node.get("inputs") or () if one in nodes):
            above, under = (address, used) if result["direction"] == "up" else (used, address)
            below[above].append(under)
    lines: Lines = []
    waiting = [
        (address, 0) for address in reversed(nodes)
    ]  # the one asked for is on top; what is told once is not again
    while waiting:
        address, depth = waiting.pop()
        if (node := nodes.pop(address, None)) is not None:
            lines += indented(_node_lines(node), 2 * depth)
            waiting += [(one, depth + 1) for one in reversed(below[address])]
    return lines or ["nothing is known of where it came from"]


def _node_lines(node: Mapping[str, Any]) -> Lines:
    name = f"{safe(node['kind'])}/{safe(node['name'])} v{node['version']}"
    refs = "".join(f" @{safe(r)}" for r in node["refs"])
    about = [f"made by {safe(node['run_sort'])}, run {safe(node['run'])}" if node.get("run") else ""]
    about.append(_code(node.get("code") or {}))
    about.append(f"from {', '.join(short(i) for i in node['inputs'])}" if node.get("inputs") else "")
    about.append(f"proposed by {safe(node['proposed_by'])}" if node.get("proposed_by") else "")
    about.append(f"approved by {plain(node['approved_by'])}" if node.get("approved_by") else "")
    said = " · ".join(part for part in about if part)
    head = joined(name + refs, plain(node["created_at"]), f"by {safe(node['by'])}")
    return [head, f"    {said}"] if said else [head]


def _code(code: Mapping[str, Any]) -> str:
    if not code.get("commit"):
        return f"script {safe(str(code['script_digest'])[:12])}" if code.get("script_digest") else ""
    return f"code {safe(str(code['commit'])[:12])} ({'changed' if code.get('dirty') else 'clean'})"


def told_proposal(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """One proposal, what its gates found, and what it waits for."""
    moved = f"{short(result['thing'])}  {step(result.get('holder'), result['version'])}"
    gates = ", ".join(f"gate {safe(gate)}" for gate in result.get("gates") or ())
    lines = [joined(moved, safe(result["state"]), gates, entry_of(result))]
    lines += indented(finding_lines(result.get("findings") or [], states=True))
    lines += indented(fields((key, result.get(key)) for key in ("id", "by", "at", "reason", "approved_by")))
    lines += _waiting(result["waits_for"], result["next_step"] if result["state"] == "open" else "")
    if not result.get("findings"):
        lines += [f"  see     falaj gate show {safe(one)}" for one in result.get("verdicts") or ()]
    if result["state"] == "stale":
        lines += indented(table([("stale", safe(result["stale"])), ("next", safe(result["next_step"]))]))
    return lines + _rolling_out(result)


def told_proposals(result: Any, given: Mapping[str, Any]) -> Lines:
    """Proposals, one a line."""
    rows = [
        (
            safe(p["id"]),
            short(p["thing"]),
            step(p.get("holder"), p["version"]),
            safe(p["state"]),
            safe(p["by"]),
            plain(p["waits_for"]) if p["waits_for"] else safe(p.get("stale") or ""),
        )
        for p in result
    ]
    return table(rows, ("proposal", "ref", "move", "state", "by", "waits for")) or ["nothing"]
