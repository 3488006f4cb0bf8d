"""The year as it was played: what `year.json` holds, and the report shows. Nothing here is computed by the report.

Every value is an answer of Falaj (over HTTP), of the inference server, or a figure that the play measured itself; the
report only counts, sorts and draws. So each record names its source: the operation whose answer fills it. A value that
was not measured is None and is shown as such; a part that did not happen is empty and its section says so.

Two clocks run in the play. `at` is the clock of the machine (`2026-11-24T17:38:55.000000Z`, as in Falaj's answers);
`month` is the month of the data that was being played (`2013-04`). Shares, rates and scores are 0 to 1; times say their
unit. Versions are numbers, shown as `v7`; things are written as Falaj writes them, `delay@production`, `flights:9`.
Unknown fields are refused, so a misspelt one is found when the file is written rather than missed in the page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
MonthName = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Outcome = Literal["done", "refused", "alarm", "rolled_back", "failed"]
Sort = Literal["frozen", "retrained", "chosen"]
FindingState = Literal["passed", "failed", "waived", "pending", "not_needed", "not_judged"]
Ending = Literal["completed", "failed", "aborted", "running"]
Answer = Literal["ok", "alarm", "not_enough_data"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the records of a story."""


class About(Part, frozen=True, kw_only=True):
    """What the models are asked, in words, and what was fixed before the play.

    Attributes:
        question: one sentence: "Two hours before departure, how likely is an arrival more than 30 minutes late?"
        label: the SQL that decides it, `arr_delay > 30`.
        known: sentences: what counts as known at that moment.
        fixed: sentences: months, thresholds and rules that were written down before the play began, and which of
            them were changed after earlier plays.
        limits: sentences a reader must know before believing a figure (cancelled flights have no label …).
        source: where the data come from, and its licence.
    """

    question: str = ""
    label: str = ""
    known: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    source: str = ""


class Person(Part, frozen=True, kw_only=True):
    """A principal that acted. Source: the play's cast; `did` counts its entries (`ledger.log`).

    Attributes:
        name: as entries show it, `science`, `risk`, `falaj`.
        role: in words, `trains and proposes`.
        may: roles it holds, `contributor of flights`.
        did: entries that it made.
    """

    name: str
    role: str = ""
    may: str = ""
    did: Count = 0


class Event(Part, frozen=True, kw_only=True):
    """One thing that happened, for the table of what happened. Source: the answer of the operation that did it.

    Attributes:
        who: name of the principal.
        what: one sentence with the figures, as a person would tell it.
        outcome: refused = Falaj said no, as it should; failed = something broke (killed, crashed) and was resumed.
        command: as it was typed, "" where nobody typed one (trigger, loop).
        seconds: how long it took, None where nothing was waited for.
        entry: leaf number in the ledger, None where none was made.
        major: whether the timeline marks it.
    """

    at: str
    month: MonthName
    who: str
    what: str
    outcome: Outcome = "done"
    command: str = ""
    seconds: float | None = None
    entry: Count | None = None
    major: bool = False


class Version(Part, frozen=True, kw_only=True):
    """A version that came to be. Source: the answer of `data.add`, `model.register`, `apply`.

    Attributes:
        kind: `dataset`, `model`, `gate`, `feature_service`, …
        name, number: `flights`, 4.
        rows: of a dataset; of a model, those it was trained on.
        note: in words: `January to April`, `31 leaves, by run 8d2f`.
    """

    at: str
    month: MonthName
    kind: str
    name: str
    number: Count
    by: str = ""
    rows: Count | None = None
    note: str = ""


class Move(Part, frozen=True, kw_only=True):
    """A ref that moved. Source: `log delay@production`.

    Attributes:
        ref: `delay@production`, `flights@main`.
        before: None for the first holder.
        sort: rolled_back goes to a version that held the ref before; promoted by a gate's verdict; moved without gate.
        approved_by: the other person, "" where none was asked.
    """

    at: str
    month: MonthName
    ref: str
    before: Count | None
    after: Count
    sort: Literal["promoted", "moved", "rolled_back"] = "promoted"
    by: str = ""
    approved_by: str = ""
    why: str = ""
    entry: Count | None = None


class SliceFinding(Part, frozen=True, kw_only=True):
    """One slice of a finding. Source: `gate.show`, field by field."""

    value: str
    state: FindingState
    observed: float | None = None
    rows: Count = 0


