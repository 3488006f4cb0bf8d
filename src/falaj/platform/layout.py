"""Where a store lies, and what the project's `falaj.toml` says of this host. Reading only.

falaj.toml         project, regime, locations, residency, environments, database, ledger
.falaj/            the store, mode 0700
  falaj.db         metadata, where it is SQLite
  key              the key file, mode 0600 or protected by a passphrase
  objects/         the location `main`, where its url is `file:objects`
  staging/         files that were sent and that no operation has named yet
  scratch/         what lies there only while it is worked on
  environments/    libraries that run apart from ours, each built from a lock
  serving/         a signed bundle for each deployment, and what was predicted by it
  checkpoints/     signed heads of the ledger, outside of the database
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec

from falaj import folder
from falaj.compliance.rules import REGIMES, check_region
from falaj.core.encoding import convert
from falaj.core.errors import Invalid
from falaj.core.names import name
from falaj.environments.declared import EnvironmentSettings

STORE = ".falaj"
MAIN = "main"
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class LocationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[locations.NAME]`: where bytes rest, and the region that this place is in ("" for not declared)."""

    url: Text
    region: str = ""


class ResidencySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[residency]`: where bytes may rest and be read; it becomes the policy `residency` by `falaj apply`."""

    allow: tuple[str, ...]


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[ledger]`: the folder that signed checkpoints are published to, best on another machine's disk."""

    publish: Text


class StepSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[steps]`: how many processes with a project's libraries wait for its next run, and for how long each."""

    kept: Annotated[int, msgspec.Meta(ge=0, le=64)] = 4
    idle_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 300


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `falaj.toml` may say."""

    project: Text
    regime: str = "federal"
    database: str = ""
    locations: dict[str, LocationSettings] = {}
    environments: dict[str, EnvironmentSettings] = {}
    residency: ResidencySettings | None = None
    ledger: LedgerSettings | None = None
    steps: StepSettings = StepSettings()

    @property
    def region(self) -> str:
        """The region that this host declares, "" where it declares none."""
        main = self.locations.get(MAIN)
        return main.region if main else ""


class Layout:
    """The paths of one store.

    Args:
        place: the project folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = Path(os.path.abspath(place))
        self.store = self.place / STORE
        self.database = self.store / "falaj.db"
        self.key = self.store / "key"
        self.staging = self.store / "staging"
        self.scratch = self.store / "scratch"
        self.checkpoints = self.store / "checkpoints"
        self.environments = self.store / "environments"
        self.serving = self.store / "serving"

    def make(self) -> None:
        """Make the folders that are missing. Raises: Invalid where one cannot be made."""
        try:
            self.store.mkdir(mode=0o700, exist_ok=True)
            for folder_ in (self.staging, self.scratch, self.checkpoints):
                folder_.mkdir(mode=0o700, exist_ok=True)
            if not (self.store / ".gitignore").exists():
                (self.store / ".gitignore").write_text("*\n", encoding="utf-8")  # keys and data are not for Git
        except OSError as error:
            raise Invalid(f"{self.store}: {error.strerror}", next_step="check the folder and its rights") from error

    def objects(self, url: str) -> Path:
        """The folder of a `file:` location, relative ones below the store. Raises: Invalid for any other address."""
        scheme, colon, path = url.partition(":")
        if scheme != "file" or not colon or not path or ".." in Path(path).parts:
            raise Invalid(
                f"location {url[:60]!r}: file:FOLDER is expected, without '..'", next_step='url = "file:objects"'
            )
        return self.store / path  # an absolute path stays what it is


def read_settings(place: Path) -> Settings:
    """What the project's `falaj.toml` says.

    Raises: NoProject, Invalid with the field.
    """
    settings = convert(folder.settings(place), Settings, str(place / folder.FILE))
    name(settings.project, "project")
    if settings.regime not in REGIMES:
        raise Invalid(
            f"{folder.FILE}: regime {settings.regime[:20]!r} is not known", next_step=f"one of {', '.join(REGIMES)}"
        )
    for location in settings.locations.values():
        if location.region:
            check_region(location.region)
    return settings
