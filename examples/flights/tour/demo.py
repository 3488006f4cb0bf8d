"""A short tour, alone in a folder: months in, a broken file refused, models judged, used, rolled back, proved.

    python examples/flights/tour/demo.py build/tour        # make tour

Every line that starts with `$` is a command that was run; its output is shown as it came. What each must come to is
fixed here before it runs, and anything else ends the play with exit code 1. The folder stays, to be explored:

    .venv/bin/falaj -C build/tour log delay@production
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
FLIGHTS = HERE.parent
ROOT = FLIGHTS.parent.parent
MARK = ".falaj-demo"
COPIED = ("../falaj.toml", "../contracts/flights.yaml", "gates/production.yaml", "train.py")
DONE, NOT_FOUND, REFUSED = 0, 3, 6
LABEL = "arr_delay > 30"


class Step(NamedTuple):
    """One command of the play.

    Attributes:
        told: what it shows, for the table at the end.
        words: the command; `falaj` is run on the play's folder.
        code: the exit code that it must end with.
        says: a text that its output must hold.
    """

    told: str
    words: tuple[str, ...]
    code: int = DONE
    says: str = ""


class Played(NamedTuple):
    step: Step
    code: int
    seconds: float
    output: str

    @property
    def as_told(self) -> bool:
        return self.code == self.step.code and self.step.says in self.output


def steps(folder: Path) -> list[Step]:
    def falaj(told: str, line: str, code: int = DONE, says: str = "") -> Step:
        return Step(told, ("falaj", *shlex.split(line)), code, says)

    def script(told: str, *words: str, says: str = "") -> Step:
        return Step(told, ("python", *words), DONE, says)

    months = [f"data/2013-{m:02d}.csv" for m in range(1, 13)]
    export = str(folder / "export")
    return [
        falaj("a project in its folder", "init"),
        falaj("contract, gate, policy and location from files", "apply"),
        falaj("January becomes a version, judged by its contract", f"data add flights {months[0]}", says="v1"),
        falaj("February joins it", f"data add flights {months[1]}", says="→ v2"),
        falaj("March joins them", f"data add flights {months[2]}", says="→ v3"),
        falaj("a broken May is refused with every failed rule", "data add flights broken.csv", REFUSED, "412 rows"),
        falaj("the refs stand where they stood", "show flights@main", says="v3"),
        falaj("April is kept for the gate alone", f"data add flights {months[3]} --ref holdout"),
        script("a model is trained and registered with its lineage", "train.py", says="delay v1"),
        falaj(
            "training may not use what the gate measures on",
            f'model register delay model.skops --input flights@holdout --label "{LABEL}"',
            REFUSED,
            "evidence",
        ),
        falaj(
            "a pickle is refused, with the way out",
            f'model register delay model.pkl --input flights@main --label "{LABEL}"',
            REFUSED,
            "pickle",
        ),
        falaj("the gate measures, and lets it pass", "promote delay@production 1", says="v1"),
        falaj("June comes in", f"data add flights {months[5]} --ref 2013-06"),
        falaj(
            "the promoted model scores a month it never saw",
            "predict delay@production flights@2013-06 --into june",
        ),
        falaj(
            "a model that nobody promoted is not run",
            "predict delay@staging flights@2013-06 --into june",
            NOT_FOUND,
        ),
        script("a worse model is trained", "train.py", "--worse", says="delay v2"),
        falaj("the gate refuses it, with every failed rule", "promote delay@production 2", REFUSED, "rules failed"),
        falaj("the true May comes in", f"data add flights {months[4]}"),
        script("a model of five months is trained", "train.py", says="delay v3"),
        falaj("it is no worse than the holder, and moves", "promote delay@production 3", says="v1 → v3"),
        falaj("and back, without judging again", "rollback delay@production", says="v3 → v1"),
        falaj("who moved what, when, by which entry", "log delay@production"),
        falaj("from the predictions to data, code and people", "lineage dataset/june", says="flights"),
        falaj("a version nobody needs is retired", "rm delay:2 --reason 'worse than the holder'"),
        falaj("its bytes are collected", "gc"),
        falaj("every entry, and every state has its entry", "ledger verify"),
        falaj("every stored byte, row and entry", "verify"),
        falaj("the ledger is written out for a stranger", f"ledger export {shlex.quote(export)}"),
        script("who verifies it with no code of Falaj", str(ROOT / "docs" / "stranger_verify.py"), export, says="ok"),
    ]


def play(step: Step, folder: Path) -> Played:
    shown = shlex.join(step.words).replace(str(ROOT) + "/", "").replace(sys.executable, "python")
    print(f"\n$ {shown}", flush=True)
    command = list(step.words)
    if command[0] == "falaj":
        command[:1] = [sys.executable, "-m", "falaj.cli.main", "-C", str(folder)]
    else:
        command[0] = sys.executable
    begin = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    played = Played(step, done.returncode, time.monotonic() - begin, done.stdout)
    print("".join(f"  {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if not played.as_told:
        wanted = f"exit code {step.code}" + (f" and {step.says!r}" if step.says else "")
        raise SystemExit(f"\nthis is not what should happen: expected {wanted}, got exit code {done.returncode}")
    return played


def environment() -> dict[str, str]:
    """This process's, without what would lead to another store or server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FALAJ_")}
    given = {name: value for name, value in os.environ.items() if name == "FALAJ_FLIGHTS_DIR"}
    return {**kept, **given, "PYTHONUNBUFFERED": "1"}


def prepare(folder: Path) -> None:
    """A fresh folder with the example's files, the months, a broken one, and a model as a pickle."""
    if folder.exists():
        if not (folder / MARK).is_file():
            raise SystemExit(f"{folder} was not made by this demo: name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    for name in COPIED:
        place = folder / name.removeprefix("../")
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(HERE / name, place)
    months = [str(m) for m in range(1, 7)]
    make = [sys.executable, str(FLIGHTS / "months.py"), "data", "--months", *months, "--broken", "broken.csv"]
    subprocess.run(make, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    (folder / "model.pkl").write_bytes(b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05model\x94.")


def table(played: Sequence[Played]) -> str:
    rows = []
    for number, one in enumerate(played, 1):
        outcome = {DONE: "done", REFUSED: "refused", NOT_FOUND: "not there"}[one.code]
        rows.append(f"  {number:>2}  {one.step.told:<58}{outcome:<11}{one.seconds:5.1f} s")
    return "\n".join(rows)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0] if arguments else "build/tour").absolute()
    begin = time.monotonic()
    prepare(folder)
    played = [play(step, folder) for step in steps(folder)]
    shown = os.path.relpath(folder)
    print(f"\nwhat happened, {time.monotonic() - begin:.0f} s in all\n\n{table(played)}\n")
    print(f"explore it:  .venv/bin/falaj -C {shown} log delay@production")
    print(f"             .venv/bin/falaj -C {shown} --help")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
