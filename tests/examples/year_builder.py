"""A year as it might be played, drawn by a seed: for pages and tests where no play has been."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from examples.flights.report import story as s
from tests.examples.year_frame import BEGIN, frame

MONTHS = tuple(f"2013-{m:02d}" for m in range(1, 13))
LATE = dict(
    zip(MONTHS, (0.142, 0.143, 0.153, 0.189, 0.149, 0.229, 0.234, 0.158, 0.086, 0.095, 0.098, 0.211), strict=True)
)
AUC = dict(zip(MONTHS[3:], (0.741, 0.752, 0.764, 0.768, 0.748, 0.756, 0.741, 0.703, 0.735), strict=True))
COLUMNS = (
    "temp",
    "dewp",
    "pressure",
    "visib",
    "precip",
    "wind_speed",
    "origin_delay_3h",
    "route_late_28d",
    "hour",
    "distance",
    "plane_age",
    "carrier",
    "origin",
)
SEASONAL = {"temp": 2.4, "dewp": 2.1, "pressure": 0.6, "route_late_28d": 0.7, "origin_delay_3h": 0.2}
TAKEN = {"2013-04": 2, "2013-07": 3, "2013-11": 6}


class Clock:
    """The machine's clock and the ledger's numbers, as both go on."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now, self.leaf = rng, BEGIN, 0

    def at(self, seconds: float = 0.0) -> str:
        self.now += timedelta(seconds=seconds or self.rng.uniform(0.2, 2.5))
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def entry(self) -> int:
        self.leaf += self.rng.randint(1, 6)
        return self.leaf


def year(seed: int = 20131103) -> s.Story:
    """The whole year; equal seeds give equal stories."""
    return _Builder(random.Random(seed), seed).story()


