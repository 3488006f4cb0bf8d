"""Records of the models: what a version of the kind `model` says of itself."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from falaj.core.errors import Invalid
from falaj.core.names import name, printable, tree_path

Format = Literal["skops", "onnx"]
InputType = Literal["number", "integer", "text", "boolean"]
Sha256 = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]

MAX_INPUTS: Final = 10_000
MAX_FILES: Final = 1_000


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One column that the model reads, by its name in the table. Nulls reach the model as NaN or None."""

    name: Text
    type: InputType


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the model."""

    path: Text
    sha256: Sha256
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]


class UsedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version that the model was made from: `dataset/flights:12`, by its digest."""

    thing: Text
    digest: str
    role: str = ""


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What came of converting the file that was given to ONNX (see `conversion`).

    Attributes:
        source: SHA-256 of the file that was given.
        refused: why that file stayed; "" where the version's file is the converted one.
        environment: digest of the converter's environment; empty where none was made.
        data: the version whose rows both were asked for; empty where there was none.
        rows, edges: rows of it on which both agreed, and of those that were made beside.
        largest: difference of two probabilities.
    """

    source: Sha256
    refused: str = ""
    environment: str = ""
    data: str = ""
    rows: int = 0
    edges: int = 0
    largest: float = 0.0


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of the kind `model`.

    Attributes:
        files: every file of the version; the first is the one that is loaded.
        inputs: in the order in which the model takes them.
        output: "probability" that the label is true.
        label: SQL expression over the training data that the model predicts (`arr_delay > 30`).
        data: the versions it was trained on.
        code: the commit of the code that made it, else the digest of its script; empty where unknown.
        code_clean: whether the work tree was as committed; None where there is no commit.
        environment: digest of the distributions that were installed; empty where unknown.
        claimed: metrics that the trainer logged. Never evidence: gates measure themselves.
        types: what the file is made of, as `formats.inspect` found it.
        conversion: None where none was asked for.
        signature: the bundle (JSON) that signs the files and everything above, see `signing`; None while unsigned.
    """

    format: Format
    files: Annotated[tuple[File, ...], msgspec.Meta(min_length=1, max_length=MAX_FILES)]
    inputs: Annotated[tuple[Input, ...], msgspec.Meta(min_length=1, max_length=MAX_INPUTS)]
    output: Literal["probability"] = "probability"
    label: Text
    data: tuple[UsedVersion, ...] = ()
    code: str = ""
    code_clean: bool | None = None
    environment: str = ""
    claimed: dict[str, float] = {}
    types: tuple[str, ...] = ()
    conversion: Conversion | None = None
    signature: str | None = None


def check_inputs(inputs: tuple[Input, ...]) -> tuple[Input, ...]:
    """Inputs as they came in from outside: at least one, none twice. Raises: Invalid."""
    if not 0 < len(inputs) <= MAX_INPUTS:
        raise Invalid(f"inputs: {len(inputs)}; 1 to {MAX_INPUTS:,} are expected", next_step="name the columns it reads")
    seen: set[str] = set()
    for column in inputs:
        if column.name in seen:
            raise Invalid(f"inputs: {printable(column.name)} stands here twice", next_step="name each column once")
        seen.add(column.name)
    return inputs


def check_model(model: Model) -> Model:
    """A payload as it came in from outside: paths are names, inputs and files stand once. Raises: Invalid."""
    check_inputs(model.inputs)
    paths = [tree_path(file.path) for file in model.files]
    if len(set(paths)) != len(paths):
        raise Invalid("files: a path stands here twice", next_step="name each file once")
    for metric in model.claimed:
        name(metric, "claimed metric")
    return model
