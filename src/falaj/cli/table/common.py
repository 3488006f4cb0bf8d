"""Arguments that several commands take, and those that every command takes."""

from __future__ import annotations

from falaj.cli.spec import Arg, option

THING = Arg("thing", "an asset, a ref of it or a version: name, name@ref, name:N, kind/name", complete="thing")
REF = Arg("thing", "the ref: name@ref, such as delay@production", metavar="REF", complete="thing")
VERSION = Arg("version", "number of the version", type="int")
REASON = option("reason", "why; kept beside the entry")
EXPECT = option("expect", "move only if the ref holds this version now", "int")
LIMIT = option("limit", "at most so many lines", "int")
ROLES = ("viewer", "contributor", "maintainer", "owner", "auditor")
RESOURCE = Arg("resource", "kind/name, kind/name@ref, store, or a full scope (default: the project)", need=False)
SCOPE = Arg("scope", "kind/name, kind/name@ref, store, or a full scope (default: the project)", need=False)
AFTER = option("after", "go on after this one, as the page before said")

GLOBAL = (
    Arg(
        "folder",
        "project folder (default: the nearest with falaj.toml)",
        "-C",
        need=False,
        metavar="DIR",
        complete="folder",
    ),
    Arg("url", "a server; also FALAJ_URL, or the login of the folder", "--url", need=False),
    Arg("project", "the project; also FALAJ_PROJECT, or what falaj.toml says", "--project", need=False, metavar="NAME"),
    Arg(
        "token_file",
        "file with the token (mode 0600); also FALAJ_TOKEN",
        "--token-file",
        need=False,
        metavar="FILE",
        complete="file",
    ),
    Arg("json", "the same facts as JSON, errors too", "--json", "switch", False),
    Arg("quiet", "print errors only", "-q/--quiet", "switch", False),
    Arg("no_color", "no colours; also NO_COLOR", "--no-color", "switch", False),
)
