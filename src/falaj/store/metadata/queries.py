"""Named SQL: every static query stands in a `.sql` file under a name and a one-line promise."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

_HEAD = re.compile(r"^-- name: (?P<name>[a-z_]+) +(?P<promise>.+)$", re.MULTILINE)


@functools.cache
def queries(file: str) -> dict[str, str]:
    """The queries of one file of `sql/`, by name.

    Raises: KeyError at look-up for a name that is not there: a programming error.
    """
    text = files("falaj.store.metadata").joinpath("sql", f"{file}.sql").read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [h.start() for h in heads[1:]] + [len(text)]
    return {
        head["name"]: re.sub(r"--[^\n]*", "", text[head.end() : end]).strip().rstrip(";")
        for head, end in zip(heads, ends, strict=True)
    }
