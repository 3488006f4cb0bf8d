"""What the pages show, runs; what can be set, is on a page."""

import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from falaj.platform import Platform
from falaj.platform.layout import Settings
from falaj.server.settings import Limits
from tests.docs.pages import DOCS, ROOT, blocks, named, with_programs

OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", with_programs(), ids=lambda page: page.stem)
def test_the_programs_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """In a folder of its own, with the files that the page shows, warnings being errors."""
    program = []
    for block in blocks(page):
        if block.sort == "file":
            file = tmp_path / block.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif not block.name:
            program.append(block.text)
    (tmp_path / "program.py").write_text("\n".join(program), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def settings(record: type[msgspec.Struct] = Settings, above: str = "") -> Iterator[str]:
    """Every setting of falaj.toml, as people write it; NAME stands for what they choose."""
    for field, hint in typing.get_type_hints(record).items():
        inner, name = hint, above + field
        if typing.get_origin(hint) is dict:
            inner, name = typing.get_args(hint)[1], f"{name}.NAME"
        for one in typing.get_args(inner) or (inner,):
            if isinstance(one, type) and issubclass(one, msgspec.Struct):
                yield from settings(one, name + ".")
                break
        else:
            yield name


def test_every_setting_has_its_line() -> None:
    assert "locations.NAME.region" in set(settings())
    assert [name for name in settings() if f"| `{name}` |" not in OPERATIONS] == []


def test_every_line_is_a_setting() -> None:
    table = OPERATIONS.partition("## Settings: falaj.toml")[2].partition("## Environment")[0]
    assert set(re.findall(r"(?m)^\| `([\w.]+)` \|", table)) == set(settings())


def variables() -> set[str]:
    """The variables of the environment that the code asks for."""
    files = (ROOT / "src" / "falaj").rglob("*.py")
    return {name for file in files for name in re.findall(r"\bFALAJ_[A-Z]+(?:_[A-Z]+)*\b", file.read_text("utf-8"))}


@pytest.mark.parametrize("page", ["operations.md", "cli.md"])
def test_every_variable_is_on_the_page(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert "FALAJ_DATABASE" in variables()
    assert [name for name in sorted(variables()) if name not in text] == []


def shown(value: object) -> str:
    """A limit as the page writes it."""
    match value:
        case int() if value >= 1 << 10 and value % (1 << 10) == 0:
            power = max(p for p in (1, 2, 3) if value % (1 << 10 * p) == 0)
            return f"{value >> 10 * power} {('KiB', 'MiB', 'GiB')[power - 1]}"
        case int() | float():
            return f"{value:g}"
    rate = typing.cast("typing.Any", value)
    return f"{rate.per_s:g} a second, {rate.burst:,} at once"


def test_every_limit_is_on_the_page_with_its_value() -> None:
    table = OPERATIONS.partition("<!-- limits -->")[2].partition("```")[0]
    rows = dict(re.findall(r"(?m)^\| (`.+?) \| (.+?) \|", table))
    said = {}
    for names, values in rows.items():
        fields = re.findall(r"`(\w+)`", names)
        parts = values.split(", ") if len(fields) > 1 else [values]
        said |= {f: v.removesuffix(" s") for f, v in zip(fields, parts, strict=True)}
    assert said == {field: shown(getattr(Limits(), field)) for field in Limits.__struct_fields__}


def in_the_server(form: str) -> set[str]:
    files = (ROOT / "src" / "falaj" / "server").glob("*.py")
    return {name for file in files for name in re.findall(form, file.read_text("utf-8"))}


def test_every_metric_and_every_event_of_the_log_is_on_the_page() -> None:
    metrics, events = in_the_server(r'"(falaj_[a-z_]+)"'), in_the_server(r'\bsay\(\s*"([a-z_]+)"')
    assert "falaj_ledger_pending" in metrics
    assert "request" in events
    assert [name for name in sorted(metrics) if f"`{name}" not in OPERATIONS] == []
    assert [name for name in sorted(events) if f"`{name}`" not in OPERATIONS] == []


def test_a_backup_as_the_page_takes_it_verifies(tmp_path: Path) -> None:
    place, restored = tmp_path / "flights", tmp_path / "restored"
    for folder in (place, restored):
        folder.mkdir()
        (folder / "falaj.toml").write_text('project = "flights"\n', encoding="utf-8")
    (tmp_path / "january.csv").write_text("id\n1\n2\n", encoding="utf-8")
    space: dict[str, typing.Any] = {}
    exec(compile(named("operations.md", "backup"), "operations.md", "exec"), space)
    with Platform.create(place, "flights") as platform:
        session = platform.session("flights")
        staged = session.stage(tmp_path / "january.csv")
        session.call("data.add", {"dataset": "flights", "files": [{"name": "a.csv", "staged": staged["staged"]}]})
        space["back_up"](place / ".falaj", restored / ".falaj")
    with Platform.open(restored) as platform:
        session = platform.session("flights")
        found = session.call("store.verify")
        assert found["ok"], found["problems"]
        assert found["versions"] == 1
        assert b"".join(session.stream("data.get", {"thing": "flights"})) == b"id\n1\n2\n"
