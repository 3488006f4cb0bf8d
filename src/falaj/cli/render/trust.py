"""How people, tokens, keys and the ledger are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.shapes import Lines, entry_of, fields, indented, joined, page, records, short
from falaj.cli.text import counted, number, plain, safe, size, table


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
        named = resources[0]
    version = f" v{plain(detail['version'], 'version')}" if detail.get("version") else ""
    parts = [
        f"{short(named)}{version}" if named else "",
        safe(detail.get("code") or ""),
        safe(detail.get("reason") or ""),
    ]
    return "  ".join(part for part in parts if part)


def told_entry(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """One entry with the words beside it."""
    number_ = "pending" if result["leaf"] is None else str(result["leaf"])
    head = joined(f"entry {number_}", safe(result["what"]), plain(result["at"]), f"by {safe(result['by'])}")
    detail = dict(result.get("detail") or {})
    kept = [(key, result.get(key)) for key in ("id", "op", "project", "on", "changes")]
    return [head, *indented(fields([*kept, *detail.items()]))]


def told_verified(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What a verification found, and what it looked at."""
    looked = [
        counted(result["entries"], "entry"),
        f"root {safe(result['root'])}" if result.get("root") else "no root",
        counted(result["checkpoints"], "checkpoint"),
    ]
    if result.get("versions"):
        looked.append(f"{counted(result['versions'], 'version')}, {size(result['bytes_read'])} read")
    if result.get("pending"):
        looked.append(f"{counted(result['pending'], 'entry')} not yet under a root")
    problems = result["problems"]
    if result["ok"]:
        return [" · ".join([*looked, "consistent", "every state change has its entry"])]
    lines = [f"damaged  {counted(len(problems), 'problem')} found", *indented(_problems(problems))]
    return [*lines, " · ".join(looked)]


def _problems(problems: list[Mapping[str, Any]]) -> Lines:
    rows = [(safe(p["sort"]).replace("_", " "), safe(p["where"]), safe(p["message"], 1000)) for p in problems[:100]]
    steps = dict.fromkeys(safe(p["next_step"]) for p in problems if p.get("next_step"))
    rest = len(problems) - len(rows)
    more = [f"… and {rest:,} more; --json shows all"] if rest > 0 else []
    return [*table(rows), *more, *(f"next   {one}" for one in list(steps)[:5])]


def told_exported(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """An export for a stranger, and what lies in it."""
    head = f"{counted(result['size'], 'entry')} written to {safe(result['folder'])}"
    return [joined(head, f"root {safe(result['root'])}"), "see    docs/stranger_verify.py checks it without Falaj"]


def told_proof(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """An inclusion proof: the hashes from the leaf to the root, and the signed checkpoint."""
    head = f"entry {result['leaf']} is under the root of {counted(result['size'], 'entry')}"
    path = [("path" if not at else "", safe(one)) for at, one in enumerate(result["path"])]
    note = [("checkpoint" if not at else "", safe(one)) for at, one in enumerate(result["checkpoint"].splitlines())]
    return [
        head,
        *indented(table([("root", safe(result["root"])), ("body", safe(result["body"], 4000)), *path, *note])),
    ]


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
        told.append(f"the bytes of {counted(result['versions_emptied'], 'retired version')} are gone")
    return [*lines, "  " + ", ".join(told)]


def told_status(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """How the store is, then what should be looked at."""
    lines = [joined(f"falaj {safe(result['version'])}", safe(result["database"]), safe(result["mode"]))]
    kept = [(key, value) for key, value in result.items() if key not in ("version", "database", "mode", "notes")]
    rows = [
        (key.replace("_", " "), number(value) if isinstance(value, int) else plain(value, key)) for key, value in kept
    ]
    return [*lines, *indented(table(rows)), *indented(safe(note, 1000) for note in result["notes"])]
