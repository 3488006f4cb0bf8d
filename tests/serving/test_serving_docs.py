"""What can be set, counted and said by the inference server is on its page."""

from __future__ import annotations

import re

from falaj.serving.settings import Limits
from falaj.serving.stats import Stats
from tests.docs.pages import DOCS, ROOT
from tests.docs.test_pages import shown

PAGE = (DOCS / "serving.md").read_text(encoding="utf-8")


def test_every_limit_is_on_the_page_with_its_value():
    table = PAGE.partition("## Limits")[2].partition("## ")[0]
    said = {}
    for names, values in re.findall(r"(?m)^\| (`.+?) \| (.+?) \|", table):
        fields = re.findall(r"`(\w+)`", names)
        parts = values.split(", ") if len(fields) > 1 else [values]
        said |= {f: v.removesuffix(" s").replace(",", "") for f, v in zip(fields, parts, strict=True)}
    known = {"connections": "1024", "batch_rows": "4096", "shadow_rows": "2048"}  # rows and connections are no bytes
    assert said == {f: known.get(f) or shown(getattr(Limits(), f)) for f in Limits.__struct_fields__}


def test_every_metric_and_every_event_is_on_the_page():
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src" / "falaj" / "serving").glob("*.py"))
    gauges = re.findall(r'"(falaj_serving_[a-z_]+)"', text)
    assert {"falaj_serving_seconds", "falaj_serving_revision"} <= set(gauges)
    assert [name for name in gauges if f"`{name}" not in PAGE] == []
    assert [name for name in re.findall(r'\b_?say\(\s*"([a-z_]+)"', text) if f"`{name}`" not in PAGE] == []
    told = re.findall(r"(?m)^(falaj_serving_\w+?)(?:_created)?[ {]", Stats([]).text().decode())
    assert [name for name in told if f"`{name}" not in PAGE] == []
