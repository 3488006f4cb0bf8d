"""Traffic while a rollout is underway, and what is seen of it. The server's own loop decides; the play only asks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from examples.flights.report import story as s
from examples.flights.year.asking import Answer, Row
from examples.flights.year.telling import now
from examples.flights.year.verdicts import came_of

if TYPE_CHECKING:
    from examples.flights.year.play import Play

FULL = 10_000
ROUND = 60
"""Requests between two looks at the rollout."""
PATIENCE_S = 30.0
NEWCOMER = "skywest"
"""What clients are called who ask about an airline that a strict candidate has never seen."""
DUE = ("advance", "finish", "fail")


class Watching:
    """What is seen of one deployment's rollouts, step by step."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.steps: list[s.RolloutStep] = []
        self.began = ""
        self.asked = 0

    def look(self) -> dict[str, Any]:
        """The deployment as it is; what is new of its rollout is told."""
        status = dict(self.play.cast["operations"].call("deploy.status", deployment="delay"))
        rollout, last = status["rollout"], status["last"]
        if self.began and (rollout is None or rollout["id"] != self.began):
            self._ended(last)
        if rollout is not None:
            if rollout["id"] != self.began:
                self.began, self.steps, self.asked = rollout["id"], [], len(self.play.asker.answers)
            self._step(status, rollout)
        return status

    def settled(self) -> dict[str, Any]:
        """As `look`, after the server's loop has done what is due, and the inference server knows of it."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            status = self.look()
            rollout = status["rollout"]
            is_due = rollout is not None and rollout["next"] in DUE
            if (not is_due and status["served"] == status["revision"]) or time.monotonic() > give_up:
                return status
            time.sleep(0.1)

    def _step(self, status: dict[str, Any], rollout: dict[str, Any]) -> None:
        sides = {route["role"]: route for route in status["routes"]}
        shift = next((f["canary"] for f in rollout["findings"] if f["judge"] == "prediction_shift"), None)
        step = s.RolloutStep(
            share=rollout["steps"][rollout["step"]] / FULL,
            at=rollout["step_at"],
            canary=_side(sides.get("canary") or (sides.get("stable") if rollout["step"] else None)),
            stable=_side(sides.get("stable") if "canary" in sides else None),
            shift=shift,
            judgement=rollout["next"],
            passed=None if rollout["next"] in ("wait", "hold") else rollout["next"] != "fail",
            why=rollout["text"],
        )
        if self.steps and self.steps[-1].at == step.at:
            self.steps[-1] = step
            return
        if self.steps:
            self.steps[-1] = msgspec.structs.replace(self.steps[-1], judgement="advance", passed=True)
        self.steps.append(step)
        rest = f", v{rollout['stable']} the rest" if step.share < 1 else ""
        self.play.teller.event("falaj", f"delay v{rollout['candidate']} answers {step.share:.0%} of the requests{rest}")

    def _ended(self, last: dict[str, Any]) -> None:
        """A rollout is over: the ref moved at 100 %, or everything went back."""
        play, done = self.play, last["state"] == "done"
        self.began = ""
        if self.steps:
            final = "advance" if done else "roll back"
            self.steps[-1] = msgspec.structs.replace(self.steps[-1], judgement=final, passed=done, why=last["why"])
        answers = play.asker.answers if play.asker else []
        mine = [a for a in answers if a.version == last["candidate"] and a.status == 200]
        ended = datetime.fromisoformat(last["ended_at"]).timestamp()
        back = max((a.at for a in mine if a.at > ended), default=ended) - ended
        failed = sum(a.status != 200 and not a.client.startswith(NEWCOMER) for a in answers[self.asked :])
        play.teller.rollouts.append(
            s.Rollout(
                month=play.teller.month,
                at=last["began_at"],
                deployment="delay",
                candidate=last["candidate"],
                stable=last["stable"],
                state="completed" if done else "failed" if last["state"] == "failed" else "aborted",
                steps=tuple(self.steps),
                why=last["why"],
                other_failed=failed,
                back_ms=None if done else back * 1000,
            )
        )
        if done:
            play.stable = last["candidate"]
            play.teller.event("falaj", f"delay@production v{last['stable']} → v{last['candidate']}, baked", major=True)
            came_of(play, last["candidate"], "rolled out to 100 %")
            play.teller.moves.append(
                s.Move(
                    at=now(),
                    month=play.teller.month,
                    ref="delay@production",
                    before=last["stable"],
                    after=last["candidate"],
                    by=last["by"],
                    approved_by="risk",
                )
            )
        else:
            share = self.steps[-1].share if self.steps else 0.0
            play.teller.event(
                "falaj",
                f"the canary of delay v{last['candidate']} fails at {share:.0%}: {last['why']}; "
                f"v{last['stable']} answers everything again",
                "rolled_back",
                major=True,
            )
            came_of(play, last["candidate"], f"rolled back at {share:.0%}")
            _retraining_came_back(play, last["candidate"], last["why"])


def _retraining_came_back(play: Play, version: int, why: str) -> None:
    """The retraining that made a version came to nothing after all."""
    kept = play.teller.retrainings
    for place, one in enumerate(kept):
        if one.model == version:
            kept[place] = msgspec.structs.replace(one, outcome="rolled_back", why=why)


def ask_in_rounds(play: Play, requests: Sequence[tuple[Sequence[Row], str]]) -> list[Answer]:
    """All requests; between rounds the rollout is looked at, if one is underway."""
    answers: list[Answer] = []
    at = 0
    while at < len(requests):
        status = play.watching.settled()
        size = ROUND if status["rollout"] is not None else len(requests)
        answers += play.asker.ask_all(requests[at : at + size])
        at += size
    play.watching.settled()
    return answers


def _side(route: dict[str, Any] | None) -> s.Side:
    if route is None:
        return s.Side()
    errors = round((route["errors"] or 0.0) * route["requests"])
    return s.Side(requests=route["requests"], errors=errors, p99_ms=route["p99_ms"])
