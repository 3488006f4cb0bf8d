"""A process that has Falaj imported and forks a runner for each line: the parameters of a run of the pipeline `p`.

It says `pid N` and, once the runner is gone, `ended STATUS`. Forking a warm process makes a runner in a few
milliseconds instead of a second; it has one thread when it forks.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from falaj.core.errors import FalajError
from falaj.engines import local
from falaj.platform import Platform

FAILED = 3


def run(place: Path, params: dict[str, object]) -> int:
    """A runner's life."""
    platform = Platform.open(place)
    try:
        platform.session("flights").call("pipeline.run", {"pipeline": "p", "params": params})
    except FalajError as error:
        print(error, file=sys.stderr)
        return FAILED
    finally:
        platform.close()
    return 0


def tell(*values: object) -> None:
    """One line to whoever reads."""
    os.write(1, (json.dumps(values) + "\n").encode())


def main(place: Path) -> None:
    """Fork until the input ends."""
    assert local
    Platform.open(place).close()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(2, 1)
                code = run(place, json.loads(line))
            except BaseException:  # noqa: BLE001  this process ends here, and says why
                traceback.print_exc()
            finally:
                os._exit(code)
        tell("pid", pid)
        tell("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
