"""Model files: what form they have, told by their content, and whether they may be opened.

Only forms that hold no code are let in: skops with an allow-list of types, and ONNX with standard operators. Nothing
here loads a model: bytes are parsed with the standard library alone, under caps on size, count, ratio and depth.
What is not recognised is refused; a deny-list would only find what was known before.

The file's name says nothing: a pickle called `model.onnx` is a pickle.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from falaj.core.digests import sha256
from falaj.core.errors import Damaged, NotFound, TooLarge
from falaj.core.names import printable
from falaj.models.errors import WAY_OUT, ModelRefused
from falaj.models.records import Format, Model

MAX_BYTES: Final = 512 * 1024 * 1024
_PEEK: Final = 64 * 1024

_PACKERS: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_ZLIB: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model file that may be opened.

    Attributes:
        sha256: `sha256:…` of the bytes that were looked at.
        types: what it is made of, sorted: classes for skops, `domain:operator` for ONNX.
        inputs: names of the inputs that the file itself declares (ONNX); empty where it declares none.
    """

    format: Format
    sha256: str
    size_bytes: int
    types: tuple[str, ...]
    inputs: tuple[str, ...] = ()


def inspect(path: Path) -> ModelFile:
    """Look into a model file without loading it.

    Raises: NotFound for a file that is not there; TooLarge over 512 MiB; ModelRefused with what was found and how to
        save the model instead.
    """
    return inspect_bytes(read(path), path.name)


def inspect_bytes(data: bytes, called: str = "model") -> ModelFile:
    """As `inspect`, for bytes in memory; whoever loads the same bytes loads what was looked at.

    Args:
        called: what to call the file in messages.
    """
    what = f"model file {printable(called)}"
    if not data:
        raise ModelRefused(f"{what}: empty", next_step=WAY_OUT)
    if data.startswith(b"PK"):
        from falaj.models import skops_file

        return _known("skops", data, skops_file.look(data, what))
    if (why := _unsafe(data)) is not None:
        raise ModelRefused(f"{what}: {why}", next_step=WAY_OUT)
    from falaj.models import onnx_file

    if not data.startswith(onnx_file.FIRST):
        raise ModelRefused(f"{what}: not a form that is known here", next_step=WAY_OUT)
    types, inputs = onnx_file.look(data, what)
    return _known("onnx", data, types, inputs)


def read(path: Path) -> bytes:
    """The bytes of a regular file; no link is followed. Raises: NotFound, TooLarge, ModelRefused."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(
            f"model file {printable(path.name)}: {error.strerror}", next_step="give the path of a readable file"
        ) from error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise ModelRefused(f"model file {printable(path.name)}: not a regular file", next_step="give a file")
    with os.fdopen(handle, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooLarge(
            f"model file {printable(path.name)}: {found.st_size:,} bytes; at most {MAX_BYTES:,} are read",
            next_step="make the model smaller",
        )
    return data


def check_file(model: Model, found: ModelFile) -> None:
    """Raises: Damaged where a file is not the one that a payload names."""
    named = model.files[0]
    if (found.sha256, found.size_bytes) != (named.sha256, named.size_bytes):
        raise Damaged(
            f"{named.path}: its bytes are {found.sha256[:23]}…, the version names {named.sha256[:23]}…",
            next_step="falaj verify",
        )
    if (found.format, found.types) != (model.format, model.types):
        raise Damaged(
            f"{named.path}: is {found.format} of {len(found.types)} types, the version says {model.format} of "
            f"{len(model.types)}",
            next_step="register the model again from its run",
        )


def check_beside(path: Path) -> None:
    """A file that goes with a model and is never loaded: anything but a pickle. Raises: ModelRefused, NotFound."""
    data = read(path)
    packer = _packer(data)
    if _is_pickle(data if packer is None else _unpack_some(data, packer)):
        raise ModelRefused(f"file {printable(path.name)}: a pickle, which can run any code", next_step=WAY_OUT)


def _known(form: Format, data: bytes, types: tuple[str, ...], inputs: tuple[str, ...] = ()) -> ModelFile:
    return ModelFile(format=form, sha256=sha256(data), size_bytes=len(data), types=types, inputs=inputs)


def _unsafe(data: bytes) -> str | None:
    """What the bytes are, where they are of a form that is never opened."""
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return "an HDF5 file (Keras), which can hold code (Lambda layers)"
    if data[257:262] == b"ustar":
        return "a tar archive"
    if _is_pickle(data):
        return "a pickle, which can run any code while it loads"
    if (packer := _packer(data)) is not None:
        inner = "a pickle (joblib) " if _is_pickle(_unpack_some(data, packer)) else "a file "
        return f"{inner}compressed with {packer}"
    if len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        return "a safetensors file: numbers without the model that uses them"
    if data.lstrip()[:1] in (b"{", b"["):
        return "a JSON file"
    return None


def _packer(data: bytes) -> str | None:
    for head, packer in _PACKERS:
        if data.startswith(head):
            return packer
    return "zlib" if data[:2] in _ZLIB or data.startswith(b"ZF0x") else None


def _unpack_some(data: bytes, packer: str) -> bytes:
    """At most 64 KiB of what is inside, to say what it is; empty where that cannot be told."""
    import bz2
    import lzma
    import zlib

    try:
        match packer:
            case "gzip":
                return zlib.decompressobj(31).decompress(data, _PEEK)
            case "zlib":
                return zlib.decompressobj().decompress(data, _PEEK)
            case "bzip2":
                return bz2.BZ2Decompressor().decompress(data, _PEEK)
            case "xz" | "lzma":
                return lzma.LZMADecompressor(memlimit=1 << 28).decompress(data, _PEEK)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        pass
    return b""


def _is_pickle(data: bytes) -> bool:
    """Whether the bytes start as a pickle of any protocol. Opcodes are read, never run."""
    import pickletools

    if data[:1] == b"\x80":
        return True
    seen = 0
    try:
        for opcode, _, _ in pickletools.genops(data[:_PEEK]):
            if opcode.name in ("GLOBAL", "INST", "REDUCE", "BUILD", "STOP"):
                return True
            seen += 1
            if seen >= 64:
                return True
    except Exception:  # noqa: BLE001  genops raises whatever its argument readers raise on bytes that are no pickle
        return False
    return False
