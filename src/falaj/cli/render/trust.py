"""How people, tokens, keys and the ledger are told. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from falaj.cli.render.errors import failed_findings, finding_lines
from falaj.cli.render.shapes import Lines, entry_of, fields, indented, joined, page, records, short
from falaj.cli.text import counted, number, plain, safe, size, table

MAX_PROBLEMS = 100


def told_explanation(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What decided."""
    verdict = "allowed" if result["allowed"] else f"denied  {safe(result['code'])}"
    return [safe(line) for line in result["lines"]] or [verdict]


def told_holders(result: Any, given: Mapping[str, Any]) -> Lines:
    """Who can, and by which binding."""
    return records(result, ("name", "role", "scope", "via", "binding")) or ["nobody"]


def told_bindings(result: Any, given: Mapping[str, Any]) -> Lines:
    """Who holds which role where."""
    kept = ("id", "subject", "role", "scope", "conditions", "granted_by", "created_at", "expires_at")
    return records(result, kept) or ["nothing"]


def told_granted(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A new binding."""
    until = f"until {plain(result['expires_at'])}" if result.get("expires_at") else ""
    conditions = f"only if {plain(result['conditions'])}" if result.get("conditions") else ""
    head = f"{safe(result['subject'])} is {safe(result['role'])} on {safe(result['scope'])}"
    return [joined(head, conditions, until, f"binding {safe(result['id'])}")]


def told_principals(result: Any, given: Mapping[str, Any]) -> Lines:
    """Persons and services."""
    return records(result, ("name", "sort", "groups", "id", "person")) or ["nobody"]


def told_principal(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A new principal, and what comes next."""
    groups = f"in {plain(result['groups'])}" if result.get("groups") else ""
    name = safe(result["name"])
    return [
        joined(f"{safe(result['sort'])} {name}", groups),
        f"next   falaj access grant {name} ROLE, falaj token issue {name}",
    ]


def told_token(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A token, alone on its line and without a margin, and what it is."""
    token = result["token"]
    until = f"until {plain(token['expires_at'])}" if token.get("expires_at") else "without end"
    about = joined(f"of {safe(token['principal'])}", until, f"id {safe(token['id'])}")
    return [
        safe(result["text"], 4096),
        f"  {about}",
        "  shown this once and stored nowhere; who has it can act as its principal",
    ]


def told_tokens(result: Any, given: Mapping[str, Any]) -> Lines:
    """Tokens without their secrets."""
    kept = ("id", "principal", "scope", "roles", "created_at", "expires_at", "revoked_at")
    return records(result, kept) or ["nothing"]


def told_entries(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Entries, one a line: number, time, event, who, about what."""
    rows = [
        (
            "pending" if e["leaf"] is None else str(e["leaf"]),
            plain(e["at"]),
            safe(e["what"]),
            safe(e["op"]),
            safe(e["by"]),
            _about(e.get("detail") or {}),
        )
        for e in result["items"]
    ]
    lines = table(rows, ("entry", "at", "event", "operation", "by", "about"), right=(0,))
    if result.get("pending"):
        lines.append(f"{counted(result['pending'], 'entry')} not yet under a root")
    return page(lines, result.get("next"), "--before")


def _about(detail: Mapping[str, Any]) -> str:
    """The words beside an entry in one cell: the thing, the code of a refusal, the reason."""
    named = detail.get("thing") or detail.get("name") or detail.get("subject") or detail.get("principal")
    resources = detail.get("resources")
    if not named and isinstance(resources, list) and resources:
        named = re.sub(r"^(?:asset|ref):[^/]*/", "", str(resources[0]))
    version = f" v{plain(detail['version'], 'version')}" if detail.get("version") else ""
    parts = [
        f"{short(named)}{version}" if named else "",
        safe(detail.get("code") or ""),
        safe(detail.get("reason") or ""),
    ]
    return "  ".join(part for part in parts if part)


def told_entry(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """One entry: who did what to what, the words beside it, the rows it explains."""
    at = "pending" if result["leaf"] is None else str(result["leaf"])
    signed = "under a signed checkpoint" if result.get("signed") else "not yet under a signed checkpoint"
    head = joined(f"entry {at}", safe(result["what"]), plain(result["at"]), f"by {safe(result['by'])}")
    kept = [(key, result.get(key)) for key in ("id", "op", "project", "on", "cause")]
    lines = [head, *indented(fields([*kept, ("words", result.get("words")), ("signed", signed)]))]
    if detail := result.get("detail"):
        facts = detail.get("facts") if isinstance(detail.get("facts"), Mapping) else {}
        simple = {**detail, **facts, "facts": None, "failed": None, "findings": None, "checks": None}
        found = finding_lines(failed_findings(facts))
        lines += indented(["beside it", *indented([*fields(simple.items()), *found])])
    if rows := result.get("rows"):
        changed = [(safe(r["table"]), safe(r["key"]), safe(r["digest"] or "deleted")) for r in rows]
        lines += indented(["rows after it", *indented(table(changed))])
    return lines


def told_verified(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What a verification found, and what it looked at."""
    looked = [
        counted(result["entries"], "entry"),
        f"root {safe(result['root'], 13)}" if result.get("root") else "no root",
        f"{counted(result['checkpoints'], 'checkpoint')}, {result['kept']:,} kept outside",
        counted(result["states"], "state"),
    ]
    if result.get("versions"):
        looked.append(f"{counted(result['versions'], 'version')}, {size(result['bytes_read'])} read")
    if result.get("unreadable"):
        looked.append(f"{counted(result['unreadable'], 'thing')} whose keys were destroyed")
    if result.get("pending"):
        looked.append(f"{counted(result['pending'], 'entry')} not yet under a root")
    if result["ok"]:
        return [" · ".join([*looked, "consistent", "every state has its entry"])]
    problems = result["problems"]
    found = counted(len(problems) + result["unlisted"], "problem")
    return [f"damaged  {found} found", *indented(_problems(problems, result["unlisted"])), " · ".join(looked)]


def _problems(problems: list[Mapping[str, Any]], unlisted: int) -> Lines:
    shown = problems[:MAX_PROBLEMS]
    rows = [(safe(p["sort"]).replace("_", " "), safe(p["where"]), safe(p["message"], 1000)) for p in shown]
    steps = dict.fromkeys(safe(p["next_step"]) for p in problems if p.get("next_step"))
    rest = len(problems) - len(shown) + unlisted
    more = [f"… and {rest:,} more; --json shows {len(problems):,}"] if rest else []
    return [*table(rows), *more, *(f"next   {one}" for one in list(steps)[:5])]


def told_exported(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """An export for a stranger, and what lies in it."""
    head = f"{counted(result['size'], 'entry')} written to {safe(result['folder'])}"
    return [joined(head, f"root {safe(result['root'])}"), "see    docs/stranger_verify.py checks it without Falaj"]


def told_proof(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A proof for a stranger: the hashes that lead to the root, and the signed checkpoint where it has one."""
    if result["proof"] == "consistency":
        head = f"the ledger of {counted(result['new'], 'entry')} begins with that of {number(result['old'])}"
        roots = [("old root", safe(result["old_root"])), ("new root", safe(result["new_root"]))]
    else:
        head = f"entry {result['leaf']} is one of the {counted(result['size'], 'entry')} under the signed root"
        roots = [("root", safe(result["root"])), ("body", safe(result["body"], 4000))]
    path = [("path" if not at else "", safe(one)) for at, one in enumerate(result["path"])]
    note = str(result.get("checkpoint") or "").splitlines()
    signed = [("checkpoint" if not at else "", safe(one)) for at, one in enumerate(note)]
    return [head, *indented(table([*roots, *path, *signed]))]


def told_keys(result: Any, given: Mapping[str, Any]) -> Lines:
    """Keys without their bytes."""
    rows = result.get("items", []) if isinstance(result, Mapping) else result
    kept = ("id", "purpose", "domain", "epoch", "state", "algorithm", "fingerprint", "created_at", "destroyed_at")
    return records(rows, kept) or ["nothing"]


def told_receipt(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What was done to keys, with the entry that proves it."""
    head = joined(f"{safe(result['action'])}  {counted(len(result['keys']), 'key')}", entry_of(result))
    note = [safe(result["note"], 1000)] if result.get("note") else []
    return [head, *indented(note), *indented(records(result["keys"], ("id", "purpose", "domain", "epoch", "state")))]


def told_collected(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What garbage collection deleted, or would delete."""
    word = "would delete" if result["dry_run"] else "deleted"
    lines = [joined(f"{word} {counted(result['packs'], 'pack')}, {size(result['bytes'])}", entry_of(result))]
    told = [f"kept {counted(result['kept_packs'], 'pack')}"]
    if result.get("partly_used_bytes"):
        told.append(f"{size(result['partly_used_bytes'])} in them are used no more")
    if result.get("versions_emptied"):
        gone = "would go" if result["dry_run"] else "are gone"
        told.append(f"the bytes of {counted(result['versions_emptied'], 'retired version')} {gone}")
    lines.append("  " + ", ".join(told))
    lines += [f"  skipped  {safe(domain)}  {safe(why)}" for domain, why in result.get("skipped", {}).items()]
    lines += [f"  not removed  {safe(pack)}, the next gc tries again" for pack in result.get("failed", ())]
    return lines


def told_repaired(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What was written anew."""
    counts = [
        f"{key.replace('_', ' ')} {value:,}"
        for key, value in result.items()
        if isinstance(value, int) and key != "entry"
    ]
    return [joined("repaired", ", ".join(counts), entry_of(result))]


def told_status(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """How the store is, then what should be looked at."""
    lines = [joined(f"falaj {safe(result['version'])}", safe(result["database"]), safe(result["mode"]))]
    kept = [(key, value) for key, value in result.items() if key not in ("version", "database", "mode", "notes")]
    rows = [
        (key.replace("_", " "), number(value) if isinstance(value, int) else plain(value, key)) for key, value in kept
    ]
    return [*lines, *indented(table(rows)), *indented(safe(note, 1000) for note in result["notes"])]
