"""What the operations on data answer."""

from __future__ import annotations

from typing import Any

import msgspec


class StagedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose bytes were staged before: the name it shall have, and the word that staging gave."""

    name: str
    staged: str


class DataAdded(msgspec.Struct, frozen=True, kw_only=True):
    """What adding data came to.

    Attributes:
        added_bytes: of the files that came; `stored_bytes`: what storing them took, deduplicated and compressed.
        rules, rules_passed: of the contract; 0 where there is none.
    """

    dataset: str
    version: int
    previous: int | None
    ref: str
    rows: int | None
    files: int
    added_bytes: int
    stored_bytes: int
    contract: str | None
    rules: int
    rules_passed: int
    warnings: tuple[str, ...]
    run: str
    entry_id: str
    entry: int | None = None


class FileView(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a version."""

    path: str
    size_bytes: int
    digest: str


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a version."""

    thing: str
    version: int
    files: tuple[FileView, ...]


class ContractView(msgspec.Struct, frozen=True, kw_only=True):
    """A contract, and how a version of its dataset stands to it."""

    name: str
    version: int
    document_version: str
    rules: tuple[str, ...]
    purpose: str | None
    lawful_basis: str | None
    judged: dict[str, Any] | None
