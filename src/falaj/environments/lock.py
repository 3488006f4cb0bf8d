r"""A lock: exact distributions, each with the hashes that its file may have. Pure; no network.

    numpy==2.3.4 \
        --hash=sha256:0ab1…

That is the form that pip installs with `--require-hashes`, and the whole of it that is taken here: a lock that could
mean another set of files tomorrow, or elsewhere, is refused. So there is no range, no address, no other file, no option
and no marker in one. What remains is a set of (name, version, hashes), and the digest is of that set: comments, order
and layout are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import TooLarge
from falaj.environments.errors import HOW, LockInvalid

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_PINS: Final = 2000
_SHOWN: Final = 60
_HEX: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_PIN = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*==\s*([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_HASH = re.compile(r"--hash[=\s]\s*(\S+)")
_COMMENT = re.compile(r"(^|\s)#.*$")
_SPELLED: Final = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc", "rev": "post", "r": "post"}


class Pin(msgspec.Struct, frozen=True, order=True):
    """One distribution.

    Attributes:
        name: as indexes compare names: lower case, one hyphen between words.
        hashes: `sha256:…` of each file that may be installed; sorted.
    """

    name: str
    version: str
    hashes: tuple[str, ...]


class Lock(msgspec.Struct, frozen=True):
    """What an environment holds: pins, sorted by name, one for a name."""

    pins: tuple[Pin, ...]

    @property
    def text(self) -> str:
        """The lock as pip reads it, in the one form that equal locks share."""
        return "".join(
            f"{pin.name}=={pin.version} \\\n" + " \\\n".join(f"    --hash={one}" for one in pin.hashes) + "\n"
            for pin in self.pins
        )

    def digest(self, python: str, platform: str) -> str:
        """What names the environment that this lock makes.

        Args:
            python: `3.11`.
            platform: as the interpreter calls it, such as `linux-x86_64`.
        """
        return sha256(canonical(["environment", 1, self.pins, python, platform]))

    def missing(self, names: tuple[str, ...]) -> list[str]:
        """Those of the names that it does not hold."""
        held = {pin.name for pin in self.pins}
        return [name for name in names if name not in held]


def parse(text: str, what: str = "the lock") -> Lock:
    """The lock that a requirements file is.

    Args:
        what: how messages call it: the path of the file.
    Raises: LockInvalid, with the line; TooLarge.
    """
    if len(text) > MAX_BYTES:
        raise TooLarge(f"{what}: {len(text):,} characters, at most {MAX_BYTES:,} are taken")
    found: dict[str, tuple[int, Pin]] = {}
    for number, line in _lines(text):
        pin = _pin(line, f"{what}, line {number}")
        earlier = found.setdefault(pin.name, (number, pin))
        if earlier[1] != pin:
            raise LockInvalid(f"{what}, line {number}: {pin.name} is also on line {earlier[0]}, and differs")
    if not found:
        raise LockInvalid(f"{what}: no distribution is named in it")
    if len(found) > MAX_PINS:
        raise TooLarge(f"{what}: {len(found):,} distributions, at most {MAX_PINS:,} are taken")
    return Lock(pins=tuple(sorted(pin for _, pin in found.values())))


def version_key(version: str) -> tuple[int | str, ...]:
    """The same for two spellings of one version: `2024.01` and `2024.1.0`, `1.0-alpha1` and `1.0a1`."""
    public, _, local = version.lower().removeprefix("v").partition("+")
    words = [_SPELLED.get(word, word) for word in re.findall(r"\d+|[a-z]+|!", public)]
    release = next((at for at, word in enumerate(words) if word.isalpha()), len(words))
    while release > 1 and not words[release - 1].strip("0"):
        del words[release - 1]
        release -= 1
    parts = (*words, "+", *re.findall(r"\d+|[a-z]+", local)) if local else tuple(words)
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The logical lines and where each begins: pip's own order, lines are joined first, comments go after."""
    begun, held = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        begun = begun or number
        is_comment = raw.lstrip().startswith("#")
        if raw.endswith("\\") and not is_comment:
            held += raw[:-1] + " "
            continue
        line = _COMMENT.sub("", held + ("" if is_comment else raw)).strip()
        if line:
            yield begun, line
        begun, held = 0, ""
    if line := _COMMENT.sub("", held).strip():
        yield begun, line


def _pin(line: str, where: str) -> Pin:
    if line.startswith("-"):
        option = line.split(maxsplit=1)[0].partition("=")[0]
        raise LockInvalid(
            f"{where}: {option} is not for a lock: where distributions come from is set in pip's own configuration",
            next_step=f"leave it out; with pip-compile --no-emit-index-url. {HOW}",
        )
    wanted, *hashes = re.split(r"\s(?=--hash[=\s])", line)
    wanted = wanted.strip()
    shown = wanted if len(wanted) <= _SHOWN else f"{wanted[:_SHOWN]}…"
    if "@" in wanted or "://" in wanted or wanted.startswith((".", "/")):
        raise LockInvalid(f"{where}: {shown!r} is an address or a path, not a name and a version")
    if ";" in wanted:
        raise LockInvalid(
            f"{where}: {shown!r} has a marker, so that the lock is another one elsewhere",
            next_step=f"make one lock for each platform, without --universal. {HOW}",
        )
    match = _PIN.fullmatch(wanted)
    if match is None:
        raise LockInvalid(f"{where}: {shown!r} is not NAME==VERSION with hashes")
    if not hashes:
        raise LockInvalid(f"{where}: {match[1]}=={match[3]} has no hash")
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    return Pin(name, match[3], tuple(sorted({_hash(one, where) for one in hashes})))


def _hash(text: str, where: str) -> str:
    match = _HASH.fullmatch(text.strip())
    algorithm, _, value = match[1].partition(":") if match else ("", "", "")
    if len(value) != _HEX.get(algorithm) or not re.fullmatch(r"[0-9a-f]+", value.lower()):
        raise LockInvalid(f"{where}: {text.strip()[:60]!r} is not --hash=sha256:… (or sha384, sha512) in hex digits")
    return f"{algorithm}:{value.lower()}"
