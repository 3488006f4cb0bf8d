"""Until a model serves: servers and persons, January to March, the pipeline, the gate, the first version at work."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from examples.flights.report import story as s
from examples.flights.year import ahead
from examples.flights.year.asking import Asker
from examples.flights.year.cast import CAST, DONE, REFUSED, Cast, WrongTurn
from examples.flights.year.files import BROKEN
from examples.flights.year.telling import now
from examples.flights.year.verdicts import keep_verdict

if TYPE_CHECKING:
    from examples.flights.year.play import Play

REF = "delay@production"
LEAKY = 19
"""The columns of the variant that has one too many."""
NAMES = "January February March April May June July August September October November December".split()


def month_name(month: int) -> str:
    """`March`."""
    return NAMES[month - 1]


def begin(play: Play) -> None:
    """The files, a server, and everybody who may come in."""
    from falaj.cli.main import main as falaj

    play.teller.chapter("1  A project, a server, five who act")
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(play.data.write)
        if falaj(["-C", str(play.folder), "init", "-q"]) != DONE:
            raise WrongTurn("the store could not be made")
        token = play.house.open()
        play.cast = Cast(play.teller, play.folder, play.house.url, token)
        written.result()
    for person in CAST:
        play.teller.line(f"{person.name:<11}{person.role}")
    play.teller.event(
        "owner", f"came in by the one-time token, and let {len(CAST) - 1} others in", major=True, quiet=True
    )
    play.cast.falaj("operations", "apply", "contracts, gate, features, deployment and trigger from files", major=True)


def bring_in(play: Play) -> None:
    """January to March; a broken March is refused."""
    teller, cast, data = play.teller, play.cast, play.data
    teller.chapter("2  January to March come in, judged by their contracts")
    cast.falaj("operations", f"data add planes {data.planes}", "planes come in")
    for month in (1, 2, BROKEN):
        teller.month = f"2013-{month:02d}"
        if month == BROKEN:
            cast.falaj(
                "operations",
                f"data add flights {data.broken} --ref landed",
                "a broken March is refused, with every failed rule",
                code=REFUSED,
                major=True,
            )
        name = month_name(month)
        cast.falaj("operations", f"data add flights {data.flights(month)} --ref landed", f"{name} comes in")
        for feed in ("weather", "departures"):
            cast.falaj("operations", f"data add {feed} {data.feed(feed, month)}", f"{feed} of {name}")
        play.landed[month] = keep_version(play, "flights@landed", f"to {month_name(month)}")
    training_may_read(play, play.landed[2], 2)
    evidence(play, 3)


def training_may_read(play: Play, version: int, month: int) -> None:
    """`flights@main`, which training reads, follows a month behind."""
    cast = play.cast
    told = cast["operations"].promote("flights@main", version)
    what = f"flights@main v{told['previous']} → v{version}" if told["previous"] else f"flights@main v{version}"
    play.teller.event(
        "operations", f"{what}: training may read the months to {month_name(month)}", entry=told.get("entry")
    )
    keep_move(play, "flights@main", told["previous"], version, "moved", "operations", told.get("entry"))


def evidence(play: Play, month: int) -> dict[str, Any]:
    """The gate's evidence becomes a month: its flights, with their features as known then, and what came of them."""
    operations, risk = play.cast["operations"], play.cast["risk"]
    made = operations.add_data("schedule", play.data.feed("schedule", month), ref="flown", mode="replace")
    joined = operations.call(
        "features.join", service="delay_v1", rows=f"schedule:{made.version}", at="decided_at", into="delay_evidence"
    )
    name, version = month_name(month), joined["version"]
    play.teller.version("dataset", "delay_evidence", version, by="operations", rows=joined["rows"], note=name)
    told = operations.promote("delay_evidence@holdout", version, reason=name)
    if told.get("proposal"):
        risk.approve(told["proposal"], reason=f"{name} is over, and no training has read it")
    play.teller.event(
        "risk", f"lets {name} be what the gate measures on: delay_evidence v{version}, {joined['rows']:,} flights"
    )
    return dict(joined)


def train(play: Play) -> None:
    """The pipeline is killed in its middle, goes on, and has nothing to do the third time."""
    teller, cast = play.teller, play.cast
    teller.chapter("3  A pipeline: killed in its middle, resumed, run again")
    committed = _killed(play)
    at = now()
    play.house.start_again()
    told = cast.falaj(
        "science", "pipeline run delay", "run again, it computes what had not committed", major=True
    ).result
    found = f"{committed} results were committed; the next run took {told['cached']}, and computed {told['computed']}"
    teller.kills.append(s.Kill(at=at, month=teller.month, process="falaj server with a pipeline at work", found=found))
    if told["cached"] < committed:
        raise WrongTurn(f"a committed result was computed again: {found}")
    told = cast.falaj("science", "pipeline run delay", "run once more, it computes nothing", major=True).result
    if told["computed"]:
        raise WrongTurn(f"{told['computed']} results were computed again")
    keep_version(play, "delay:1", "January and February")


