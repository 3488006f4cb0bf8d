"""How the commands of this machine tell what they did. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.render.shapes import Lines, joined
from falaj.cli.text import safe


def told_init(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A new project."""
    wrote = "falaj.toml written" if result["wrote"] else "falaj.toml was there"
    lines = [joined(f"project {safe(result['project'])} in {safe(result['folder'])}", wrote)]
    if result.get("set_database"):
        lines.append("its database is not in falaj.toml: give it as FALAJ_DATABASE to every command")
    return [*lines, "next   falaj apply, then falaj data add"]


def told_login(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A saved login."""
    lines = [f"{safe(result['owner'])} owns {safe(result['url'])} now"] if result.get("owner") else []
    lines.append(f"token for {safe(result['url'])} kept in {safe(result['file'])}")
    if result.get("folder"):
        lines.append(f"commands in {safe(result['folder'])} go to it, project {safe(result['project'])}")
    if not result["open"]:
        lines.append(f"there is no project {safe(result['project'])}, or nothing in it is open to you yet")
    return lines


def told_logout(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A forgotten login."""
    return [f"token for {safe(result['url'])} {'forgotten on this machine' if result['forgotten'] else 'was not here'}"]


def told_version(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """`falaj 0.1.0`."""
    return [f"falaj {safe(result['version'])}   python {safe(result['python'])}"]


def told_script(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """A script for a shell, as it is: it holds nothing from data."""
    return str(result["script"]).splitlines()


def told_nothing(result: Any, given: Mapping[str, Any]) -> Lines:
    """Nothing: the command has spoken for itself."""
    return []