class Finding(Part, frozen=True, kw_only=True):
    """What one rule found. Source: `gate.show`, the fields of `falaj.gates.records.Finding` under the same names.

    Attributes:
        rule: in words with its bound, `auc by origin ≥ 0.66`; `title` without it.
        observed: the measured value; for slices the worst; for the holder how much worse (negative = better).
        interval: 95 %, for the holder.
        slices: worst first.
    """

    rule: str
    state: FindingState
    passed: bool
    observed: float | None = None
    bound: float | None = None
    rows: Count | None = None
    interval: tuple[float, float] | None = None
    note: str = ""
    slices: tuple[SliceFinding, ...] = ()
    title: str = ""
    text: str = ""


class Verdict(Part, frozen=True, kw_only=True):
    """What a gate said of a candidate. Source: `gate.show`, plus the month and what came of it.

    Attributes:
        ref: `delay@production`; `version` the candidate's.
        holder: version that held the ref, None for none.
        data: version it was measured on, `flights:9`.
        came: what followed, in words: `rolled out to 100 %`, `refused`, `rolled back at 25 %`.
        about: what the candidate is, in words: `retrained on April to June after drift of June`.
    """

    id: str
    at: str
    month: MonthName
    ref: str
    version: Count
    gate: str
    gate_version: Count
    holder: Count | None
    passed: bool
    findings: tuple[Finding, ...]
    approvals: tuple[str, ...] = ()
    data: str = ""
    rows: Count = 0
    unlabelled: Count = 0
    by: str = ""
    about: str = ""
    came: str = ""
    entry: Count | None = None


class Estimate(Part, frozen=True, kw_only=True):
    """A measured value with its 95 % interval; None where it is undefined (AUC of one class)."""

    value: float
    low: float
    high: float


class Score(Part, frozen=True, kw_only=True):
    """How one way of choosing models did in one month, on that month's labelled flights.

    Attributes:
        of: frozen = the first model in force, never replaced; retrained = one trained each month on all before, put in
            force unseen; chosen = what Falaj served, each flight by the version that answered for it.
        versions: that answered, most rows first.
        mean: mean of the predicted probabilities, beside the month's late rate.
        brier_to_frozen: Brier score minus the frozen model's on the same flights, with the 95 % interval of the paired
            difference; negative is better. None for the frozen model itself.
    """

    of: Sort
    versions: tuple[Count, ...] = ()
    rows: Count = 0
    auc: Estimate | None = None
    brier: Estimate | None = None
    mean: float | None = None
    brier_to_frozen: Estimate | None = None


class Month(Part, frozen=True, kw_only=True):
    """One month that was played. Source: the joined prediction log, scored by the play.

    Attributes:
        flights: in the month's file.
        asked: predictions asked of the running server; `answered` of them with a probability.
        labelled: of the asked, with an outcome; `cancelled` have none and are in no score.
        late: share of the labelled that were late.
        training: whether the month was used to train the first model (nothing was served yet).
    """

    month: MonthName
    flights: Count = 0
    asked: Count = 0
    answered: Count = 0
    labelled: Count = 0
    cancelled: Count = 0
    late: Share | None = None
    scores: tuple[Score, ...] = ()
    training: bool = False


class Drift(Part, frozen=True, kw_only=True):
    """One column in one month's window against the reference. Source: the payload of `monitor.report`.

    Attributes:
        psi: bias-corrected population stability index; None where there was not enough data.
        p: of its test, before Benjamini-Hochberg.
        significant: after Benjamini-Hochberg over the columns of the report.
        large: the effect reaches the threshold of the deployment. Only significant and large is drift.
    """

    month: MonthName
    column: str
    psi: float | None = None
    p: float | None = None
    significant: bool = False
    large: bool = False
    rows: Count = 0

    @property
    def drifted(self) -> bool:
        return self.significant and self.large


class Report(Part, frozen=True, kw_only=True):
    """What the monitor said of one window. Source: `monitor.report`.

    Attributes:
        drift, score: its two answers.
        columns: that drifted, largest first.
        worse_by: live score minus reference score in the deployment's metric, with its interval; positive is worse.
        led_to: what started by it, in words, "" for nothing.
        false_alarm: by `Story.false_alarm_rule`; None where there was no alarm or it cannot be told.
        why: the reason in words, with the figures.
    """

    at: str
    month: MonthName
    version: Count | None = None
    rows: Count = 0
    drift: Answer = "ok"
    score: Answer = "ok"
    columns: tuple[str, ...] = ()
    worse_by: Estimate | None = None
    led_to: str = ""
    false_alarm: bool | None = None
    why: str = ""
    entry: Count | None = None

    @property
    def alarmed(self) -> bool:
        return "alarm" in {self.drift, self.score}


