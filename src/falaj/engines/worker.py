"""The process of one attempt: reads its task, runs the step's function, leaves the output and how it went.

    <folder>/task.json       what to do (`pipelines.records.Task`)
    <folder>/out/            the files of the output
    <folder>/manifest.json   what they are; there only when the step came to its end
    <folder>/error.json      how it failed, where it did
    <folder>/log.txt         what it printed
    <folder>/own/            its working folder, for what it wants to write

Nothing here opens a store, and the kernel keeps it so (`fence`). The one who started it decides whether what lies there
is kept.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from falaj.core.errors import FalajError
from falaj.engines import fence
from falaj.models.jail import adopt_orphans
from falaj.pipelines import definitions, inside
from falaj.pipelines.records import Manifest, Task

DONE, FAILED = 0, 1
MAX_WORDS = 4000
SPARE_FILES, SPARE_BYTES = 64, 16 << 20
"""What a step is not given, so that how it failed can be written down."""
_TASK = msgspec.json.Decoder(Task)  # made before the fork: it takes milliseconds


def run(folder: Path) -> int:
    """Run the attempt of a folder; returns the exit code."""
    task = _TASK.decode((folder / "task.json").read_bytes())
    guards = fence.close([*fence.libraries(), task.source, *_inputs(task)], [folder])
    try:
        manifest = msgspec.structs.replace(_run(task, folder), guards=guards)
    except MemoryError:
        _give_spare()
        _fail(folder, "memory", f"it asked for more than its {task.options.memory / 1024**2:,.0f} MiB", "")
        return FAILED
    except BaseException as error:  # noqa: BLE001  the edge of the process: told to whoever started it
        _give_spare()
        sys.stderr.write(_told(error, task))
        sort = error.code if isinstance(error, FalajError) else "raised"
        words = error.message if isinstance(error, FalajError) else f"{type(error).__name__}: {error}"
        _fail(folder, sort, words, _where(error, task))
        return FAILED
    _leave(folder / "manifest.json", manifest)
    return DONE


def _run(task: Task, folder: Path) -> Manifest:
    from falaj.engines import outputs

    attempt = inside.Attempt(task)
    inside.begin(attempt)
    _limit_memory(task.options.memory)
    function = _function(task)
    _seed(task.seed)
    args = {name: outputs.read(given) for name, given in task.args.items()}
    value = function(**args)
    manifest = outputs.write(value, task.returns, folder / "out")
    metrics = {**manifest.metrics, **attempt.metrics}
    return msgspec.structs.replace(manifest, metrics=metrics, params=attempt.params)


def _inputs(task: Task) -> list[str]:
    """Every file that was put there for the attempt to read."""
    waiting, out = [*task.args.values(), *task.sources.values()], list[str]()
    while waiting:
        given = waiting.pop()
        waiting += given.items
        out += given.paths
    return out


def _function(task: Task) -> Any:
    """The step's function, from the project's files as they were when the pipeline was defined."""
    definitions.PROJECT = task.source + os.sep
    sys.path.insert(0, task.source)
    path = Path(task.source, task.path)
    name = task.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if name in sys.modules:
        module = sys.modules[name]
    else:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(task.path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    found = getattr(module, task.function)
    return found.function if isinstance(found, definitions.Step) else found


def _seed(seed: int) -> None:
    """Equal keys draw equal numbers; without this every fork of one parent would draw the same ones."""
    random.seed(seed)
    with suppress(ImportError):
        import numpy as np

        np.random.seed(seed % 2**32)


def _limit_memory(memory: int) -> None:
    """At most so many bytes beyond what the process holds when the step begins."""
    held = 0
    with Path("/proc/self/status").open("rb") as status:
        for line in status:
            if line.startswith(b"VmData:"):
                held = int(line.split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (held + memory, held + memory + SPARE_BYTES))


def _give_spare() -> None:
    """Let go of what was kept back: the step has failed, perhaps because it took all there was."""
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_NOFILE):
        most = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most, most))


def _told(error: BaseException, task: Task) -> str:
    """The traceback from the person's own code on, by the paths that files have in the project."""
    frames = error.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith(task.source):
        frames = frames.tb_next
    told = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return "".join(told).replace(task.source + os.sep, "")


def _where(error: BaseException, task: Task) -> str:
    """The last line of the person's own code that the error went through: `pipeline.py:31 in train`."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(task.source)]
    if not frames:
        return ""
    return f"{frames[-1].filename[len(task.source) + 1 :]}:{frames[-1].lineno} in {frames[-1].name}"


def _fail(folder: Path, sort: str, words: str, where: str) -> None:
    _leave(folder / "error.json", {"sort": sort, "message": words[:MAX_WORDS], "where": where})


def _leave(path: Path, value: Any) -> None:
    """A file that is there whole or not at all."""
    draft = path.with_suffix(".part")
    draft.write_bytes(msgspec.json.encode(value))
    draft.replace(path)


def become(folder: Path) -> None:
    """Turn this process into one that is the attempt's alone: its session, folder, output, signals, no other file."""
    os.setsid()
    os.chdir(folder / "own")
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for place, handle in ((0, nothing), (1, log), (2, log)):
        os.dup2(handle, place)
    os.closerange(3, 4096)
    for word in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(word, signal.SIG_DFL)
    adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, most - SPARE_FILES), most))
    for name in ("TMPDIR", "HOME"):
        os.environ[name] = str(folder / "own")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")


def finish(code: int) -> None:
    """End the process at once: nothing that a fork has from its parent is closed or flushed twice."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    become(Path(sys.argv[1]))
    finish(run(Path(sys.argv[1])))
