"""How results and errors are told: what happened with its numbers, where to look, the entry. Pure.

A renderer takes a result in plain values and the command's arguments, and returns lines. Every value passes
`text.safe` or `text.plain` on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from falaj.cli.text import counted, plain, safe, size, table
from falaj.core.errors import FalajError, Refused

Lines = list[str]
Renderer = Callable[[Any, Mapping[str, Any]], Lines]
MAX_FINDINGS = 50


def error_lines(error: FalajError, *, colour: bool = False) -> Lines:
    """An error as people read it: `refused` or `error`, what failed, the next step, the entry, the code."""
    word = "refused" if isinstance(error, Refused) or error.exit_code == Refused.exit_code else "error"
    head = f"\x1b[1;31m{word}\x1b[0m" if colour else word
    lines = [f"{head}  {safe(error.message, 1000)}"]
    lines += [f"  {line}" for line in finding_lines(failed_findings(error.facts))]
    where = [("next", safe(error.next_step, 1000))] if error.next_step else []
    if (entry := error.facts.get("entry")) is not None:
        where.append(("entry", plain(entry, "leaf")))
    if (run := error.facts.get("run")) is not None:
        where.append(("run", safe(run)))
    return lines + [f"  {line}" for line in table([*where, ("code", safe(error.code))])]


def failed_findings(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The findings that an error carries: those that did not pass."""
    for key in ("findings", "failed"):
        found = facts.get(key)
        if isinstance(found, list | tuple):
            return [f for f in found if isinstance(f, Mapping) and not f.get("passed") and f.get("state") != "pending"]
    return []


def finding_lines(findings: Sequence[Mapping[str, Any]]) -> Lines:
    """One line a finding: the rule as a person says it, and what was found."""
    shown = findings[:MAX_FINDINGS]
    lines = table([(_title(f), _found(f)) for f in shown])
    rest = len(findings) - len(shown)
    return lines + ([f"… and {rest:,} more; --json shows all"] if rest else [])


def _title(finding: Mapping[str, Any]) -> str:
    return safe(finding.get("title") or finding.get("rule") or "rule")


def _found(finding: Mapping[str, Any]) -> str:
    if finding.get("text"):
        return safe(finding["text"]) + ("  (warning)" if finding.get("severity") == "warning" else "")
    failed = [s for s in finding.get("slices") or () if s.get("state") == "failed"]
    parts = [f"{safe(s['value'])} {plain(s['observed'])} ({number(s['rows'])} rows)" for s in failed[:3]]
    if len(failed) > len(parts):
        parts.append(f"and {len(failed) - len(parts)} more")
    if not parts and finding.get("observed") is not None:
        parts.append(plain(finding["observed"]))
    if interval := finding.get("interval"):
        parts.append(f"95 % interval {interval[0]:+.4g} … {interval[1]:+.4g}")
    if not failed and finding.get("rows"):
        parts.append(f"{number(finding['rows'])} rows")
    parts += [safe(finding["note"])] if finding.get("note") else []
    parts += (
        [safe(finding["state"]).replace("_", " ")]
        if finding.get("state") in ("not_judged", "waived", "pending")
        else []
    )
    return ", ".join(parts)


def entry_of(result: Mapping[str, Any]) -> str:
    """`entry 1204`, by its number where it has one already; "" where there is none."""
    if result.get("entry") is not None:
        return f"entry {result['entry']}"
    return f"entry {safe(result['entry_id'])}" if result.get("entry_id") else ""


def fields(pairs: Iterable[tuple[str, Any]], indent: str = "  ") -> Lines:
    """Name and value in two columns; values that are absent are left out, lists of records become tables below."""
    simple, deep = [], []
    for key, value in pairs:
        if value in (None, "", [], {}, ()):
            continue
        if _is_records(value) or (
            isinstance(value, Mapping) and any(isinstance(v, Mapping | list) for v in value.values())
        ):
            deep.append((key, value))
        else:
            simple.append((safe(key.replace("_", " ")), plain(value, key)))
    lines = [indent + line for line in table(simple)]
    for key, value in deep:
        lines.append(f"{indent}{safe(key.replace('_', ' '))}")
        inner = records(value) if _is_records(value) else fields(value.items(), "")
        lines += [f"{indent}  {line}" for line in inner]
    return lines


