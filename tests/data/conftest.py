"""Shared by the tests of the data room: small contracts, small files, a scratch folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from falaj.data import checks, contract
from falaj.data.records import Contract, Report

Build = Callable[..., Contract]
Judge = Callable[..., Report]


def odcs(properties: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A small document: the properties of table `t`, with `quality` and other top-level fields beside them."""
    table: dict[str, Any] = {"name": "t", "properties": properties}
    if "quality" in more:
        table["quality"] = more.pop("quality")
    head = {"apiVersion": "v3.1.0", "kind": "DataContract", "id": "t", "version": "1.0.0", "status": "active"}
    return {**head, "schema": [table], **more}


@pytest.fixture
def build() -> Build:
    def make(properties: list[dict[str, Any]], **more: Any) -> Contract:
        return contract.from_data(odcs(properties, **more))

    return make


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Judge CSV text (or bytes, or a path) by a contract."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(rules: Contract, data: str | bytes | Path, *, now: datetime | None = None) -> Report:
        if isinstance(data, Path):
            return checks.judge_files(rules, [data], "parquet", scratch=scratch, now=now)
        file = tmp_path / "data.csv"
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        return checks.judge_files(rules, [file], "csv", scratch=scratch, now=now)

    return run