class _Builder:
    def __init__(self, rng: random.Random, seed: int) -> None:
        self.rng, self.seed, self.clock = rng, seed, Clock(rng)
        self.parts: dict[str, list[Any]] = {}

    def add(self, name: str, part: s.Part) -> None:
        self.parts.setdefault(name, []).append(part)

    def story(self) -> s.Story:
        served = 1
        for month in MONTHS:
            self.data(month)
            if month < "2013-03":
                self.month(month, None)
                continue
            if month == "2013-03":
                self.month(month, None)
                self.first(month)
                continue
            self.month(month, served)
            self.report(month)
            served = self.change(month, served)
        return s.Story(
            **{name: tuple(parts) for name, parts in self.parts.items()},  # type: ignore[arg-type]
            **frame(self.clock.leaf, self.seed),
        )

    def event(
        self, month: str, who: str, what: str, outcome: s.Outcome = "done", command: str = "", **more: Any
    ) -> None:
        took = self.rng.uniform(0.1, 5)
        event = s.Event(
            at=self.clock.at(took),
            month=month,
            who=who,
            what=what,
            outcome=outcome,
            command=command,
            seconds=took,
            entry=self.clock.entry(),
            **more,
        )
        self.add("events", event)

    def data(self, month: str) -> None:
        number = MONTHS.index(month) + 1
        rows = self.rng.randint(24_500, 29_500)
        command = f"falaj data add flights 2013-{number:02d}.csv"
        self.event(month, "operations", f"flights v{number}: {rows:,} rows, contract 18 of 18", command=command)
        made = s.Version(
            at=self.clock.at(),
            month=month,
            kind="dataset",
            name="flights",
            number=number,
            by="operations",
            rows=rows,
            note=f"the flights of {month}",
        )
        self.add("versions", made)
        self.add(
            "moves",
            s.Move(
                at=self.clock.at(),
                month=month,
                ref="flights@main",
                before=number - 1 or None,
                after=number,
                sort="moved",
                by="operations",
                entry=self.clock.entry(),
            ),
        )
        if month == "2013-03":
            why = "flights: 3 of 18 rules failed (contract 2.1)"
            details = (
                "unique (year, month, day, carrier, flight, origin): 412 rows, e.g. 2013-05-02 UA 1545 EWR",
                "tailnum not null ≤ 2 %: 61.3 %",
                "distance between 1 and 6,000: 7 rows, e.g. 999999",
            )
            self.event(
                month,
                "operations",
                "a broken file is refused: 3 of 18 rules failed",
                "refused",
                "falaj data add flights broken.csv",
                major=True,
            )
            self.add(
                "refusals",
                s.Refusal(
                    at=self.clock.at(),
                    month=month,
                    who="operations",
                    what="data add flights broken.csv",
                    why=why,
                    details=details,
                    code="contract_refused",
                    entry=self.clock.entry(),
                ),
            )

    def month(self, month: str, served: int | None) -> None:
        flights = self.rng.randint(24_500, 29_500)
        cancelled = self.rng.randint(230, 1300)
        rows = flights - cancelled
        scores = (
            ()
            if served is None
            else tuple(self.score(month, of, served, rows) for of in ("frozen", "retrained", "chosen"))
        )
        self.add(
            "months",
            s.Month(
                month=month,
                flights=flights,
                asked=flights if served else 0,
                answered=flights if served else 0,
                labelled=rows,
                cancelled=cancelled,
                late=LATE[month],
                scores=scores,
                training=served is None,
            ),
        )

    def score(self, month: str, of: s.Sort, served: int, rows: int) -> s.Score:
        rng, late = self.rng, LATE[month]
        auc = AUC[month] + {"frozen": -0.012, "retrained": 0.0, "chosen": 0.002}[of] + rng.gauss(0, 0.006)
        brier = late * (1 - late) * (1.18 - 0.42 * (auc - 0.5)) * 0.93 + rng.gauss(0, 0.0008)
        wide = 0.5 / (rows * late) ** 0.5
        mean = late + {"frozen": 0.028, "retrained": 0.012, "chosen": 0.009}[of] + rng.gauss(0, 0.006)
        less = rng.gauss(-0.001, 0.0012)
        return s.Score(
            of=of,
            brier_to_frozen=None if of == "frozen" else s.Estimate(value=less, low=less - 0.0009, high=less + 0.0009),
            rows=rows,
            mean=mean,
            versions={"frozen": (1,), "retrained": (), "chosen": (served,)}[of],
            auc=s.Estimate(value=auc, low=auc - wide, high=auc + wide),
            brier=s.Estimate(value=brier, low=brier - wide / 5, high=brier + wide / 5),
        )

    def report(self, month: str) -> None:
        season = abs(MONTHS.index(month) - 1) / 5
        drifted = []
        for column in COLUMNS:
            psi = max(0.0, SEASONAL.get(column, 0.02) * season * self.rng.uniform(0.3, 1.4) + self.rng.gauss(0, 0.006))
            few = month == "2013-04" and column == "plane_age"
            cell = s.Drift(
                month=month,
                column=column,
                psi=None if few else psi,
                p=0.0001 if psi > 0.05 else 0.4,
                significant=psi > 0.03 and not few,
                large=psi > 0.2 and not few,
                rows=140 if few else 26_000,
            )
            self.add("drift", cell)
            if cell.drifted:
                drifted.append((psi, column))
        names = tuple(column for _, column in sorted(drifted, reverse=True))
        worse = self.rng.gauss(0.004, 0.006)
        score: s.Answer = "alarm" if worse > 0.01 else "ok"
        alarmed = bool(names) or score == "alarm"
        false = (score == "ok") if alarmed else None
        why = (
            ""
            if not alarmed
            else f"{len(names)} columns drifted; the score {'fell' if score == 'alarm' else 'did not fall'}"
        )
        self.add(
            "reports",
            s.Report(
                at=self.clock.at(),
                month=month,
                version=MONTHS.index(month) - 2,
                rows=26_000,
                drift="alarm" if names else "ok",
                score=score,
                columns=names,
                worse_by=s.Estimate(value=worse, low=worse - 0.004, high=worse + 0.004),
                led_to="retraining" if alarmed else "",
                false_alarm=false,
                why=why,
                entry=self.clock.entry(),
            ),
        )
        if alarmed:
            self.event(month, "falaj", f"drift of {', '.join(names)}", "alarm", major=True)

    def first(self, month: str) -> None:
        self.event(
            month,
            "science",
            "the pipeline trained 3 candidates side by side and registered the best: delay v1",
            command="falaj pipeline run delay",
            major=True,
        )
        self.event(
            month,
            "science",
            "run again, it computed nothing: 9 of 9 steps from before",
            command="falaj pipeline run delay",
        )
        self.add(
            "kills",
            s.Kill(
                at=self.clock.at(),
                month=month,
                process="falaj pipeline run delay",
                found="5 steps committed before were not computed again; 4 were",
            ),
        )
        self.add(
            "versions",
            s.Version(
                at=self.clock.at(),
                month=month,
                kind="model",
                name="delay",
                number=1,
                by="science",
                rows=80_789,
                note="31 leaves, by run 8d2f",
            ),
        )
        self.verdict(
            month, 9, None, passed=False, about="a variant that was trained with dep_delay", came="refused: it leaks"
        )
        self.verdict(month, 1, None, passed=True, about="the first model, January to March", came="in force")
        self.move(month, None, 1, "the first holder")

    def change(self, month: str, served: int) -> int:
        report = self.parts["reports"][-1]
        if not report.alarmed:
            return served
        candidate = MONTHS.index(month) - 1
        taken = month in TAKEN
        failed = month == "2013-09"
        self.add(
            "retrainings",
            s.Retraining(
                month=month,
                trigger="retrain-delay",
                cause=self.clock.entry(),
                cause_what="drift.found",
                run=f"{self.rng.getrandbits(64):016x}",
                seconds=self.rng.uniform(3, 8),
                steps=7,
                cached=2,
                model=candidate,
                outcome="taken" if taken else "rolled_back" if failed else "refused",
                why="" if taken or failed else "no better than the holder within its interval",
            ),
        )
        self.event(month, "falaj", f"retraining started by itself: delay v{candidate}", major=True)
        self.verdict(
            month,
            candidate,
            served,
            passed=taken or failed,
            about=f"retrained after the drift of {month}",
            came="rolled out to 100 %" if taken else "rolled back in canary at 25 %" if failed else "refused",
        )
        if taken or failed:
            self.rollout(month, candidate, served, failed=failed)
        if taken:
            self.move(month, served, candidate, "rolled out to 100 %")
        if month == "2013-11":
            self.add(
                "rollbacks",
                s.Rollback(
                    at=self.clock.at(),
                    month=month,
                    ref="delay@production",
                    before=candidate,
                    after=served,
                    by="operations",
                    answered_ms=41.3,
                    requests=1904,
                    failed=0,
                    entry=self.clock.entry(),
                ),
            )
            self.move(month, candidate, served, "operations took it back", "rolled_back")
            self.event(
                month,
                "operations",
                "rolled back to the version before; it answered after 41 ms",
                "rolled_back",
                "falaj rollback delay@production",
                major=True,
            )
            return served
        return candidate if taken else served

    def move(self, month: str, before: int | None, after: int, why: str, sort: Any = "promoted") -> None:
        self.add(
            "moves",
            s.Move(
                at=self.clock.at(),
                month=month,
                ref="delay@production",
                before=before,
                after=after,
                sort=sort,
                by="science",
                approved_by="risk" if sort == "promoted" else "",
                why=why,
                entry=self.clock.entry(),
            ),
        )

    def verdict(self, month: str, version: int, holder: int | None, *, passed: bool, about: str, came: str) -> None:
        leak = "dep_delay" in about
        auc = self.rng.uniform(0.72, 0.77) if not leak else 0.945
        worse = -0.0021 if passed else 0.0063
        findings = [
            s.Finding(
                rule="auc ≥ 0.7",
                title="auc",
                state="passed",
                passed=True,
                observed=auc,
                bound=0.7,
                rows=27_010,
                text=f"{auc:.3f} ≥ 0.7",
            ),
            s.Finding(
                rule="auc by origin ≥ 0.66",
                title="auc by origin",
                state="passed" if passed or leak else "failed",
                passed=passed or leak,
                observed=0.641 if not passed else 0.702,
                bound=0.66,
                rows=27_010,
                text="LGA 0.641 < 0.66" if not (passed or leak) else "",
                slices=tuple(
                    s.SliceFinding(value=o, state="failed" if v < 0.66 else "passed", observed=v, rows=r)
                    for o, v, r in (
                        ("LGA", 0.702 if passed or leak else 0.641, 8214),
                        ("JFK", 0.731, 9011),
                        ("EWR", 0.744, 9785),
                    )
                ),
            ),
            s.Finding(
                rule="check no_leakage",
                title="check no_leakage",
                state="failed" if leak else "passed",
                passed=not leak,
                text="dep_delay is known only after the decision" if leak else "every input is known at the decision",
            ),
            s.Finding(rule="check lineage_complete", title="check lineage_complete", state="passed", passed=True),
            s.Finding(
                rule="latency_p99 ≤ 5 ms",
                title="latency_p99",
                state="passed",
                passed=True,
                observed=1.84,
                bound=5.0,
                rows=2000,
            ),
            s.Finding(
                rule="approval from a maintainer other than the proposer",
                state="pending",
                passed=False,
                title="approval from a maintainer other than the proposer",
            ),
        ]
        if holder is not None:
            findings.insert(
                2,
                s.Finding(
                    rule="brier against holder no worse than 0.002",
                    title="brier against holder",
                    state="passed" if passed else "failed",
                    passed=passed,
                    observed=worse,
                    bound=0.002,
                    interval=(worse - 0.0031, worse + 0.0031),
                    rows=27_010,
                    text=f"{worse:+.4f} against v{holder} on the same rows",
                ),
            )
        self.add(
            "verdicts",
            s.Verdict(
                id=f"{self.rng.getrandbits(64):016x}",
                at=self.clock.at(),
                month=month,
                ref="delay@production",
                version=version,
                gate="production",
                gate_version=3,
                holder=holder,
                passed=passed,
                findings=tuple(findings),
                approvals=("maintainer",),
                data="flights:9",
                rows=27_010,
                unlabelled=712,
                by="science",
                about=about,
                came=came,
                entry=self.clock.entry(),
            ),
        )
        said = "passed" if passed else f"{sum(f.state == 'failed' for f in findings)} rules failed"
        self.event(
            month,
            "science",
            f"gate production v3 on delay v{version}: {said}",
            "done" if passed else "refused",
            f"falaj promote delay@production {version}",
            major=True,
        )

    def rollout(self, month: str, candidate: int, stable: int, *, failed: bool) -> None:
        steps = []
        for share in (0.05, 0.25, 1.0):
            bad = failed and share == 0.25
            asked = 5000
            steps.append(
                s.RolloutStep(
                    share=share,
                    at=self.clock.at(),
                    canary=s.Side(
                        requests=int(asked * share), errors=38 if bad else 0, p99_ms=3.1, mean=0.29 if bad else 0.161
                    ),
                    stable=s.Side(requests=asked - int(asked * share), errors=0, p99_ms=3.0, mean=0.158),
                    shift=0.31 if bad else 0.004,
                    judgement="roll back" if bad else "advance",
                    passed=not bad,
                    why="errors 3.04 % > 1 %: carrier XX is unknown to the model; shift 0.31"
                    if bad
                    else "no errors, no shift",
                )
            )
            if bad:
                break
        self.add(
            "rollouts",
            s.Rollout(
                month=month,
                at=self.clock.at(),
                deployment="delay",
                candidate=candidate,
                stable=stable,
                state="failed" if failed else "completed",
                steps=tuple(steps),
                why="errors 3.04 % > 1 % at 25 %: a carrier that the training never saw" if failed else "",
                back_ms=38.2 if failed else None,
                entry=self.clock.entry(),
            ),
        )
        said = "failed at 25 % and went back by itself" if failed else "went to 100 %"
        self.event(
            month, "falaj", f"rollout of delay v{candidate} {said}", "rolled_back" if failed else "done", major=True
        )
