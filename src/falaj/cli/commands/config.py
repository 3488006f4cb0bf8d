"""`falaj apply`: the project's files are read here, and made assets of in one command."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from falaj import folder
from falaj.cli import target
from falaj.core.errors import Invalid, TooLarge
from falaj.session import Progress, Session

FOLDERS = ("contracts", "gates", "policies", "locations")
ENDINGS = (".yaml", ".yml")
MAX_BYTES = 1 << 20


def apply(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Send the texts of the files. Without paths: every YAML file of the folders that define assets."""
    place = folder.find(target.start_folder(options))
    start = target.start_folder(options)
    paths = [start / p for p in args.pop("paths", ())] or [place / name for name in FOLDERS if (place / name).is_dir()]
    files = sorted({below(place, file) for path in paths for file in _files(path)})
    if not files:
        raise Invalid(f"{place}: no files to apply", next_step=f"write some in {', '.join(FOLDERS)}")
    texts = [{"path": path, "text": read_text(place / path)} for path in files]
    return session.call("config.apply", {**args, "files": texts}, progress=progress)


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return [
            p for p in sorted(path.rglob("*")) if p.suffix in ENDINGS and p.is_file() and not p.name.startswith(".")
        ]
    return [path]


def below(place: Path, file: Path) -> str:
    """The file's path below the project folder, with slashes.

    Raises: Invalid where it, or what it links to, is outside.
    """
    inside = Path(os.path.abspath(file))
    try:
        inside.resolve(strict=True).relative_to(place.resolve())
        return inside.relative_to(place).as_posix()
    except ValueError:
        raise Invalid(
            f"{file}: leads out of the project folder {place}", next_step="keep the file in the project"
        ) from None
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}", next_step="give a file that you may read") from error


def read_text(file: Path) -> str:
    """A file's text in UTF-8. Raises: Invalid, TooLarge over 1 MiB."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise TooLarge(f"{file}: over 1 MiB", next_step="split it")
        return data.decode("utf-8")
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}", next_step="give a file that you may read") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: not UTF-8 (byte {error.start})", next_step="save it as UTF-8") from error
