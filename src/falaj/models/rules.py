"""Pure rules of models: which columns one reads, and what is known of how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from falaj.core.errors import Invalid
from falaj.core.names import printable
from falaj.models.records import Conversion, Format, Input, InputType, check_inputs

_TYPES: Final[Mapping[str, InputType]] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}


def columns_of(
    given: Sequence[Input | str],
    *,
    width: int | None,
    names: Sequence[str],
    form: Format,
    known: Mapping[str, str],
) -> tuple[Input, ...]:
    """The columns that a model reads, in its order.

    Args:
        given: by the caller, with or without their types; empty to take what the model says.
        width, names: what the model says of itself, see `scoring.About`.
        known: name → logical type of the columns of the data it was made from.
    Raises: Invalid where names or types are not known, or model and caller contradict each other.
    """
    wanted = list(given) or list(names)
    if not wanted:
        count = f"{width} columns" if width else "columns"
        raise Invalid(
            f"columns: the model reads {count} and does not say which",
            next_step="name them in its order: columns=['carrier', 'hour', …]",
        )
    told = [one if isinstance(one, str) else one.name for one in wanted]
    if width is not None and len(told) != width:
        raise Invalid(
            f"columns: {len(told)} are named, the model reads {width}", next_step="name all of them, in its order"
        )
    said = list(names)
    if said and (sorted(told) != sorted(said) if form == "onnx" else told != said):
        raise Invalid(
            f"columns: {_some(told)} are named, the model says {_some(said)}",
            next_step="leave columns out, or name them as the model does",
        )
    return check_inputs(tuple(one if isinstance(one, Input) else _typed(one, known) for one in wanted))


def code_of(run_code: Mapping[str, Any]) -> tuple[str, bool | None]:
    """What made a model, by the code state of its run (see `capture`): commit or script's digest; clean or not."""
    commit, script = str(run_code.get("commit") or ""), str(run_code.get("script_digest") or "")
    if commit:
        return commit, not run_code.get("dirty", True)
    return (f"sha256:{script}" if script else ""), None


def environment_of(run_environment: Mapping[str, Any]) -> str:
    """The digest of the distributions of a run's environment; empty where it is not known."""
    digest = str(run_environment.get("distributions_digest") or "")
    return f"sha256:{digest}" if digest else ""


def told_conversion(conversion: Conversion | None) -> str:
    """What came of a conversion, in words; "" where none was asked for."""
    if conversion is None:
        return ""
    if conversion.refused:
        return f"not converted: {conversion.refused}"
    rows = f"{conversion.rows:,} rows of {conversion.data} and {conversion.edges:,} made beside"
    return f"from {conversion.source}: {rows} agree within {conversion.largest:.1e}"


def _typed(column: str, known: Mapping[str, str]) -> Input:
    logical = known.get(column)
    if logical is None:
        raise Invalid(
            f"column {printable(column)}: its type is not known; no data with a contract that has it was named",
            next_step="name the data (inputs), or give the type: {name: …, type: number}",
        )
    if logical not in _TYPES:
        raise Invalid(
            f"column {printable(column)}: a {logical}; models read {', '.join(sorted(set(_TYPES)))}",
            next_step="derive a number from it in the data",
        )
    return Input(name=column, type=_TYPES[logical])


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:5])
    return f"{shown}, … ({len(names)})" if len(names) > 5 else shown
