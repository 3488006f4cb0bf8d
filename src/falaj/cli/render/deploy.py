"""How deployments and rollouts are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.shapes import Lines, entry_of, indented, joined, short
from falaj.cli.text import number, padded, plain, safe, table, width

BAR = 24
FULL = 10_000


def told_deployment(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Each version with its share as a bar and how it answers; then the rollout, and what the server knows."""
    head = joined(f"{safe(result['deployment'])}   {short(result['model'])}", _revision(result))
    rollout, last = result.get("rollout"), result.get("last")
    lines = [head, *indented(_routes(result, rollout))]
    if result.get("problem"):
        lines.append(f"  {safe(result['problem'], 1000)}")
    if rollout:
        lines += indented(_underway(rollout))
    elif last:
        lines.append(f"  last     v{last['candidate']} {_state(last['state'])}: {safe(last['why'], 1000)}")
    return lines + indented(table(list(_about(result))))


def told_turn(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What became of a rollout, with what it was judged by."""
    version, stable = f"v{result.get('candidate')}", f"v{result.get('stable')}"
    told = {
        "advance": f"{version} → {share(result['share'])}",
        "finish": f"{version} → 100 %, the ref moves   {stable} → {version}",
        "fail": f"{version} taken back, all to {stable}",
        "abort": f"{version} taken back, all to {stable}",
        "pause": f"{version} stays at {share(result['share'])}",
        "resume": f"{version} goes on at {share(result['share'])}",
        "hold": f"{version} held at {share(result['share'])}",
        "wait": f"{version} at {share(result['share'])}",
    }.get(result["action"], "")
    head = joined(f"{safe(result['deployment'])}  {told}".rstrip(), safe(result.get("text") or "", 1000))
    findings = result.get("findings") or []
    return [joined(head, entry_of(result)), *indented(_findings(findings))]


def share(value: object) -> str:
    """Ten-thousandths as people write them."""
    return f"{value / 100:g} %" if isinstance(value, int) else "-"


def _revision(result: Mapping[str, Any]) -> str:
    if result.get("revision") is None:
        return ""
    told = f"revision {result['revision']}"
    if result.get("written") != result["revision"]:
        return f"{told}, written {plain(result.get('written'), 'revision')}"
    served = result.get("served")
    return told if served in (None, result["revision"]) else f"{told}, served {plain(served, 'revision')}"


def _routes(result: Mapping[str, Any], rollout: Mapping[str, Any] | None) -> Lines:
    mark = {"shadow": "┄"}
    bars = [
        (f"v{r['version']}", mark.get(r["role"], "━") * (r["share"] and max(1, round(BAR * r["share"] / FULL))), r)
        for r in result["routes"]
    ]
    widest = max((width(version) for version, _, _ in bars), default=0)
    return [
        joined(
            f"{padded(version, widest)}  {bar}{' ' if bar else ''}{share(route['share'])}",
            _baking(rollout) if route["role"] == "canary" and rollout else "",
            "shadow" if route["role"] == "shadow" else "",
            f"p99 {route['p99_ms']:.1f} ms" if route.get("p99_ms") is not None else "",
            f"errors {route['errors'] * 100:.2f} %" if route.get("errors") is not None else "no requests yet",
            _shift(rollout) if route["role"] == "canary" and rollout else "",
            _apart(route),
        )
        for version, bar, route in bars
    ]


def _apart(route: Mapping[str, Any]) -> str:
    if route.get("difference") is None:
        return ""
    return f"differs by {route['difference']:.3f} on average (n = {number(route['compared'])})"


def _baking(rollout: Mapping[str, Any]) -> str:
    return f"canary {number(rollout['baked'])} of {number(rollout['bake'])} {safe(rollout['unit'])}"


def _shift(rollout: Mapping[str, Any]) -> str:
    found = [f for f in rollout["findings"] if f["judge"] == "prediction_shift" and f["state"] != "not_enough"]
    return safe(found[0]["text"]) if found else ""


def _underway(rollout: Mapping[str, Any]) -> Lines:
    steps = [f"[{share(one)}]" if at == rollout["step"] else share(one) for at, one in enumerate(rollout["steps"])]
    state = "paused" if rollout["state"] == "paused" else ""
    next_ = {"hold": "held", "finish": "the ref moves next", "fail": "is taken back next"}.get(rollout["next"], "")
    head = joined(f"rollout  v{rollout['stable']} → v{rollout['candidate']}", " ".join(steps), state, next_)
    return [head, *indented(_findings(rollout["findings"]))]


def _findings(findings: Any) -> Lines:
    words = {"ok": "ok", "failed": "no", "unsure": "?"}
    told = table([(words[f["state"]], safe(f["text"], 1000)) for f in findings if f["state"] in words])
    early = ", ".join(dict.fromkeys(safe(f["judge"]).replace("_", " ") for f in findings if f["state"] == "not_enough"))
    return [*told, f"too early to tell: {early}"] if early else told


def _state(state: str) -> str:
    return {"done": "went out", "failed": "was taken back", "aborted": "was aborted"}.get(state, safe(state))


def _about(result: Mapping[str, Any]) -> Any:
    if result.get("shadow"):
        yield (
            "shadow",
            joined(safe(result["shadow"]), f"not asked: {safe(why)}" if (why := result["unshadowed"]) else ""),
        )
    if result.get("held"):
        yield "at hand", ", ".join(f"v{version}" for version in result["held"])
    if result.get("lease_until"):
        yield "issued", f"{plain(result['issued_at'])}, lease until {plain(result['lease_until'])}"
    if result.get("lease_over"):
        yield "lease", "over: nothing renews it. A server does, or falaj watch; what is served goes on meanwhile"
    if (result.get("rollout") or {}).get("next") in ("advance", "finish", "fail"):
        yield "due", f"falaj deploy watch {safe(result['deployment'])} does it, unless a server or falaj watch runs"
    if result.get("next_step"):
        yield "next", safe(result["next_step"])
    if result.get("key") and result.get("revision"):
        yield "serve", f"falaj serve {safe(result['folder'])} --key {safe(result['key'])}"


def told_export(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """Where it lies, what is in it, how it is served there, and what it cannot do."""
    routes = ", ".join(f"{safe(one['role'])} v{one['version']} {share(one['share'])}" for one in result["routes"])
    about = [
        ("serve", f"falaj serve {safe(result['folder'], 1000)} --key {safe(result['key'])}"),
        (
            "mind",
            f"it learns of no rollback and of nothing that is revoked: see {safe(result['folder'], 1000)}/README.md",
        ),
    ]
    head = (
        f"{safe(result['deployment'])}   revision {result['revision']}   {routes}   issued {plain(result['issued_at'])}"
    )
    return [head, *indented(table(about))]
