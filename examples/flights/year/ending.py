"""After December: back under load, from one answer to its origins, the ledger proved, the models compared, the page."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from examples.flights.report import page
from examples.flights.report import story as s
from examples.flights.year import comparing
from examples.flights.year.cast import CAST, WrongTurn
from examples.flights.year.opening import REF, keep_move
from examples.flights.year.telling import now

if TYPE_CHECKING:
    from examples.flights.year.play import Play

ROOT = Path(__file__).parents[3]
TRACED = ("deployment", "model", "dataset", "features", "code", "environment")


def prove(play: Play) -> None:
    """A rollback under load, one answer traced, answers without the platform, the ledger verified by two."""
    play.teller.chapter("5  Back under load; where an answer came from; without the platform; the ledger")
    _rollback(play)
    _trace(play)
    _alone(play)
    _verify(play)


@contextmanager
def _asking(play: Play, client: str) -> Iterator[None]:
    """Passengers who go on asking, two at once; some have their answers before it begins, and some after its end."""
    rows, over, asker = play.asked[max(play.asked)], threading.Event(), play.asker

    def go_on() -> None:
        place = 0
        while not over.is_set():
            asker.ask([rows[place % len(rows)]], f"{client}-{place}")
            place += 1

    clients = [threading.Thread(target=go_on) for _ in range(2)]
    for one in clients:
        one.start()
    try:
        _wait_for_answers(play, len(asker.answers) + 50)
        yield
        _wait_for_answers(play, len(asker.answers) + 50)
    finally:
        over.set()
        for one in clients:
            one.join()


def _rollback(play: Play) -> None:
    teller, asker = play.teller, play.asker
    first = len(asker.answers)
    with _asking(play, "during-rollback"):
        told = play.cast.falaj(
            "operations", f"rollback {REF} --reason 'winter is over'", "back, while passengers ask"
        ).result
    answers = asker.answers[first:]
    committed = _moment(play, told["entry"])
    before, after = int(told["previous"]), int(told["version"])
    back = min((a.at for a in answers if a.version == after), default=None)
    answered = None if back is None else max(0.0, (back - committed) * 1000)
    failed = sum(a.status != 200 for a in answers)
    teller.rollbacks.append(
        s.Rollback(
            at=now(),
            month=teller.month,
            ref=REF,
            before=before,
            after=after,
            by="operations",
            answered_ms=answered,
            requests=len(answers),
            failed=failed,
            entry=told["entry"],
        )
    )
    play.stable = after
    keep_move(play, REF, before, after, "rolled_back", "operations", told["entry"])
    took = "-" if answered is None else f"{answered:.0f} ms after the commit"
    teller.event(
        "operations",
        f"{REF} v{before} → v{after}: answered by v{after} {took}, {failed} of {len(answers)} requests failed",
        entry=told["entry"],
        major=True,
    )


def _wait_for_answers(play: Play, count: int) -> None:
    while len(play.asker.answers) < count:
        time.sleep(0.01)


def _moment(play: Play, entry: int) -> float:
    shown = play.cast["owner"].call("ledger.show", scope="store", entry=str(entry))
    return datetime.fromisoformat(shown["at"]).timestamp()


def _alone(play: Play) -> None:
    """The platform is killed while passengers ask: the inference server answers on, and says how old its word is."""
    teller, house = play.teller, play.house
    at = now()
    with _asking(play, "without-platform"):
        begin = time.time()
        house.platform.kill()
        _wait_for_answers(play, len(play.asker.answers) + 100)
        knew = house.ready()
        house.start_again()
        end = time.time()
    answers = [one for one in play.asker.answers if begin <= one.at - one.seconds and one.at <= end]
    failed = sum(one.status != 200 for one in answers)
    found = (
        f"away for {end - begin:.1f} s, in which falaj serve answered {len(answers) - failed} of {len(answers)} "
        f"requests; its knowledge was {knew['age_s']:.0f} s old, as it says itself"
    )
    teller.kills.append(s.Kill(at=at, month=teller.month, process="falaj server, with nothing at work", found=found))
    teller.event("play", f"kill -9 of the server, {found}", "failed", major=True)
    if failed or not answers:
        raise WrongTurn("the inference server does not answer without the platform")


def _trace(play: Play) -> None:
    """From one answer of the last month to all that it came from."""
    month = max(play.asked)
    asked = set(play.answered[month])
    answer = next(
        a for a in reversed(play.asker.answers) if a.id and len(a.probabilities) == 1 and asked & {*a.probabilities}
    )
    (key,) = answer.probabilities
    said = play.cast.falaj(
        "risk", f"lineage prediction:{answer.id}", "from one answer to data, code and persons", major=True
    )
    (late,) = play.data.late(month, [key])
    came = {True: "more than 30 minutes late", False: "not more than 30 minutes late", None: "without an arrival"}[late]
    play.lineage = _graph(answer.id, key, came, said.result, said.output)


def _graph(prediction: str, key: str, came: str, told: dict[str, Any], output: str) -> s.Lineage:
    """The answer of `lineage prediction:ID` as a graph."""
    made, admitted = told["made"] or {}, told["admitted"] or {}
    model = f"{told['model']} v{told['version']}"
    value = told["rows"][0]["output"]
    nodes = [
        s.Node(id="prediction", sort="prediction", label=f"{value:.3f}", details=(key, told["at"])),
        s.Node(id="deployment", sort="deployment", label=told["deployment"], details=(f"revision {told['revision']}",)),
        s.Node(id="model", sort="model", label=model, details=(str(made.get("digest", ""))[:24],)),
    ]
    edges = [
        s.Edge(source="prediction", target="deployment", label="answered by"),
        s.Edge(source="deployment", target="model", label=told["role"]),
    ]

    def add(node: str, sort: str, label: str, edge: str, *details: str, below: str = "model") -> None:
        nodes.append(s.Node(id=node, sort=sort, label=label, details=tuple(d for d in details if d)))
        edges.append(s.Edge(source=below, target=node, label=edge))

    if made:
        add("run", "run", made["run_name"], "made by", made["run"], f"by {made['by']}")
        add("code", "code", str(made["code"])[:12], "ran", below="run")
        add("environment", "environment", str(made["environment"])[:12], "in", below="run")
        for one in made["features"]:
            add(one, "features", one.partition("/")[2] or one, "used", below="run")
        for one in made["data"]:
            add(one, "dataset", one.removeprefix("dataset/"), "read", below="run")
    if admitted:
        add("gate", "gate", ", ".join(admitted["gates"]), "let in by", *admitted["verdicts"])
        add("proposer", "person", admitted["proposed_by"], "proposed by")
        for one in admitted["approved_by"]:
            add(f"approver {one}", "person", one, "approved by")
    return s.Lineage(
        prediction=prediction,
        output=value,
        asked=key,
        came=came,
        nodes=tuple(nodes),
        edges=tuple(edges),
        told=tuple(line.strip() for line in output.splitlines()),
    )


def _verify(play: Play) -> None:
    cast = play.cast
    told = cast.falaj("owner", "ledger verify", "every entry, and every state has its entry", major=True).result
    if not told["ok"]:
        raise WrongTurn("the ledger does not hold")
    export = play.folder / "proof"
    cast.falaj("owner", f"ledger export {export}", "the ledger is written out for a stranger")
    stranger = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "stranger_verify.py"), str(export)],
        capture_output=True,
        text=True,
        check=False,
    )
    play.teller.output(stranger.stdout)
    play.teller.event(
        "stranger", "verifies it with no code of Falaj", "done" if not stranger.returncode else "failed", major=True
    )
    play.did = Counter(entry["by"] for entry in _entries(play))
    play.ledger = s.Ledger(
        entries=told["entries"],
        checkpoints=told["checkpoints"],
        root=told["root"],
        consistent=told["ok"],
        every_state=not told["problems"],
        stranger=stranger.returncode == 0,
    )


def _entries(play: Play) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = None
    while True:
        more = {} if before is None else {"before": before}
        told = play.cast["owner"].call("ledger.log", scope="store", limit=200, **more)
        found += told["items"]
        before = told["next"]
        if before is None:
            return found


def score(play: Play) -> None:
    """Frozen, always retrained, chosen by Falaj: on the same flights of each month. Then, which alarms were false."""
    from falaj.platform import Platform

    wanted = {1, *play.retrained.values(), *play.in_force.values()}
    with tempfile.TemporaryDirectory() as scratch:
        platform = Platform.open(play.folder, read_only=True)
        try:
            models = comparing.models(platform, wanted, Path(scratch))
        finally:
            platform.close()
    chances = {month: comparing.chances(play, month, models) for month in play.asked}
    play.months = [comparing.trained_on(play, number) for number in (1, 2, 3)]
    play.months += [comparing.month_of(play, number, chances[number]) for number in sorted(play.asked)]
    play.teller.reports = [comparing.with_hindsight(play, report, chances) for report in play.teller.reports]


def persons(play: Play) -> tuple[s.Person, ...]:
    """Everybody, with what they did."""
    known = [*CAST, s.Person(name="falaj", role="the platform itself: loops, rollouts, collections")]
    return tuple(msgspec.structs.replace(one, did=play.did.get(one.name, 0)) for one in known)


def extra(play: Play) -> dict[str, Any]:
    """What is known at the end only."""
    answers = play.asker.answers if play.asker else []
    counts = play.labelled[max(play.labelled)] if play.labelled else {}
    starts = play.teller.retrainings
    return {
        "lineage": play.lineage,
        "ledger": play.ledger,
        "counts": s.Counts(
            requests=len(answers),
            refused_requests=play.refused_requests,
            lost=play.lost,
            requests_failed=sum(a.status != 200 for a in answers),
            predictions=sum(len(a.probabilities) for a in answers),
            joined=counts.get("joined", 0) + counts.get("before", 0) if counts else None,
            without=counts.get("without") if counts else None,
            waiting=counts.get("waiting") if counts else None,
            steps=sum(one.steps for one in starts),
            cached=sum(one.cached for one in starts),
        ),
    }


def close(play: Play, story: s.Story) -> None:
    """The table of what happened, the scores, and where to look."""
    print("\nWhat happened\n")
    print(play.teller.table())
    print("\nScore by month, Brier (less is better), with its 95 % interval; AUC beside it\n")
    print(comparing.table(story))
    print(f"\n{comparing.alarms(story)}")
    target = play.folder / "report.html"
    page.write(target, story)
    shown = os.path.relpath(play.folder)
    together = next((p.peak_mib for p in story.processes if p.name == "all together"), 0.0)
    print(f"\n{story.seconds:.0f} s in all, {together:,.0f} MiB at most")
    print(f"look at it:  {os.path.relpath(target)}")
    print(f"explore it:  .venv/bin/falaj -C {shown} log delay@production")
