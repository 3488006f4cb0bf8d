"""Rollouts watched and rolled back; the prediction log looked at; a bundle taken elsewhere."""

from __future__ import annotations

import json
import time
from typing import Any

from falaj.cli import target
from falaj.core.errors import Damaged, Refused
from falaj.session import Progress, Session

EVERY_S = 1.0
QUIET = ("wait", "hold")
FOLLOW_S = 5.0
TAKEN_UP_S = 2.0
LOOK_S = 0.01


class RolloutEnded(Refused):
    """The rollout that was watched was taken back: the ref stays where it was."""

    code = "rollout_taken_back"


def watch(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Tell each change as it comes; the last turn is the result.

    With `--json` each change is a line of JSON. Raises: RolloutEnded where the candidate was taken back.
    """
    from falaj.cli.main import to_json
    from falaj.cli.render.deploy import told_turn

    every, once = float(args.pop("every", EVERY_S)), args.pop("once", False)
    seen: tuple[Any, ...] = ()
    watched = ""
    session.call("deploy.status", {"deployment": args["deployment"]})  # reads the log before a transaction has to
    while True:
        turn: dict[str, Any] = session.call("deploy.tick", args, progress=progress)
        if turn["action"] == "none" and watched:
            turn = _ended_by_others(session, turn, watched)
        watched = turn["rollout"]
        if turn["action"] in ("fail", "abort"):
            raise RolloutEnded(
                f"{turn['deployment']}: v{turn['candidate']} was taken back: {turn['text']}",
                next_step=f"falaj deploy status {turn['deployment']}",
                facts={"rollout": turn["rollout"], "findings": turn["findings"], "entry": turn["entry"]},
            )
        if once or turn["action"] in ("none", "finish"):
            return turn
        now = (turn["action"], turn["share"], turn["baked"])
        if now != seen and "json" in options:
            print(to_json(turn), flush=True)
        elif now != seen and "quiet" not in options:
            lines = told_turn({**turn, "findings": []} if turn["action"] in QUIET else turn, args)
            print(*(f"  {line}" for line in lines), sep="\n", flush=True)
        seen = now
        if turn["action"] != "advance":
            time.sleep(every)


def _ended_by_others(session: Session, turn: dict[str, Any], watched: str) -> dict[str, Any]:
    """How a rollout ended that somebody else, such as a server's loop, carried to its end between two looks."""
    last = session.call("deploy.status", {"deployment": turn["deployment"]})["last"]
    if last is None or last["id"] != watched:
        return turn
    action = {"done": "finish", "failed": "fail"}.get(last["state"], "abort")
    told = {"rollout": last["id"], "candidate": last["candidate"], "stable": last["stable"], "text": last["why"]}
    return {**turn, **told, "action": action}


def rollback(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Roll back; where a server that shares the store's folder serves the ref, say when it had taken that up."""
    result: dict[str, Any] = session.call("ref.rollback", args, progress=progress)
    begin = time.monotonic()
    if not result.get("deployment"):
        return result
    while time.monotonic() - begin < TAKEN_UP_S:
        served = session.call("deploy.status", {"deployment": result["deployment"]})["served"]
        if served is None:
            break
        if served >= result["revision"]:
            return {**result, "taken_up_ms": round((time.monotonic() - begin) * 1000)}
        time.sleep(LOOK_S)
    return result


def logs(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """The newest predictions; with `follow`, what comes after them, until Ctrl-C, each a line of JSON with `--json`."""
    from falaj.cli.main import to_json
    from falaj.cli.render.predictions import logged

    follow, every = args.pop("follow", False), float(args.pop("every", FOLLOW_S))
    asked = {**args, "deployment": args["deployment"].partition("/")[0]}
    found = _log(session, asked)
    if not follow:
        return found
    found["predictions"].reverse()
    while True:
        told = map(to_json, found["predictions"]) if "json" in options else (f"  {line}" for line in logged(found))
        for line in told:
            print(line, flush=True)
        time.sleep(every)
        found = _log(session, {**asked, "after": found["next"]})


def _log(session: Session, args: dict[str, Any]) -> dict[str, Any]:
    """One reading of the log. Raises: Damaged where its end does not come."""
    lines = [json.loads(line) for line in b"".join(session.stream("deploy.logs", args)).splitlines()]
    if not lines or "next" not in lines[-1]:
        raise Damaged("the log ends within a line", next_step="read it again")
    return {
        "predictions": [line for line in lines if "id" in line],
        "damaged": [line["damaged"] for line in lines if "damaged" in line],
        "next": lines[-1]["next"],
    }


def export(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Write the bundle into a new or empty folder, verified against the key that the platform names.

    Raises: ExportExists, ExportFailed, Damaged, BundleDamaged; nothing is left behind then.
    """
    from falaj.deploy import exporting
    from falaj.store.ledger.export import appearing

    into, asked = target.below(options, args["into"]), {"deployment": args["deployment"]}
    key = session.call("deploy.status", asked)["key"]
    with appearing(into) as building:
        bundle = exporting.write(session.stream("deploy.export", asked), building, key)
    told = {"deployment": bundle.deployment, "folder": str(into), "revision": bundle.revision, "key": key}
    routes = [{"role": one.role, "version": one.version, "share": one.share} for one in bundle.routes]
    return {**told, "routes": routes, "issued_at": bundle.issued_at, "lease_until": bundle.lease_until}
