"""A month: its flights are asked about, its outcomes arrive, drift and score are judged, and what must be is begun."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from examples.flights.report import story as s
from examples.flights.year import ahead
from examples.flights.year.asking import Row, requests_of, told
from examples.flights.year.opening import approve, evidence, keep_version, month_name, propose, training_may_read
from examples.flights.year.rollouts import NEWCOMER, ask_in_rounds
from examples.flights.year.telling import now
from examples.flights.year.verdicts import keep_verdict

if TYPE_CHECKING:
    from examples.flights.year.play import Play

WAIT_S, LOOK_S = 600.0, 0.2
SKYWEST = "OO"
PASSENGERS = 150


class Traffic(NamedTuple):
    """How many flights of a month are asked about; `alone` of them one by one, the others in batches of `batch`."""

    questions: int
    alone: int
    batch: int


def play_month(play: Play, month: int, traffic: Traffic, *, strict: bool, last: bool) -> None:
    """One month, from its first question to what follows from it.

    Args:
        strict: whether the candidate that fails in traffic is put out in this month.
        last: no month follows.
    """
    teller = play.teller
    teller.month = f"2013-{month:02d}"
    teller.chapter(f"{teller.month}  {month_name(month)}")
    play.in_force[month] = play.stable
    if month not in play.ready:
        ahead.feeds(play, month)
        play.ready[month] = ahead.questions(play, month, traffic.questions)
    rows = play.asked[month] = play.ready.pop(month)
    if not play.refused_requests:
        _ask_wrongly(play, rows[0])
    answers = ask_in_rounds(play, requests_of(rows, teller.month, alone=traffic.alone, batch=traffic.batch))
    play.answered[month] = {key: (value, a.version) for a in answers for key, value in a.probabilities.items()}
    teller.event("passengers", told(answers))
    if strict:
        _strict(play, month)
    _let_finish(play, rows)
    before = ahead.newest_training(play)
    alarmed = _watch(play, month)
    if last:
        if alarmed:
            _started(play, last=True)
        return
    with ahead.meanwhile(play, month + 1, traffic.questions, after=before):
        retrained = _started(play, last=False) if alarmed else None
        play.retrained[month + 1] = retrained or _for_comparison(play)


def _ask_wrongly(play: Play, row: Row) -> None:
    """Questions that are none get their 4xx, and nobody else notices."""
    statuses = play.asker.ask_wrongly(row)
    if not all(400 <= status < 500 for status in statuses):
        raise SystemExit(f"questions that are none were answered with {statuses}")
    play.refused_requests = len(statuses)
    told = "text for a number, an unknown column, a shape without its data"
    play.teller.event("passengers", f"{told}: {', '.join(map(str, statuses))}", "refused")


def _let_finish(play: Play, rows: list[Row]) -> None:
    """A rollout that is still underway is given the requests that it waits for: the month's flights, asked again.

    Where its judges cannot tell even then, a person takes it back.
    """
    for again in range(3):
        if play.watching.settled()["rollout"] is None:
            return
        ask_in_rounds(play, requests_of(rows, f"{play.teller.month}-again-{again}", alone=300, batch=15))
    if play.watching.settled()["rollout"] is not None:
        play.cast.falaj("operations", "deploy abort delay --reason 'its judges cannot tell after a month'", major=True)
        play.watching.settled()


def _outcomes(play: Play, month: int) -> None:
    """What came of the month's flights is published; training may read the month before it."""
    added = play.cast["operations"].add_data("flights", play.data.flights(month), ref="landed")
    play.landed[month] = added.version
    keep_version(play, f"flights:{added.version}", f"to {month_name(month)}")
    training_may_read(play, play.landed[month - 1], month - 1)


