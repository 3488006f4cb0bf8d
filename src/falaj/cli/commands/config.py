"""`falaj apply`: the project's files are read here, and made assets of in one command.

`falaj.toml` counts as files of its own: `[residency]` as `policies/residency.yaml`, each `[locations.NAME]` that names
a region as `locations/NAME.yaml`. A file that is there under such a name goes before it. `features.py` is read in a
process of its own, and stands for one file a feature view and service.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from falaj import folder
from falaj.cli import target
from falaj.core.errors import FalajError, Invalid, TooLarge
from falaj.session import Progress, Session

FOLDERS = ("contracts", "gates", "deploy", "policies", "locations")
TRIGGERS = "triggers.yaml"
FEATURES = "features.py"
ENDINGS = (".yaml", ".yml")
MAX_BYTES = 1 << 20


def apply(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Send the texts of the files. Without paths: `falaj.toml`, `features.py`, `triggers.yaml`, the folders' YAML."""
    start = target.start_folder(options)
    place = folder.find(start)
    given = [start / p for p in args.pop("paths", ())]
    made = _made(place, given)
    texts = _texts(place, given)
    if not texts and not made:
        raise Invalid(f"{place}: no files to apply", next_step=f"write some in {', '.join(FOLDERS)}")
    every = {**{path: one.text for path, one in made.items()}, **texts}
    files = [{"path": path, "text": text} for path, text in sorted(every.items())]
    try:
        result = session.call("config.apply", {**args, "files": files}, progress=progress)
    except FalajError as error:
        for path, one in made.items():
            if error.message.startswith(f"{path}: "):
                error.message = one.file + error.message[len(path) :]
        raise
    return {
        **result,
        "files": [{**f, "path": made[f["path"]].file if f["path"] in made else f["path"]} for f in result["files"]],
    }


class _Made(NamedTuple):
    """A file that another file of the project stands for."""

    file: str
    text: str


def _made(place: Path, given: Sequence[Path]) -> dict[str, _Made]:
    """What `falaj.toml` and `features.py` stand for, where they are meant: path to text."""
    out: dict[str, _Made] = {}
    if not given or any(_is_same(path, place / folder.FILE) for path in given):
        said = from_settings(folder.settings(place))
        out |= {path: _Made(folder.FILE, text) for path, text in said.items() if not _stands(place, path)}
    if (place / FEATURES).is_file() and (not given or any(_is_same(path, place / FEATURES) for path in given)):
        out |= {path: _Made(FEATURES, text) for path, text in from_features(place / FEATURES).items()}
    return out


def from_features(file: Path) -> dict[str, str]:
    """The views and services that a `features.py` defines, as the files that say the same: path to text."""
    import msgspec

    from falaj.features.define import defined_in

    found = defined_in(file)
    views = {f"feature_views/{view.view}.json": view for view in found.views}
    services = {f"feature_services/{service.service}.json": service for service in found.services}
    return {path: msgspec.json.encode(one).decode() for path, one in (*views.items(), *services.items())}


def _texts(place: Path, given: Sequence[Path]) -> dict[str, str]:
    """The files given, or else all that the project has: path below the project to text."""
    roots = given or [place / name for name in (*FOLDERS, TRIGGERS) if (place / name).exists()]
    own = (place / folder.FILE, place / FEATURES)
    found = [file for root in roots for file in _files(root) if not any(_is_same(file, one) for one in own)]
    names = [below(place, file) for file in found]
    return {name: read_text(place / name) for name in names}


def from_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """What `falaj.toml` says of residency and locations, as the files that say the same: path to text.

    JSON is YAML, and needs no other quoting. Raises: Invalid for what has the wrong form.
    """
    out = {}
    residency = _table(settings, "residency")
    if residency:
        policy = {"policy": "residency", **residency}
        if "regime" in settings:
            policy["regime"] = settings["regime"]
        out["policies/residency.yaml"] = _yaml(policy, "[residency]")
    locations = _table(settings, "locations")
    for name in locations:
        location = _table(locations, name)
        if location.get("region"):
            out[f"locations/{name}.yaml"] = _yaml({"location": name, **location}, f"[locations.{name}]")
    return out


def _table(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = settings.get(name, {})
    if not isinstance(found, dict):
        raise Invalid(f"{folder.FILE}: {name}: a table is expected", next_step=f"write [{name}] on a line of its own")
    return found


def _yaml(value: dict[str, Any], what: str) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:  # dates and times, which TOML has
        raise Invalid(f"{folder.FILE}: {what}: {error}", next_step="give text, numbers or lists") from None


def _stands(place: Path, path: str) -> bool:
    """Whether the project has a file of its own for this."""
    return any((place / path).with_suffix(ending).exists() for ending in ENDINGS)


def _is_same(path: Path, other: Path) -> bool:
    return os.path.abspath(path) == os.path.abspath(other)


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
