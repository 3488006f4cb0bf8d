"""The bare tree: leaves read from SQLite in order, the RFC 6962 root by a plain frontier. Nothing else.

Usage: python -m benchmarks.limits.ledger_tree DATABASE
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import time


def bare_root(path: str) -> tuple[int, bytes]:
    """How many leaves `ledger_entry` has, and the root over them."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    sha256 = hashlib.sha256
    peaks: list[bytes] = []
    size = 0
    for (body,) in connection.execute("SELECT body FROM ledger_entry WHERE leaf IS NOT NULL ORDER BY leaf"):
        node = sha256(b"\0" + body).digest()
        index = size
        while index & 1:
            node = sha256(b"\1" + peaks.pop() + node).digest()
            index >>= 1
        peaks.append(node)
        size += 1
    connection.close()
    root = peaks.pop() if peaks else sha256(b"").digest()
    while peaks:
        root = sha256(b"\1" + peaks.pop() + root).digest()
    return size, root


def main() -> None:
    """Print the figures as JSON."""
    cpu, wall = time.process_time(), time.perf_counter()
    size, root = bare_root(sys.argv[1])
    figures = {
        "entries": size,
        "root": root.hex(),
        "cpu_s": round(time.process_time() - cpu, 3),
        "wall_s": round(time.perf_counter() - wall, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
