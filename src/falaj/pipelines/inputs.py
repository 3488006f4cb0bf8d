"""The files of a run's inputs, as attempts on this machine find them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from falaj.core.digests import sha256
from falaj.door import Context
from falaj.pipelines.keeping import Output
from falaj.pipelines.plan import Read


class Inputs:
    """The files that the attempts of a run are given, below its folder."""

    def __init__(self, ctx: Context, folder: Path) -> None:
        self._ctx, self._folder = ctx, folder
        self._datasets: dict[str, tuple[str, ...]] = {}

    def dataset(self, read: Read) -> tuple[str, ...]:
        """The files of a dataset's version, checked out once a run."""
        key = read.address
        if key not in self._datasets:
            self._ctx.progress(f"reading {read.held.asset.name}", 0, read.held.version.size_bytes)
            folder = self._folder / "inputs" / str(len(self._datasets))
            paths = self._ctx.ground.contents.checkout(read.held.version, folder)
            for path in paths:
                path.chmod(0o400)
            self._datasets[key] = tuple(str(path) for path in paths)
        return self._datasets[key]

    def output(self, output: Output) -> tuple[str, ...]:
        """The files of an output, as they were committed: a step may have written where it should not."""
        folder = self._place(output)
        paths = tuple(folder / file.path for file in output.payload.files)
        wanted = [file.sha256 for file in output.payload.files]
        if [_sha256(path) for path in paths] != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._ctx.ground.contents.checkout(output.version, folder, [file.path for file in output.payload.files])
            for path in paths:
                path.chmod(0o400)
        return tuple(str(path) for path in paths)

    def made(self, output: Output, folder: Path) -> None:
        """Keep the files of an output at hand as an attempt left them."""
        if not output.payload.files:
            return
        place = self._place(output)
        place.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # another item made the same; what was committed can be read from the store
            folder.rename(place)

    def _place(self, output: Output) -> Path:
        return self._folder / "made" / output.payload.digest.removeprefix("sha256:")


def _sha256(path: Path) -> str:
    try:
        return sha256(path.read_bytes()) if not path.is_symlink() else ""
    except OSError:
        return ""