class Retraining(Part, frozen=True, kw_only=True):
    """A run that a trigger started by itself. Source: `trigger.list`, `run.show`, the promotion's answer.

    Attributes:
        cause: entry that started it, `cause_what` its word (`drift.found`).
        run: id of the run; `seconds` it took; `steps` computed and `cached`.
        model: version that it registered, None where it registered none.
        outcome: taken = rolled out to 100 %; refused = by the gate; rolled_back = passed, failed in canary; underway =
            passed, and still on its way when the year ended.
    """

    month: MonthName
    trigger: str
    cause: Count
    cause_what: str = ""
    run: str = ""
    seconds: float | None = None
    steps: Count = 0
    cached: Count = 0
    model: Count | None = None
    outcome: Literal["taken", "refused", "rolled_back", "underway", "failed", "unchanged"]
    why: str = ""


class Side(Part, frozen=True, kw_only=True):
    """What one side of a rollout did during a step. Source: `deploy.status`.

    Attributes:
        errors: answers that were errors.
        p99_ms: 99th percentile of the time of an answer.
        mean: mean predicted probability.
    """

    requests: Count = 0
    errors: Count = 0
    p99_ms: float | None = None
    mean: float | None = None


class RolloutStep(Part, frozen=True, kw_only=True):
    """One share of a rollout, judged against an equal, concurrent slice of the stable version.

    Attributes:
        share: of the requests that the candidate answered.
        judgement: advance, roll back, …, in one word; `why` with the figures.
        shift: how far predictions are apart (the measure that the deployment judges), None where not measured.
    """

    share: Share
    at: str
    canary: Side = Side()
    stable: Side = Side()
    shift: float | None = None
    judgement: str = ""
    passed: bool | None = None
    why: str = ""


class Rollout(Part, frozen=True, kw_only=True):
    """How a candidate went out. Source: `deploy.status` and `log`.

    Attributes:
        candidate, stable: versions of the model.
        state: failed = its canary was rolled back by itself; aborted = by a person; completed = the ref moved at 100 %.
        other_failed: requests to anything but the canary that failed meanwhile.
        back_ms: from the decision to the first answer by the stable version alone, None where it did not go back.
    """

    month: MonthName
    at: str
    deployment: str
    candidate: Count
    stable: Count | None
    state: Ending
    steps: tuple[RolloutStep, ...] = ()
    why: str = ""
    other_failed: Count = 0
    back_ms: float | None = None
    entry: Count | None = None


class Rollback(Part, frozen=True, kw_only=True):
    """A rollback by a person, under load. Source: `rollback delay@production` and the play's own requests.

    Attributes:
        answered_ms: from the commit of the ref to the first answer by the earlier version.
        requests, failed: of the play, while it happened.
    """

    at: str
    month: MonthName
    ref: str
    before: Count
    after: Count
    by: str = ""
    answered_ms: float | None = None
    requests: Count = 0
    failed: Count = 0
    entry: Count | None = None


class Refusal(Part, frozen=True, kw_only=True):
    """Something that was refused, as it should be. Source: the error of the operation.

    Attributes:
        what: what was asked, `data add flights 2013-05-broken.csv`.
        why: message with its figures; `details` further lines, such as each failed rule.
        code: the error's stable code.
    """

    at: str
    month: MonthName
    who: str
    what: str
    why: str
    details: tuple[str, ...] = ()
    code: str = ""
    entry: Count | None = None


class Node(Part, frozen=True, kw_only=True):
    """A thing in a lineage graph. Source: `lineage prediction:ID`.

    Attributes:
        sort: `prediction`, `deployment`, `model`, `features`, `dataset`, `run`, `code`, `environment`, `person`, …
        label: short, `delay v6`; `details`: further lines, shown in the box and in the table.
    """

    id: str
    sort: str
    label: str
    details: tuple[str, ...] = ()


