"""Reports that are made by themselves: when they are due, once for each window; told and tried again if they fail."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from falaj.cli.render import RENDERERS
from falaj.core.encoding import moment
from falaj.monitor import rules
from falaj.platform import Platform
from falaj.platform.loops import Loops
from falaj.store.errors import RefConflict
from tests.monitor.watched import DEPLOYMENT, Deployed, asked, kites, windy, written

DAILY = DEPLOYMENT.replace("watch:\n", "watch:\n  every: 1d\n")
TRIGGER = "trigger: again\nwhen: {any: [drift: delay]}\nstart: p\npropose: delay@production\n"
SINCE = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """It stands still, and is moved forward."""

    def __init__(self) -> None:
        self.began, self.ahead = datetime.now(UTC), timedelta()

    def __call__(self) -> datetime:
        return self.began + self.ahead


class Watching:
    """The loop of a project, and what it told."""

    def __init__(self, deployed: Deployed, clock: Clock | None = None) -> None:
        self.deployed, self.clock = deployed, clock or Clock()
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.loops = Loops(deployed.house.platform, self._say, clock=self.clock)

    def _say(self, event: str, level: str = "info", **facts: Any) -> None:
        self.said.append((event, facts))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.said if name == event]

    def after(self, span: timedelta) -> int:
        """Let time pass and the loop look; how many reports there are."""
        self.clock.ahead += span
        self.loops.until_idle()
        return reports(self.deployed)

    def round(self, ahead: timedelta) -> int:
        """Let time pass, and wait for the end of one round; how many failures there were so far."""
        self.clock.ahead += ahead
        self.loops.round()
        for thread in threading.enumerate():
            if thread.name == "falaj-report-delay":
                thread.join(60)
        return self.loops.failures


def reports(deployed: Deployed) -> int:
    return len(deployed.call("monitor.status", deployment="delay")["reports"])


# when


@pytest.mark.parametrize(
    ("every_s", "served", "reported", "due"),
    [
        (None, SINCE, SINCE, None),  # only by hand
        (900, None, None, None),  # nothing to look at yet
        (900, SINCE, None, SINCE + timedelta(minutes=15)),
        (86_400, SINCE, SINCE + 3 * DAY, SINCE + 4 * DAY),
        (86_400, SINCE, SINCE + timedelta(hours=1), SINCE + timedelta(hours=25)),  # by hand counts as by itself
    ],
)
def test_a_report_is_due_so_long_after_the_last_one_or_after_the_first_answers(every_s, served, reported, due):
    at = [moment(one) if one else None for one in (served, reported)]
    assert rules.due_at(every_s, *at) == due


def test_pauses_grow_to_an_hour():
    found = [rules.pause(n).total_seconds() for n in (1, 2, 3, 9, 10, 10_000)]
    assert found == [10, 20, 40, 2560, 3600, 3600]


# what


def test_collects_joins_and_reports_once_in_each_span(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DAILY)
    june = kites(400, seed=5, start=500)
    written(deployed.log, asked(june))
    deployed.outcomes(june)
    watching = Watching(deployed)
    assert watching.after(timedelta()) == 0
    assert watching.after(timedelta(hours=23)) == 0
    assert watching.after(timedelta(hours=1)) == 1
    (told,) = watching.of("report_made")
    assert (told["deployment"], told["report"], told["verdict"], told["predictions"]) == ("delay", 1, "ok", 400)
    (found,) = deployed.call("monitor.status", deployment="delay")["reports"]
    assert (found["rows"], found["score"] is None) == (400, False)
    (entry,) = deployed.entries("report.made")
    assert entry["by"] == "falaj"
    watching.clock.ahead = timedelta()  # the report was made at this time, not in a day
    assert watching.after(timedelta(hours=23)) == 1
    again = Watching(deployed)  # another process reads the same rows
    again.clock.ahead = timedelta(hours=23)
    assert again.after(timedelta()) == 1
    assert again.after(timedelta(hours=1)) == 2
    assert watching.loops.failures == again.loops.failures == 0
    assert deployed.call("ledger.verify")["ok"]


def test_a_drift_that_it_finds_causes_a_start(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DAILY)
    deployed.house.apply("triggers.yaml", TRIGGER)
    written(deployed.log, asked(windy(kites(400, seed=6), 6.0)))
    watching = Watching(deployed)
    watching.after(DAY)
    assert watching.of("report_made")[0]["verdict"] == "drift"
    (one,) = watching.of("cause_noted")
    told = deployed.call("ledger.show", entry=str(one["entry"]), scope="project:kites")
    assert (one["trigger"], told["what"]) == ("again", "drift.found")


def test_nothing_happens_by_itself_where_nobody_asked_for_it(deployed: Deployed) -> None:
    written(deployed.log, asked(kites(400, seed=5)))
    assert Watching(deployed).after(400 * DAY) == 0
    status = deployed.call("monitor.status", deployment="delay")
    assert (status["segments"], status["due_at"]) == (0, None)


def test_status_says_when(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DAILY)
    deployed.report()
    status = deployed.call("monitor.status", deployment="delay")
    at = datetime.fromisoformat(status["reports"][0]["at"])
    assert datetime.fromisoformat(status["due_at"]) == at + DAY
    assert f"next report {(at + DAY):%Y-%m-%d}" in RENDERERS["monitor_status"](status, {})[0]


# two at once


def test_of_two_that_report_on_one_window_one_is_refused(deployed: Deployed) -> None:
    written(deployed.log, asked(kites(400, seed=5)))
    deployed.collect()
    assert deployed.call("monitor.report", deployment="delay", expect=0)["rows"] == 400
    for other in (0, 2):
        with pytest.raises(RefConflict, match=f"the newest report is 1, not {other}"):
            deployed.call("monitor.report", deployment="delay", expect=other)
    assert deployed.call("monitor.report", deployment="delay", expect=1)["rows"] == 0


def test_a_report_that_was_rolled_back_holds_up_no_other(deployed: Deployed) -> None:
    for _ in range(2):
        deployed.report()
    deployed.call("ref.rollback", thing="report/delay@main")
    assert deployed.call("monitor.report", deployment="delay", expect=2)["number"] == 3


def test_two_processes_make_one_report(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DAILY)
    written(deployed.log, asked(kites(400, seed=5)))
    other = Deployed.reopened(deployed.house.platform.layout.place)
    both, begin = [Watching(one) for one in (deployed, other)], threading.Barrier(2)

    def work(watching: Watching) -> None:
        watching.clock.ahead = DAY
        begin.wait(20)
        watching.loops.until_idle()

    threads = [threading.Thread(target=work, args=(one,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.house.platform.close()
    assert reports(deployed) == 1
    assert sum(len(one.of("report_made")) for one in both) == 1
    assert [one.of("loop_failed") for one in both] == [[], []]


# failures


def test_what_fails_is_told_counted_and_tried_again_less_and_less_often(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DAILY)
    written(deployed.log, asked(kites(400, seed=5)))
    watching, seconds = Watching(deployed), timedelta(seconds=1)

    def rename(table: str, to: str) -> None:
        with deployed.house.platform.ground.database.write() as tx:
            tx.run(f"ALTER TABLE {table} RENAME TO {to}")

    rename("segment", "elsewhere")
    spans = [DAY, seconds, 10 * seconds, 11 * seconds, 10 * seconds]
    assert [watching.round(span) for span in spans] == [1, 1, 2, 2, 3]
    assert [one["part"] for one in watching.of("loop_failed")] == ["monitor delay"]
    rename("elsewhere", "segment")
    assert watching.round(timedelta(hours=1)) == 3
    assert reports(deployed) == 1


def test_outcomes_that_cannot_be_joined_keep_no_drift_from_being_found(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DAILY.replace("kites@main", "flown@main"))
    written(deployed.log, asked(windy(kites(400, seed=6), 6.0)))
    watching = Watching(deployed)
    assert watching.after(DAY) == 1
    assert watching.of("report_made")[0]["verdict"] == "drift"
    (told,) = watching.of("loop_failed")
    assert (told["part"], told["code"], watching.loops.failures) == ("outcomes delay", "not_found", 1)


def test_stopping_interrupts_it_and_the_next_process_makes_it(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DAILY)
    written(deployed.log, asked(kites(400, seed=5)))

    class Ending(Clock):
        """Ends the process as soon as a report is at work."""

        def __call__(self) -> datetime:
            if threading.current_thread().name == "falaj-report-delay":
                watching.loops.begin_stop()
            return super().__call__()

    watching = Watching(deployed, Ending())
    assert watching.after(DAY) == 0
    watching.loops.stop()
    assert (watching.loops.running, watching.loops.failures) == (0, 0)
    place = deployed.house.platform.layout.place
    deployed.house.platform.close()
    deployed.house.platform = Platform.open(place)
    assert Watching(deployed).after(DAY) == 1