def _watch(play: Play, month: int) -> bool:
    """The month is over: its predictions are collected, outcomes joined, drift and score judged.

    Meanwhile the month becomes the gate's evidence: none of these waits for what it does not read.

    Returns: whether there is an alarm.
    """
    teller, operations = play.teller, play.cast["operations"]
    with ThreadPoolExecutor(2) as pool:
        kept_for_gate = pool.submit(evidence, play, month)
        collected = pool.submit(operations.call, "monitor.collect", deployment="delay")
        _outcomes(play, month)
        collected.result()
        labelled = operations.call("monitor.labels", deployment="delay")["counts"]
        kept_for_gate.result()
    report = operations.call("monitor.report", deployment="delay")
    score = report["scored"] or {}
    worse = score.get("worse_by")
    kept = s.Report(
        at=now(),
        month=teller.month,
        version=report["version"],
        rows=report["rows"],
        drift=_answer(report["drift"]),
        score=_answer(report["score"]),
        columns=tuple(one["column"] for one in report["columns"] if one["significant"] and one["large"]),
        worse_by=s.Estimate(**worse) if worse else None,
        why="; ".join(report["why"]),
        entry=report["entry"],
    )
    teller.reports.append(kept)
    teller.drift += [
        s.Drift(
            month=teller.month,
            column=one["column"],
            psi=one["psi"],
            p=one["p"],
            significant=one["significant"],
            large=one["large"],
            rows=one["rows"][1],
        )
        for one in report["columns"]
    ]
    play.labelled[month] = labelled
    play.lost = sum(len(a.probabilities) for a in play.asker.answers) - (labelled["predictions"] - labelled["failed"])
    before = play.labelled[month - 1]["without"] if month - 1 in play.labelled else 0
    none = labelled["without"] - before
    teller.line(f"{'falaj':<11}{labelled['joined']:,} outcomes joined; {none} flights did not arrive, and have none")
    teller.event("falaj", _shown(kept), "alarm" if kept.alarmed else "done", entry=kept.entry, major=True)
    for why in report["why"]:
        teller.line(f"{'':<13}{why}")
    return kept.alarmed


def _shown(report: s.Report) -> str:
    """A report in a few words: what drifted, and the score."""
    moved = f"{', '.join(report.columns[:3]) or 'nothing'} drifted"
    if report.worse_by is None:
        return moved
    return f"{moved}; Brier {report.worse_by.value:+.3f} ({report.worse_by.low:+.3f} … {report.worse_by.high:+.3f})"


def _answer(word: str) -> Any:
    return "not_enough_data" if word == "not_asked" else word


def _started(play: Play, *, last: bool) -> int | None:
    """What the trigger started by itself, to its end; what passed the gate risk looks at. Returns: the version."""
    teller = play.teller
    start = _waited(play)
    run = start["runs"][-1] if start["runs"] else ""
    told_run = play.cast["science"].call("run.steps", run=run) if run else {"steps": ()}
    steps = [one["state"] for one in told_run["steps"]]
    number = int(start["registered"].rpartition(":")[2]) if start["registered"] else None
    about = f"retrained after the alarm of {month_name(int(teller.month[5:]))}"
    error = start["error"] or {}
    outcome: Any = "taken" if start["state"] == "done" else start["state"]
    what = f"delay v{number}, which the trigger had trained (entry {start['cause_entry']})"
    seconds = _seconds(start)
    if number is not None:
        keep_version(play, f"delay:{number}", about)
    verdicts = start["verdicts"] or _verdicts_of(error)
    for verdict in verdicts:
        keep_verdict(play, verdict, about, "refused" if outcome == "refused" else "approved")
    why = _why(play, error, len(verdicts)) if error else ""
    teller.event(
        "retrainer",
        f"{what}: {why}" if why else f"{what}, passes the gate",
        "refused" if outcome == "refused" else "done" if outcome == "taken" else "failed",
        seconds=seconds,
        major=True,
    )
    teller.retrainings.append(
        s.Retraining(
            month=teller.month,
            trigger=start["trigger"],
            cause=start["cause_entry"] or 0,
            cause_what=", ".join(start["conditions"]),
            run=run,
            seconds=seconds,
            steps=steps.count("done"),
            cached=steps.count("cached"),
            model=number,
            outcome="unchanged" if outcome == "taken" and last else outcome,
            why=why or ("the year was over: nobody was asked for a yes" if last else ""),
        )
    )
    if start["state"] == "done" and start["became"] == "proposed" and not last:
        approve(play, reason=f"looked at: {about}")
        play.watching.settled()
    return number