class Edge(Part, frozen=True, kw_only=True):
    """From a thing to one that it comes from: `source` is the effect (the prediction), `target` its origin."""

    source: str
    target: str
    label: str = ""


class Lineage(Part, frozen=True, kw_only=True):
    """Where one answer comes from. Source: `lineage prediction:ID`.

    Attributes:
        prediction: its id; `output` the probability; `asked` the flight in words; `came` what happened to it.
        told: the answer of the command, line by line.
    """

    prediction: str
    output: Share | None = None
    asked: str = ""
    came: str = ""
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    told: tuple[str, ...] = ()


class Stage(Part, frozen=True, kw_only=True):
    """A part of the play and how long it took; stages do not overlap, so they add up to the whole."""

    name: str
    seconds: float


class Process(Part, frozen=True, kw_only=True):
    """A process of the play and the most memory it held (VmHWM)."""

    name: str
    peak_mib: float


class Kill(Part, frozen=True, kw_only=True):
    """A process that the play killed, and what was found when it was started again."""

    at: str
    month: MonthName
    process: str
    signal: str = "SIGKILL"
    found: str = ""


class Ledger(Part, frozen=True, kw_only=True):
    """Source: `ledger verify`, and the independent verifier on the export."""

    entries: Count
    checkpoints: Count = 0
    root: str = ""
    consistent: bool | None = None
    every_state: bool | None = None
    stranger: bool | None = None
    told: str = ""


class Machine(Part, frozen=True, kw_only=True):
    """On what it was played: processors, memory, and the versions of what it ran on."""

    processors: Count = 0
    memory_gib: float | None = None
    system: str = ""
    versions: dict[str, str] = {}


class Counts(Part, frozen=True, kw_only=True):
    """Figures of the whole play that no list above adds up to. None = not counted.

    Attributes:
        requests: sent to the inference server; `requests_failed` of them got no answer or an error of the server.
        refused_requests: malformed ones that got their 4xx.
        predictions: rows in the log; `joined` of them with an outcome; `without` cancelled, `waiting` not yet known.
        steps, cached: of pipelines, computed and taken from before.
        lost: acknowledged predictions or entries that were not found again.
    """

    requests: Count | None = None
    requests_failed: Count | None = None
    refused_requests: Count | None = None
    predictions: Count | None = None
    joined: Count | None = None
    without: Count | None = None
    waiting: Count | None = None
    steps: Count | None = None
    cached: Count | None = None
    lost: Count | None = None


class Story(Part, frozen=True, kw_only=True):
    """The whole year.

    Attributes:
        played_at: when the play began; `seconds` how long it took.
        finished: whether it came to its end as it should; a story of a play that broke off is still a story.
        metric: the score that the gate and the monitor judge by.
        drift_effect: the PSI from which drift is large; `drift_level` of Benjamini-Hochberg; `min_rows` below which the
            monitor says that there is not enough data.
        false_alarm_rule: in words, when an alarm counts as false; fixed before the play.
        seed: of everything that was drawn.
    """

    title: str = "A year of flights"
    project: str = "flights"
    played_at: str = ""
    seconds: float | None = None
    finished: bool = True
    seed: int | None = None
    metric: Literal["auc", "brier"] = "brier"
    drift_effect: float | None = None
    drift_level: float | None = None
    min_rows: Count | None = None
    false_alarm_rule: str = ""
    about: About = About()
    persons: tuple[Person, ...] = ()
    months: tuple[Month, ...] = ()
    events: tuple[Event, ...] = ()
    versions: tuple[Version, ...] = ()
    moves: tuple[Move, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    drift: tuple[Drift, ...] = ()
    reports: tuple[Report, ...] = ()
    retrainings: tuple[Retraining, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    rollbacks: tuple[Rollback, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    kills: tuple[Kill, ...] = ()
    lineage: Lineage | None = None
    ledger: Ledger | None = None
    counts: Counts = Counts()
    stages: tuple[Stage, ...] = ()
    processes: tuple[Process, ...] = ()
    machine: Machine = Machine()
    v: Literal[1] = 1


def read(path: Path) -> Story:
    """Read a story. Raises: msgspec.ValidationError, naming the field, for anything that is not one."""
    return msgspec.json.decode(path.read_bytes(), type=Story)


def write(path: Path, story: Story) -> None:
    """Write a story so that people can read the file; replaced whole, never half-written."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(msgspec.to_builtins(story)), indent=1))
    part.replace(path)