def _killed(play: Play) -> int:
    """Kill the server, and with it the run, once a few steps are committed. Returns: how many are."""
    cast, teller = play.cast, play.teller
    print("  science $ falaj pipeline run delay", flush=True)
    begun = subprocess.Popen(
        [sys.executable, "-m", "falaj.cli.main", *cast.words("pipeline run delay")],
        env=cast.environment("science"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    science, done = cast["science"], 0
    while done < 2:
        time.sleep(0.1)
        if begun.poll() is not None:
            raise WrongTurn("the pipeline came to its end before it could be killed")
        runs = science.call("run.list", sort="pipeline.run", limit=1)["items"]
        steps = science.call("run.steps", run=runs[0]["id"])["steps"] if runs else ()
        done = sum(step["state"] == "done" for step in steps)
    play.house.platform.kill()
    begun.kill()
    begun.wait()
    teller.event("play", f"kill -9 of the server, when {done} results of the run were committed", "failed", major=True)
    return done


def judge(play: Play, *, first: int, questions: int) -> None:
    """A candidate that knows the future is refused; the honest one is approved by another person, and serves.

    Args:
        first: the month that is predicted first, whose questions are made ready meanwhile; `questions`: how many.
    """
    play.teller.chapter("4  The gate, another person's yes, the first version at work")
    with ahead.meanwhile(play, first, questions, after=ahead.newest_training(play)):
        _judge(play)


def _judge(play: Play) -> None:
    run = play.cast.falaj(
        "science", "pipeline run variants", "two variants are trained: one knows dep_delay, one too little"
    )
    leaky, careless = sorted(_registered(play, run.result), key=lambda one: one[1] != LEAKY)
    keep_version(play, f"delay:{leaky[0]}", "with dep_delay")
    keep_version(play, f"delay:{careless[0]}", "three columns alone")
    propose(play, "science", leaky[0], "which was given dep_delay", refused="no_leakage")
    propose(play, "science", 1, "trained on January and February")
    approve(play)
    serve(play)
    propose(play, "science", careless[0], "which looks at carrier, airport and hour alone", refused="holder")


def _registered(play: Play, run: dict[str, Any]) -> list[tuple[int, int]]:
    """What a run registered: versions, and how many columns each reads."""
    shown = [play.cast["science"].call("asset.show", thing=one)["shown"] for one in run["registered"]]
    return [(int(one["version"]), len(one["payload"]["inputs"])) for one in shown]


def propose(play: Play, who: str, version: int, about: str, *, refused: str = "") -> str:
    """A candidate is proposed, and judged.

    Args:
        refused: a word of a rule that it must fail by, "" where it must pass.
    Returns: the id of the verdict.
    """
    came = "the gate refuses it" if refused else "it passes the gate"
    told = play.cast.falaj(
        who,
        f"propose {REF} {version}",
        f"delay v{version}, {about}: {came}",
        code=REFUSED if refused else DONE,
        major=True,
    )
    if told.error is not None:
        failed = [one["rule"] for one in told.error.facts["findings"] if one["state"] == "failed"]
        if not any(refused in rule for rule in failed):
            raise WrongTurn(f"it was to be refused by {refused}, and was by {', '.join(failed)}")
        verdict = str(told.error.facts["verdict"])
    else:
        verdict = str(told.result["verdicts"][0])
    keep_verdict(play, verdict, about, "refused" if refused else "approved", entry=told.entry)
    return verdict


def approve(play: Play, reason: str = "the scores hold") -> dict[str, Any]:
    """Risk looks at what waits, and says yes to it. Returns: the proposal as it was, with what came of it."""
    (waiting,) = play.cast["risk"].proposals()
    said = play.cast.falaj(
        "risk",
        f"approve {waiting['id']} --reason '{reason}'",
        f"approves delay v{waiting['version']}, which {waiting['by']} proposed",
        major=True,
    )
    return {**waiting, **said.result}


def serve(play: Play) -> None:
    """The inference server comes up on the signed bundle; it needs nothing else."""
    at = time.monotonic()
    status = play.cast["operations"].call("deploy.status", deployment="delay")
    print(f"  operations $ falaj serve {status['folder']} --key {status['key']}", flush=True)
    play.house.serve(play.folder / status["folder"], status["key"])
    play.asker = Asker(play.house.inference_port, "delay")
    play.asker.learn()
    play.teller.event(
        "operations",
        f"falaj serve answers with delay v{status['routes'][0]['version']}, revision {status['revision']}",
        seconds=time.monotonic() - at,
        major=True,
    )
    play.stable = status["routes"][0]["version"]
    keep_move(play, REF, None, status["routes"][0]["version"], "promoted", "science", None, approved_by="risk")


def keep_version(play: Play, thing: str, note: str) -> int:
    """A version, for the report. Returns: its number."""
    shown = play.cast["operations"].call("asset.show", thing=thing)
    one = shown["shown"]
    play.teller.version(
        shown["kind"], shown["name"], one["version"], by=one["by"], rows=one["payload"].get("rows"), note=note
    )
    return int(one["version"])


def keep_move(
    play: Play,
    ref: str,
    before: int | None,
    after: int,
    sort: Any,
    by: str,
    entry: int | None,
    *,
    approved_by: str = "",
    why: str = "",
) -> None:
    """A ref that moved, for the report."""
    play.teller.moves.append(
        s.Move(
            at=now(),
            month=play.teller.month,
            ref=ref,
            before=before,
            after=after,
            sort=sort,
            by=by,
            approved_by=approved_by,
            why=why,
            entry=entry,
        )
    )
