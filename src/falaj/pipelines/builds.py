"""Environments of a run, made ready beside it: each when a step needs it, once, while other steps run on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from falaj.pipelines.engine import Engine
from falaj.pipelines.errors import RunCancelled
from falaj.pipelines.locks import Chosen


class Builds:
    """What is ready for the steps of one run. For one thread.

    Args:
        wanted: the environments of the run, by name.
    """

    def __init__(self, engine: Engine, wanted: Mapping[str, Chosen]) -> None:
        self._engine, self._wanted = engine, wanted
        self._begun: dict[str, Future[bool]] = {}
        self._told: set[str] = set()
        self._over = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._words = ""

    @property
    def doing(self) -> str:
        """What is being built, in a few words; "" where nothing is."""
        busy = [name for name, one in self._begun.items() if not one.done()]
        return f"environment {busy[0]}: {self._words}" if busy else ""

    def is_ready(self, name: str) -> bool:
        """Whether steps of an environment can begin; its build begins where it has not. Raises: as `Engine.prepare`."""
        if not name:
            return True
        if name not in self._begun:
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="falaj-environment")
            self._begun[name] = self._pool.submit(self._engine.prepare, self._wanted[name], self._say)
        if not self._begun[name].done():
            return False
        self._begun[name].result()
        return True

    def built(self) -> list[Chosen]:
        """Those that were built for this run since it was asked last."""
        new = [name for name, one in self._begun.items() if one.done() and name not in self._told]
        self._told |= set(new)
        return [self._wanted[name] for name in new if not self._begun[name].exception() and self._begun[name].result()]

    def close(self) -> None:
        """Give up what is underway; returns once nobody builds any more."""
        self._over.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _say(self, words: str) -> None:
        if self._over.is_set():
            raise RunCancelled("the run has ended", next_step="run again")
        self._words = words
