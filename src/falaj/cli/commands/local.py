"""Commands of this machine: make a project, keep a token, serve, complete, say the version."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from falaj import __version__, credentials, folder
from falaj.cli import target
from falaj.core.errors import Forbidden, Invalid, NotFound

Given = dict[str, Any]
_REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_WORD = re.compile(r"[^A-Za-z0-9._+-]+")


def init(options: Given, args: Given) -> Given:
    """Write `falaj.toml` where it is missing and make the store. A failure leaves no new file behind."""
    from falaj.core.names import name
    from falaj.platform import Platform

    place = Path(os.path.abspath(options.get("folder", ".")))
    region, database = args.get("region", ""), args.get("database", "")
    if region and not _REGION.fullmatch(region):
        raise Invalid(
            f"region {region[:20]!r}: country, or country and part, is expected", next_step="for example AE-DU"
        )
    there = (place / folder.FILE).is_file()
    known = folder.project_of(place) if there else ""
    asked = options.get("project") or os.environ.get("FALAJ_PROJECT", "")
    if known and asked and asked != known:
        raise Invalid(f"{place / folder.FILE} says project {known}, not {asked}", next_step="leave --project out")
    if there and region:
        raise Invalid(f"{place / folder.FILE} is there already", next_step="write the region into it")
    project = name(known or asked or _WORD.sub("-", place.name).strip("-._+"), "project")
    written = "" if there or _has_secret(database) else database
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not there:
            _write_new(place / folder.FILE, project_file(project, region, written))
    except OSError as error:
        raise Invalid(f"{place}: {error.strerror}", next_step="choose a folder that you may write to") from error
    try:
        Platform.create(place, project, database=database).close()
    except BaseException:
        if not there:
            (place / folder.FILE).unlink(missing_ok=True)
        raise
    return {"project": project, "folder": str(place), "wrote": not there, "set_database": database != written}


def project_file(project: str, region: str, database: str = "") -> str:
    """The text of a new `falaj.toml`. A quoted name needs no escapes: a name holds no quotes or controls."""
    lines = [f'project = "{project}"']
    if database:
        lines.append(f"database = {credentials.quoted(database)}")
    lines += ["", "[locations.main]", 'url = "file:objects"']
    if region:
        lines += [f'region = "{region}"', "", "[residency]", f'allow = ["{region[:2]}"]']
    return "\n".join(lines) + "\n"


def _has_secret(address: str) -> bool:
    """Whether an address of a database holds a password, which has no place in a file that Git keeps."""
    return bool(re.search(r"://[^/@\s]*:[^/@\s]+@|password", address, re.IGNORECASE))


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as stream:
        stream.write(text)


def login(options: Given, args: Given) -> Given:
    """Read a token from the terminal (unseen) or from standard input, try it, and keep it.

    With `claim`, the token is the server's one-time one: it is used up, and the owner's own token is kept.
    """
    url = credentials.server_url(args["server"])
    token = _asked_token(options, f"{'one-time ' if args.get('claim') else ''}token for {url}: ")
    place = _place(options)
    project = _project(options, place)
    owner = args.get("claim", "")
    if owner:
        from falaj.client import claim

        token = credentials.token_text(claim(url, token, owner))
    is_open = bool(owner) or not project or _is_open(url, token, project)
    file = credentials.save(url, token, folder=place, project=project)
    return {
        "url": url,
        "file": str(file),
        "folder": str(place) if place else "",
        "project": project,
        "owner": owner,
        "open": is_open,
    }


def _place(options: Given) -> Path | None:
    try:
        return folder.find(target.start_folder(options))
    except folder.NoProject:
        return None


def _project(options: Given, place: Path | None) -> str:
    asked: str = options.get("project") or os.environ.get("FALAJ_PROJECT", "")
    return asked or (folder.project_of(place) if place else "")


def _asked_token(options: Given, question: str) -> str:
    if "token_file" in options:
        return credentials.read_token(target.below(options, options["token_file"]))
    return credentials.token_text(_asked_secret(question))


def _is_open(url: str, token: str, project: str) -> bool:
    """Whether the token is good for something in the project. Raises: Unauthenticated where it is good for nothing."""
    from falaj.client import RemoteSession

    session = RemoteSession(url, token, project)
    try:
        session.call("asset.list", {"limit": 1})
    except (NotFound, Forbidden):
        return False
    finally:
        session.close()
    return True


def _asked_secret(question: str) -> str:
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(question, sys.stderr)
    return sys.stdin.readline(credentials.MAX_TOKEN + 2)


def logout(options: Given, args: Given) -> Given:
    """Forget a server's token on this machine."""
    url = credentials.server_url(args["server"])
    return {"url": url, "forgotten": credentials.forget(url)}


def server(options: Given, args: Given) -> None:
    """Serve until a signal ends it."""
    from falaj.server.settings import Settings
    from falaj.server.start import run

    plain = Settings()
    files = {name: str(target.below(options, args[name])) for name in ("tls_cert", "tls_key") if name in args}
    run(
        folder.find(target.start_folder(options)),
        host=args.get("host", plain.host),
        port=args.get("port", plain.port),
        database=args.get("database", ""),
        certfile=files.get("tls_cert", ""),
        keyfile=files.get("tls_key", ""),
        allowed_hosts=tuple(args.get("allow_host", ())),
        behind_proxy=args.get("behind_proxy", False),
    )


def completion(options: Given, args: Given) -> Given:
    """The completion script of a shell."""
    from falaj.cli.completion import SCRIPTS

    return {"shell": args["shell"], "script": SCRIPTS[args["shell"]]}


def version(options: Given, args: Given) -> Given:
    """What is installed."""
    return {"version": __version__, "python": sys.version.split()[0]}
