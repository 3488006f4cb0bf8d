"""Progress of long work, on standard error: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from falaj.cli.text import number, safe

FIRST_S = 1.0
AGAIN_S = 10.0


class Reporter:
    """What a session calls as (what, done, total). Work that ends before `first_s` shows nothing.

    Args:
        shown: False for `--quiet` and `--json`.
        colour: whether a bar may use colours.
        first_s: seconds without a word.
    """

    def __init__(self, *, shown: bool, colour: bool, first_s: float = FIRST_S) -> None:
        self._shown, self._colour = shown, colour
        self._next = time.monotonic() + first_s
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tell how far the work is. `total` 0: not known."""
        if not self._shown or (self._bar is None and time.monotonic() < self._next):
            return
        share = number(done) + (f" of {number(total)}" if total else "") if done else ""
        if self._bar is None and not self._started():
            self._next = time.monotonic() + AGAIN_S
            print(f"  {safe(what)}  {share}".rstrip(), file=sys.stderr, flush=True)
            return
        # One bar, whatever it is about now: of long work the words change with each step of it.
        if self._task is None:
            self._task = self._bar.add_task(safe(what), total=total or None, share=share)
        self._bar.update(self._task, description=safe(what), completed=done, total=total or None, share=share)

    def _started(self) -> bool:
        if not sys.stderr.isatty():
            return False
        try:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        except ImportError:
            return False
        console = Console(stderr=True, no_color=not self._colour, markup=False, highlight=False)
        words = [TextColumn(f"{{task.{part}}}", markup=False) for part in ("description", "fields[share]")]
        columns = (TextColumn(" "), words[0], BarColumn(), words[1], TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._bar.start()
        return True
