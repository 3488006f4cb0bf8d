"""Which store a command works on: a server (`--url`, FALAJ_URL, the folder's login) or the folder itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from falaj import credentials, folder
from falaj.core.errors import Invalid, Unauthenticated

if TYPE_CHECKING:
    from falaj.session import Session


class Target(NamedTuple):
    """Where to work: on a server where `url` is set, else embedded in `place`."""

    project: str
    place: Path | None = None
    url: str = ""
    token: str = ""

    def open(self) -> Session:
        """A session; the caller closes it."""
        if self.url:
            from falaj.client import RemoteSession

            return RemoteSession(self.url, self.token, self.project)
        from falaj.api import embedded

        assert self.place is not None  # noqa: S101  `resolve` sets one of the two
        return embedded(self.place, self.project)


def start_folder(options: dict[str, Any]) -> Path:
    """The folder of `-C`, or the current one. Raises: Invalid where it is none."""
    place = Path(options.get("folder", "."))
    if not place.is_dir():
        raise Invalid(f"{place}: no such folder", next_step="name a folder with -C")
    return place


def below(options: dict[str, Any], name: str) -> Path:
    """A path as it was typed, from the folder of `-C`: as if the command had been started there."""
    return start_folder(options) / name


def resolve(options: dict[str, Any]) -> Target:
    """Decide by options, then environment, then the folder. Raises: Invalid, NoProject, Unauthenticated."""
    place = _project_folder(options)
    asked = options.get("url") or os.environ.get("FALAJ_URL", "")
    login = credentials.login_of(place) if place and not asked else None
    project = options.get("project") or os.environ.get("FALAJ_PROJECT", "")
    if not asked and not login:
        if place is None:
            place = folder.find(start_folder(options))  # raises, with the next step
        return Target(project or folder.project_of(place), place)
    url = credentials.server_url(asked or (login[0] if login else ""))
    project = project or (login[1] if login else "") or (folder.project_of(place) if place else "")
    if not project:
        raise Invalid("which project of the server?", next_step="give --project, or set FALAJ_PROJECT")
    return Target(project, None, url, _token(options, url))


def _project_folder(options: dict[str, Any]) -> Path | None:
    try:
        return folder.find(start_folder(options))
    except folder.NoProject:
        return None


def _token(options: dict[str, Any], url: str) -> str:
    if "token_file" in options:
        return credentials.read_token(below(options, options["token_file"]))
    if text := os.environ.get("FALAJ_TOKEN"):
        return credentials.token_text(text)
    if saved := credentials.token_for(url):
        return saved
    raise Unauthenticated(f"no token for {url}", next_step=f"falaj login {url}, --token-file, or FALAJ_TOKEN")
