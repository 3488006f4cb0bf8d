"""The digest of a step's code: what changes it, and what does not."""

from __future__ import annotations

import pytest

from falaj.pipelines.code import digest_of
from falaj.pipelines.errors import PipelineInvalid

PIPELINE = '''
"""About."""
import falaj as fj
import numpy as np
from lib import helper
import other

LIMIT = 3

def used(x):
    return x + LIMIT

@fj.step(retries=1)
def train(data: fj.Table) -> int:
    return helper(used(data))

@fj.step
def apart(data: fj.Table) -> int:
    return 1
'''
FILES = {
    "pipeline.py": PIPELINE.encode(),
    "lib.py": b"import deep\ndef helper(x): return deep.f(x)\n",
    "deep.py": b"def f(x): return x\n",
    "other.py": b"x = 1\n",
}


def changed(**texts: tuple[str, str]) -> dict[str, bytes]:
    out = dict(FILES)
    for name, (old, new) in texts.items():
        text = out[f"{name}.py"].decode()
        assert old in text
        out[f"{name}.py"] = text.replace(old, new).encode()
    return out


SAME = {
    "a comment": {"pipeline": ("LIMIT = 3", "LIMIT = 3  # three")},
    "layout": {"pipeline": ("return x + LIMIT", "return (x +\n        LIMIT)")},
    "its options": {"pipeline": ("retries=1", "retries=2, memory='1GiB'")},
    "another step": {"pipeline": ("return 1", "return 2")},
    "a module it does not use": {"other": ("x = 1", "x = 2")},
    "the file's words": {"pipeline": ("About.", "More about.")},
}
DIFFERENT = {
    "itself": {"pipeline": ("helper(used(data))", "helper(used(data)) + 1")},
    "a function it calls": {"pipeline": ("x + LIMIT", "x - LIMIT")},
    "a value it leads to": {"pipeline": ("LIMIT = 3", "LIMIT = 4")},
    "a module it uses": {"lib": ("deep.f(x)", "deep.f(x) + 1")},
    "a module used by that": {"deep": ("return x", "return -x")},
    "what is imported by a name": {
        "pipeline": ("import numpy as np\nfrom lib import helper", "from deep import f as helper")
    },
    "what the file does": {"pipeline": ("LIMIT = 3", "LIMIT = 3\nnp.seterr(all='raise')")},
    "its types": {"pipeline": ("train(data: fj.Table) -> int", "train(data: fj.Table) -> float")},
}


@pytest.mark.parametrize("change", SAME.values(), ids=list(SAME))
def test_what_cannot_matter_changes_nothing(change: dict[str, tuple[str, str]]) -> None:
    assert digest_of(changed(**change), "pipeline.py", "train") == digest_of(FILES, "pipeline.py", "train")


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=list(DIFFERENT))
def test_what_may_matter_counts(change: dict[str, tuple[str, str]]) -> None:
    assert digest_of(changed(**change), "pipeline.py", "train") != digest_of(FILES, "pipeline.py", "train")


@pytest.mark.parametrize(
    ("files", "path", "function", "word"),
    [
        (FILES, "pipeline.py", "nothing", "no function nothing"),
        (FILES, "none.py", "train", "no such file"),
        ({"pipeline.py": b"def ("}, "pipeline.py", "train", "pipeline.py"),
    ],
)
def test_code_that_is_not_there_is_told(files: dict[str, bytes], path: str, function: str, word: str) -> None:
    with pytest.raises(PipelineInvalid, match=word):
        digest_of(files, path, function)