def _waited(play: Play) -> dict[str, Any]:
    """The newest start of the trigger, once it has ended. Raises: SystemExit where none does in time."""
    give_up = time.monotonic() + WAIT_S
    seen = len(play.teller.retrainings)
    while time.monotonic() < give_up:
        (trigger,) = play.cast["risk"].call("trigger.list", trigger="retrain-delay", limit=5)
        ended = [one for one in trigger["history"] if one["ended_at"] and one["state"] != "covered"]
        waiting = [one for one in trigger["history"] if not one["ended_at"]]
        if ended and not waiting and not trigger["causes"] and ended[0]["number"] > play.last_start:
            play.last_start = ended[0]["number"]
            return dict(ended[0])
        time.sleep(LOOK_S)
    raise SystemExit(f"the trigger started nothing within {WAIT_S:.0f} s, after {seen} starts before")


def _seconds(start: dict[str, Any]) -> float | None:
    from datetime import datetime

    if not start["began_at"] or not start["ended_at"]:
        return None
    return (datetime.fromisoformat(start["ended_at"]) - datetime.fromisoformat(start["began_at"])).total_seconds()


def _verdicts_of(error: dict[str, Any]) -> list[str]:
    facts = error.get("facts") or {}
    return list(facts.get("verdicts") or ([facts["verdict"]] if facts.get("verdict") else []))


def _why(play: Play, error: dict[str, Any], kept: int) -> str:
    """An error in words; of a refusal by the gate, the rules that failed.

    Args:
        kept: how many verdicts, the last ones, were given on it.
    """
    verdicts = play.teller.verdicts[len(play.teller.verdicts) - kept :]
    failed = [f"{one.title} {one.text}" for verdict in verdicts for one in verdict.findings if one.state == "failed"]
    return "; ".join(failed) or str(error.get("message", error.get("code", "")))


def _for_comparison(play: Play) -> int:
    """No alarm: a model is trained all the same, to be compared with; nobody proposes it. Returns: its version."""
    told = play.cast["science"].call("pipeline.run", pipeline="delay", params={"leaves": [15]})
    version = int(told["registered"][-1].rpartition(":")[2])
    keep_version(play, f"delay:{version}", "for comparison, proposed by nobody")
    return version


def _strict(play: Play, month: int) -> None:
    """A candidate that passes on paper fails in traffic: a site asks about an airline that it has never seen."""
    teller, cast = play.teller, play.cast
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ahead.questions, play, month, 900, also=SKYWEST)
        cast.falaj("science", "pipeline run strict", "a strict variant is trained on the last three months")
        (newest,) = cast["science"].call("asset.log", thing="model/delay")["versions"][:1]
        version = int(newest["version"])
        keep_version(play, f"delay:{version}", "strict: an unknown carrier is an error")
        propose(play, "science", version, "which takes an airline that it has not seen for an error")
        asked = asking.result()
    approve(play)
    skywest = [row for row in asked if row["carrier"] == SKYWEST]
    rows = [row for row in asked if row["carrier"] != SKYWEST]
    requests = requests_of(rows, f"{teller.month}-again", alone=400, batch=20)
    every = max(1, len(requests) // PASSENGERS)
    mixed = []
    for place, one in enumerate(requests):
        mixed.append(one)
        if place % every == 0:
            mixed.append(([skywest[place // every % len(skywest)]], f"{NEWCOMER}-{place}"))
    teller.event("passengers", f"of SkyWest ask about its {len(skywest)} flights of the month, among all others")
    before = play.stable
    answers = ask_in_rounds(play, mixed)
    teller.event("passengers", told(answers))
    if play.stable != before:
        raise SystemExit("the strict candidate was not taken back")
