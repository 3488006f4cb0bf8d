"""A project is a folder with a `falaj.toml`: how it is found and what it is called.

Pure reading of one file, so that the command line and Python agree on where they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from falaj.core.errors import Invalid, NotFound

FILE = "falaj.toml"
MAX_BYTES = 1 << 20


class NoProject(NotFound):
    """No project folder here or above."""

    code, exit_code = "no_project", 3


def find(start: Path) -> Path:
    """The nearest folder, from `start` upwards, that holds a `falaj.toml`.

    Raises: NoProject.
    """
    here = Path(os.path.abspath(start))
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise NoProject(
        f"no {FILE} in {here} or above",
        next_step="falaj init, or name the folder with -C, or a server with --url and --project",
    )


def settings(folder: Path) -> dict[str, Any]:
    """What the folder's `falaj.toml` says, as plain values.

    Raises: NoProject, Invalid where it is not TOML, not text, or larger than 1 MiB.
    """
    import tomllib  # reading it costs as much as starting Python: only where a file is read

    path = folder / FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Invalid(f"{path}: larger than 1 MiB", next_step="a project file holds settings only")
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NoProject(f"no {FILE} in {folder}", next_step="falaj init") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path}: {error}", next_step="correct the file") from error
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}", next_step="make it readable") from error


def project_of(folder: Path) -> str:
    """The project's name. Raises: as `settings`; Invalid where there is none."""
    found = settings(folder).get("project")
    if not isinstance(found, str) or not found:
        raise Invalid(f'{folder / FILE}: no project = "…"', next_step='write project = "name" as its first line')
    return found
