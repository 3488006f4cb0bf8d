"""Tokens saved by `falaj login`, in a file that only its owner reads.

`~/.config/falaj/credentials.toml` (below `$XDG_CONFIG_HOME` where that is set), mode 0600 from its first byte:

    [servers."https://falaj.example.ae"]
    token = "…"
    [folders."/home/amal/flights"]
    url = "https://falaj.example.ae"
    project = "flights"

A token is found by the address it was saved for and goes to no other. A project's own files never name a server.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from falaj.core.errors import Forbidden, Invalid

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_TOKEN = 4096


class UnsafeFile(Forbidden):
    """A file of secrets that others may read or write."""

    code = "unsafe_file"


def path() -> Path:
    """Where the tokens lie."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "falaj" / "credentials.toml"


def server_url(text: str) -> str:
    """A server's address in its one form: scheme, host, port and path, no slash at the end.

    Raises: Invalid for other schemes, for user names, queries or fragments in it, and for http to another machine.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Invalid(f"server address: {error}", next_step="for example https://falaj.example.ae") from None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise Invalid(
            "server address: https://host[:port] is expected", next_step="for example https://falaj.example.ae"
        )
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in text):
        raise Invalid("server address: no query, fragment, spaces or controls", next_step="give the address alone")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise Invalid(
            f"http to {host}: a token would cross the network in the clear",
            next_step="use https, or a tunnel to 127.0.0.1",
        )
    place = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, place + (f":{port}" if port else ""), parts.path.rstrip("/"), "", ""))


def token_text(text: str) -> str:
    """A token as it came in, without the line's end. Raises: Invalid."""
    token = text.strip()
    if not token or len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise Invalid("token: one line of printable ASCII is expected", next_step="paste the token that was issued")
    return token


def read_token(file: Path) -> str:
    """The token in a file that only its owner may read. Raises: Invalid, UnsafeFile."""
    return token_text(_read_private(file))


def load() -> dict[str, Any]:
    """Everything saved; empty where nothing was. Raises: UnsafeFile, Invalid."""
    file = path()
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}", next_step="make it readable, or set XDG_CONFIG_HOME") from error
    import tomllib  # as in `folder`

    try:
        return tomllib.loads(_read_private(file))
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{file}: {error}", next_step="remove the file and log in again") from error


def token_for(url: str) -> str | None:
    """The token saved for an address (as `server_url` gives it)."""
    found = load().get("servers", {}).get(url, {}).get("token")
    return found if isinstance(found, str) else None


def login_of(folder: Path) -> tuple[str, str] | None:
    """The address and project that a folder was logged in to, or None."""
    found = load().get("folders", {}).get(str(folder), {})
    url, project = found.get("url"), found.get("project")
    return (url, project) if isinstance(url, str) and isinstance(project, str) else None


def save(url: str, token: str, *, folder: Path | None = None, project: str = "") -> Path:
    """Keep a token for an address, and the address for a folder. Returns the file."""
    known = load()
    known.setdefault("servers", {})[url] = {"token": token}
    if folder is not None:
        known.setdefault("folders", {})[str(folder)] = {"url": url, "project": project}
    return _write(known)


def forget(url: str) -> bool:
    """Drop the token of an address and every folder's login to it. Returns whether there was any."""
    known = load()
    folders = known.get("folders", {})
    kept = {name: login for name, login in folders.items() if login.get("url") != url}
    had = known.get("servers", {}).pop(url, None) is not None or len(kept) < len(folders)
    if had:
        known["folders"] = kept
        _write(known)
    return had


def _read_private(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            state = os.fstat(stream.fileno())
            if state.st_mode & 0o077 or state.st_uid not in (os.getuid(), 0):
                raise UnsafeFile(
                    f"{file}: others may read it (mode {state.st_mode & 0o777:04o})", next_step=f"chmod 600 {file}"
                )
            return stream.read(1 << 20)
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}", next_step="give a file that you may read") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: not text", next_step="give a file with one token") from error


def _write(known: dict[str, Any]) -> Path:
    file = path()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = []
    for group, entries in known.items():
        for name, fields in entries.items():
            lines.append(f"[{group}.{quoted(name)}]")
            lines += [f"{key} = {quoted(value)}" for key, value in fields.items()]
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".credentials-")  # born with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink()
        raise
    return file


def quoted(text: str) -> str:
    """Text as a TOML basic string: a JSON string with DEL escaped too."""
    import json

    plain = json.dumps(text.encode("utf-8", "replace").decode("utf-8"), ensure_ascii=False)
    return plain.replace("\x7f", "\\u007f")
