"""A job whose process was killed: the same command with the same key does the work, once."""

import os
import signal
import sys
from pathlib import Path

from falaj.assets.records import Done
from falaj.core.entries import What
from falaj.door import Context, job
from falaj.platform import Platform


@job(
    "test.count", on="project:{project}", entry=What.RUN_ENDED, role="contributor",
    without={"cli": "only this test does it"},
)  # fmt: skip
def count(ctx: Context, file: str) -> Done:
    """Write a line for each time it worked; die before the first one concludes."""
    path = Path(file)
    with path.open("a", encoding="utf-8") as told:
        told.write("worked\n")
    if len(path.read_text(encoding="utf-8").splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return Done(thing="counted", entry_id="")


def call(place: Path, file: Path) -> list[object]:
    """The job twice under one key, in a store that was opened anew."""
    with Platform.open(place) as platform:
        platform.operations.include(sys.modules[__name__])
        session = platform.session("flights")
        return [session.call("test.count", {"file": str(file)}, idempotency_key="once") for _ in range(2)]


def test_a_killed_job_is_done_again_under_its_key_and_once(place: Path, tmp_path: Path) -> None:
    Platform.create(place, "flights").close()
    file = tmp_path / "told"
    child = os.fork()
    if child == 0:
        call(place, file)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    first, second = call(place, file)
    assert first == second
    assert file.read_text(encoding="utf-8").count("worked") == 2
    with Platform.open(place) as platform:
        runs = platform.session("flights").call("run.list", {"sort": "test.count"})["items"]
        assert [run["state"] for run in runs] == ["done", "lost"]
