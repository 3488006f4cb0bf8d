"""`make faults`: the short year, undisturbed and killed: python -m tests.faults.year [--seed N] [--kills N]."""

from __future__ import annotations

import argparse
import resource
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.year.series import Series, write

ROOT = Path(__file__).parents[3]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of everything that is drawn")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--months", type=int, choices=(1, 2, 3), default=2, help="of each story, after January")
    parser.add_argument("--keep", type=Path, help="leave the stores in this new folder")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="falaj-year-") as folder:
        series = Series(given.keep or Path(folder), given.months)
        for _ in series.run(given.seed, given.kills):
            target = write(series, given.seed, ROOT / "build" / "faults")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = spent.ru_utime + spent.ru_stime + time.process_time()
    print(f"\n{series.table()}\n\n{time.monotonic() - begin:.0f} s in all, {processor:.0f} s of the processor")
    print(f"written: {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
