"""The local engine by itself: forks and fresh interpreters, and what is believed of what an attempt hands back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from falaj.engines.keeper import Keeper, Key
from falaj.engines.local import LocalAttempts, ended_of
from falaj.pipelines.engine import Ended
from falaj.pipelines.records import Given, Options, Task

SOURCE = "import falaj as fj\nimport os, threading\n@fj.step\ndef twice(a: int) -> int:\n    return 2 * a\n"
DONE = {"status": 0, "peak": 0}


def task(folder: Path, value: int = 1, **options: object) -> Task:
    source = folder / "source"
    source.mkdir(exist_ok=True)
    (source / "pipeline.py").write_text(SOURCE, encoding="utf-8")
    return Task(
        run="r",
        step="twice",
        item=-1,
        attempt=1,
        path="pipeline.py",
        function="twice",
        source=str(source),
        args={"a": Given(type="int", value=value)},
        returns="int",
        options=Options(**options),
    )


def all_ended(attempts: LocalAttempts, count: int) -> dict[int, Ended]:
    out: dict[int, Ended] = {}
    while len(out) < count:
        out |= {one.number: one for one in attempts.wait(10)}
    return out


def test_attempts_run_side_by_side_and_each_is_its_own(tmp_path: Path) -> None:
    keeper = Keeper()
    attempts = LocalAttempts(keeper, Key())
    try:
        for number in (1, 2, 3):
            isolation = "exec" if number == 3 else "fork"
            attempts.start(number, task(tmp_path, number, isolation=isolation), tmp_path / str(number))
        ended = all_ended(attempts, 3)
    finally:
        attempts.close()
        keeper.close()
    assert {n: e.manifest.value if e.manifest else e.message for n, e in ended.items()} == {1: 2, 2: 4, 3: 6}


def test_a_parent_with_threads_is_not_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is imported there begins a thread, as some libraries do.
    library = tmp_path / "libraries"
    library.mkdir()
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    (library / "threaded.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr("falaj.engines.parent.BOOT", _boot(library))
    keeper = Keeper()
    attempts = LocalAttempts(keeper, Key(modules=("threaded",)))
    try:
        attempts.start(1, task(tmp_path), tmp_path / "1")
        (ended,) = all_ended(attempts, 1).values()
    finally:
        attempts.close()
        keeper.close()
    assert ended.manifest is not None
    assert ended.manifest.value == 2


def _boot(library: Path) -> str:
    from falaj.engines.parent import BOOT

    return f"import sys; sys.path.append({str(library)!r}); {BOOT}"


@pytest.mark.parametrize(
    ("manifest", "word"),
    [
        (b"{", "its output"),
        (b'{"type":"model","files":["value.json"]}', "model came back, int was meant"),
        (b'{"type":"int","files":[]}', "int came back"),
        (b'{"type":"int","files":["../task.json"]}', "no file of its output"),
        (b'{"type":"int","files":["nothing"]}', "no file of its output"),
        (b'{"type":"int","files":["link"]}', "no file of its output"),
        (b'{"type":"int","files":["value.json"],"metrics":{"a":"b"}}', "its output"),
    ],
)
def test_what_an_attempt_says_of_its_output_is_checked(tmp_path: Path, manifest: bytes, word: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "value.json").write_bytes(b"1")
    (tmp_path / "out" / "link").symlink_to("/etc/passwd")
    (tmp_path / "manifest.json").write_bytes(manifest)
    ended = ended_of(1, task(tmp_path), tmp_path, DONE, is_late=False)
    assert ended.manifest is None
    assert word in ended.message


def test_a_failure_that_cannot_be_read_is_still_a_failure(tmp_path: Path) -> None:
    (tmp_path / "error.json").write_bytes(msgspec.json.encode([1]))
    ended = ended_of(1, task(tmp_path), tmp_path, {"status": 256, "peak": 0}, is_late=False)
    assert (ended.sort, ended.message) == ("signal", "ended with exit code 1 before its end")