def records(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """Records of one shape as a table: a column for each field that any of them has; numbers end together."""
    keys = [
        k
        for k in dict.fromkeys(k for row in rows for k in row)
        if any(row.get(k) not in (None, "", [], {}) for row in rows)
    ]
    body = [[plain(row.get(key), key) for key in keys] for row in rows]
    numeric = [i for i, k in enumerate(keys) if all(isinstance(r.get(k), int | float | None) for r in rows)]
    return table(body, [safe(k.replace("_", " ")) for k in keys], right=numeric)


def _is_records(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def told_plain(result: Any, given: Mapping[str, Any]) -> Lines:
    """Any result: fields of a record, or a table of records."""
    if isinstance(result, Mapping):
        if _is_records(result.get("items")):
            return told_rows(result, given)
        return fields(result.items())
    if _is_records(result):
        return records(result)
    if isinstance(result, list | tuple):
        return [plain(item) for item in result] or ["nothing"]
    return [] if result is None else [plain(result)]


def told_rows(result: Any, given: Mapping[str, Any]) -> Lines:
    """A page of records, and how to see the next."""
    items = result.get("items", []) if isinstance(result, Mapping) else result
    lines = records(items) if items else ["nothing"]
    more = result.get("next") if isinstance(result, Mapping) else None
    return lines + ([f"more with --after {plain(more)}"] if more else [])


def told_done(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A plain yes, with its entry."""
    return [
        _joined(safe(result.get("thing", "done")), safe(result["note"]) if result.get("note") else "", entry_of(result))
    ]


def told_move(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A moved ref; for a promotion, what its gate found."""
    lines = [_joined(safe(result["ref"]), _step(result.get("previous"), result["version"]), entry_of(result))]
    return lines + [f"  {line}" for line in finding_lines(result.get("findings", []))]


def told_applied(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Each applied file with its outcome."""
    rows = []
    for file in result["files"]:
        step = f"v{file['version']}" if file["outcome"] == "unchanged" else _step(file.get("previous"), file["version"])
        waits = f"falaj approve {safe(file['proposal'])}" if file.get("proposal") else ""
        rows.append(
            (safe(file["path"]), f"{safe(file['kind'])}/{safe(file['name'])}", safe(file["outcome"]), step, waits)
        )
    return [*(f"  {line}" for line in table(rows)), _joined(counted(len(rows), "file"), entry_of(result))]


def told_assets(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A page of assets with their refs."""
    rows = [
        (
            safe(i["kind"]),
            safe(i["name"]),
            str(i["versions"]),
            "  ".join(f"{safe(r)} → v{v}" for r, v in i["refs"].items()),
        )
        for i in result["items"]
    ]
    lines = table(rows, ("kind", "name", "versions", "refs"), right=(2,)) or ["nothing"]
    return lines + ([f"more with --after {safe(result['next'])}"] if result.get("next") else [])


def told_asset(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """An asset, its refs, and the version asked for."""
    name = f"{safe(result['kind'])}/{safe(result['name'])}"
    lines = [_joined(name, counted(result["versions"], "version"), f"since {plain(result['created_at'])}")]
    refs = [
        (
            f"@{safe(r['name'])}",
            f"v{r['version']}",
            plain(r["moved_at"]),
            f"guarded by {plain(r['guarded_by'])}" if r["guarded_by"] else "",
        )
        for r in result["refs"]
    ]
    lines += [f"  {line}" for line in table(refs)]
    if shown := result.get("shown"):
        lines += ["", f"  v{shown['version']}   {safe(shown['state'])}"]
        kept = ("by", "created_at", "size_bytes", "stored_bytes", "run", "digest")
        lines += fields(((key, shown.get(key)) for key in kept), "    ")
        if isinstance(shown.get("payload"), Mapping):
            lines += fields(shown["payload"].items(), "    ")
    return lines


def told_log(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Moves of the refs, newest first, then the versions."""
    moves = [
        (
            f"@{safe(m['ref'])}",
            _step(m["previous"], m["version"]),
            safe(m["sort"]),
            plain(m["at"]),
            safe(m["by"]),
            f"entry {plain(m['entry'], 'leaf')}",
            safe(m["reason"]),
        )
        for m in result["moves"]
    ]
    versions = [
        (f"v{v['version']}", safe(v["state"]), size(v["size_bytes"]), plain(v["created_at"]), safe(v["by"]))
        for v in result["versions"]
    ]
    head = f"{safe(result['kind'])}/{safe(result['name'])}"
    return [head, *(f"  {line}" for line in [*table(moves), *table(versions, right=(2,))])]


def told_lineage(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Each version under the one that it led to, with its run, code and people."""
    lines = []
    for node in result["nodes"]:
        indent = "  " * node["depth"]
        refs = "".join(f" @{safe(r)}" for r in node["refs"])
        name = f"{indent}{safe(node['kind'])}/{safe(node['name'])} v{node['version']}{refs}"
        lines.append(_joined(name, plain(node["created_at"]), f"by {safe(node['by'])}"))
        about = [f"{safe(node['run_sort'])} run {safe(node['run'])}" if node.get("run") else ""]
        about.append(_code(node.get("code") or {}))
        about.append(f"proposed by {safe(node['proposed_by'])}" if node.get("proposed_by") else "")
        about.append(f"approved by {plain(node['approved_by'])}" if node.get("approved_by") else "")
        if said := " · ".join(part for part in about if part):
            lines.append(f"{indent}    {said}")
    return lines or ["nothing is known of where it came from"]


def _code(code: Mapping[str, Any]) -> str:
    if not code.get("commit"):
        return f"script {safe(str(code['script_digest'])[:12])}" if code.get("script_digest") else ""
    return f"code {safe(str(code['commit'])[:12])} ({'changed' if code.get('dirty') else 'clean'})"


def told_proposal(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """One proposal and what it waits for."""
    lines = [_joined(safe(result["thing"]), _step(result.get("holder"), result["version"]), safe(result["state"]))]
    told = [(key, result.get(key)) for key in ("id", "by", "at", "reason", "approved_by", "waits_for")]
    lines += fields(told)
    return lines + ([f"  another person: falaj approve {safe(result['id'])}"] if result["state"] == "open" else [])


def told_proposals(result: Any, given: Mapping[str, Any]) -> Lines:
    """Proposals, one a line."""
    rows = [
        (
            safe(p["id"]),
            safe(p["thing"]),
            _step(p.get("holder"), p["version"]),
            safe(p["state"]),
            safe(p["by"]),
            plain(p["waits_for"]) if p["waits_for"] else "",
        )
        for p in result
    ]
    return table(rows, ("proposal", "ref", "move", "state", "by", "waits for")) or ["nothing"]


def told_data_added(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A new version: rows, bytes, what the contract said, and the ref that moved."""
    rows = "" if result.get("rows") is None else f"{number(result['rows'])} rows"
    stored = f"{size(result['added_bytes'])} read, {size(result['stored_bytes'])} stored"
    kept = f"contract {result['rules_passed']} of {result['rules']}" if result.get("contract") else "no contract"
    head = _joined(
        f"{safe(result['dataset'])} v{result['version']}", rows, counted(result["files"], "file"), stored, kept
    )
    ref = safe(result["ref"]).removeprefix("dataset/")
    moved = _joined(f"{ref}  {_step(result.get('previous'), result['version'])}", entry_of(result))
    return [head, *(f"  warning  {safe(text)}" for text in result.get("warnings", ())), moved]


def told_files(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The files of a version."""
    rows = [(safe(f["path"]), size(f["size_bytes"])) for f in result["files"]]
    head = _joined(f"{safe(result['thing'])}:{result['version']}", counted(len(rows), "file"))
    return [head, *(f"  {line}" for line in table(rows, right=(1,)))]


def told_fetched(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Files written by a transfer."""
    return [*told_files(result, given), f"written to {safe(result['into'])}"]


def told_contract(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The rules of a contract; for a version that was asked for, what was found on it."""
    head = f"contract/{safe(result['name'])} v{result['version']} ({safe(result['document_version'])})"
    lines = [_joined(head, counted(len(result["rules"]), "rule")), *(f"  {safe(rule)}" for rule in result["rules"])]
    lines += fields((key, result.get(key)) for key in ("purpose", "lawful_basis"))
    judged = result.get("judged")
    if not judged:
        return lines
    failed = judged.get("findings") or []
    told = f"{number(judged.get('rows', 0))} rows   {judged.get('failed', len(failed))} of {judged.get('rules', 0)} rules failed"
    return [
        *lines,
        "",
        f"on version {plain(given.get('version'), 'version')}: {told}",
        *(f"  {x}" for x in finding_lines(failed)),
    ]


def told_explanation(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What decided."""
    return [safe(line) for line in result["lines"]] or [
        "allowed" if result["allowed"] else f"denied  {safe(result['code'])}"
    ]


def told_token(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A token, alone on its line, and what it is."""
    token = result["token"]
    until = f"until {plain(token['expires_at'])}" if token.get("expires_at") else "without end"
    about = _joined(f"of {safe(token['principal'])}", until, f"id {safe(token['id'])}")
    return [
        safe(result["text"], 4096),
        f"  {about}",
        "  shown this once and stored nowhere; who has it can act as its principal",
    ]


def told_init(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A new project."""
    wrote = "falaj.toml written" if result["wrote"] else "falaj.toml was there"
    lines = [_joined(f"project {safe(result['project'])} in {safe(result['folder'])}", wrote)]
    return [*lines, "  next   falaj apply, then falaj data add"]


def told_login(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A saved login."""
    lines = [f"token for {safe(result['url'])} kept in {safe(result['file'])}"]
    if result.get("folder"):
        lines.append(f"  commands in {safe(result['folder'])} go to it, project {safe(result['project'])}")
    return lines


def told_logout(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A forgotten login."""
    return [f"token for {safe(result['url'])} {'forgotten on this machine' if result['forgotten'] else 'was not here'}"]


def told_runs(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Runs, one a line, with their metrics."""
    rows = [
        (
            safe(r["id"]),
            safe(r["sort"]),
            safe(r["name"]),
            safe(r["state"]),
            plain(r["started_at"]),
            safe(r["by"]),
            _metrics(r),
        )
        for r in result["items"]
    ]
    lines = table(rows, ("run", "sort", "name", "state", "started", "by", "metrics")) or ["nothing"]
    return lines + ([f"more with --before {safe(result['next'])}"] if result.get("next") else [])


def told_run(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """One run: how it went, what it used and made, by which code."""
    head = _joined(f"run {safe(result['id'])}", safe(result["sort"]), safe(result["name"]), safe(result["state"]))
    links = [
        ("used" if link["direction"] == "in" else "made", safe(link["thing"]), safe(link["role"]))
        for link in result["links"]
    ]
    kept = ("by", "started_at", "ended_at", "params", "metrics", "code", "environment", "result", "error")
    return [head, *(f"  {line}" for line in table(links)), *fields((key, result.get(key)) for key in kept)]


def _metrics(run: Mapping[str, Any]) -> str:
    return "  ".join(f"{safe(k)} {plain(v)}" for k, v in list(run["metrics"].items())[:4])


def told_version(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """`falaj 0.1.0`."""
    return [f"falaj {safe(result['version'])}   python {safe(result['python'])}"]


def told_script(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A script for a shell, as it is: it holds nothing from data."""
    return [str(result["script"])]


def told_nothing(result: Any, given: Mapping[str, Any]) -> Lines:
    """Nothing: the command has spoken for itself."""
    return []


def _step(previous: object, version: object) -> str:
    return f"v{version}" if previous is None else f"v{previous} → v{version}"


def _joined(*parts: str) -> str:
    return "   ".join(part for part in parts if part)


RENDERERS: dict[str, Renderer] = {
    "plain": told_plain,
    "rows": told_rows,
    "done": told_done,
    "move": told_move,
    "applied": told_applied,
    "assets": told_assets,
    "asset": told_asset,
    "log": told_log,
    "lineage": told_lineage,
    "proposal": told_proposal,
    "proposals": told_proposals,
    "runs": told_runs,
    "run": told_run,
    "data_added": told_data_added,
    "files": told_files,
    "fetched": told_fetched,
    "contract": told_contract,
    "explanation": told_explanation,
    "token": told_token,
    "init": told_init,
    "login": told_login,
    "logout": told_logout,
    "version": told_version,
    "script": told_script,
    "silent": told_nothing,
}
