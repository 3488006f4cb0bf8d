"""Tables in files: a locked DuckDB connection, CSV and Parquet as a contract reads them, Parquet written to be shared.

Nothing is guessed. A CSV file is comma-separated UTF-8 with a header; its cells come in as text and get the type that
the contract declares, so a cell that does not fit is counted and shown instead of changing the column's type. The
connection can read the named files and nothing else, and its settings cannot be changed any more, so that a query
from a contract is harmless.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from falaj.core.errors import Invalid, MissingPart
from falaj.core.names import printable
from falaj.data.records import Contract, LogicalType

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Format = Literal["csv", "parquet"]

MAX_HEADER: Final = 1024 * 1024
MAX_FILES: Final = 10_000
SOURCE: Final = "__falaj_source"
_SIZE = re.compile(r"[1-9][0-9]{0,5} ?(?:MB|MiB|GB|GiB)")
_SQL_TYPES: Final[dict[LogicalType, str]] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "time": "TIME",
}
_STORED: Final[dict[LogicalType, str]] = {
    "string": r"VARCHAR|ENUM.*|UUID",
    "integer": r"U?(?:TINY|SMALL|BIG)?INT(?:EGER)?|DECIMAL\(\d+,0\)",
    "number": r"U?(?:TINY|SMALL|BIG|HUGE)?INT(?:EGER)?|DECIMAL.*|FLOAT|DOUBLE",
    "boolean": r"BOOLEAN",
    "date": r"DATE",
    "timestamp": r"TIMESTAMP.*",
    "time": r"TIME(?:_NS)?",
}


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """Files opened as one table, not yet read.

    `source` is a view with the columns c0, c1, … in the contract's order, typed, and beside them t0, t1, … where a
    value may have failed its type: then t is the value as it came and c is null. `relation` is the same under the
    contract's own names.

    Attributes:
        present: indexes of the declared columns that the files have.
        checked: indexes of those whose values can fail their type.
        stored: index -> type found in Parquet that is not the declared one.
        missing, unexpected: columns declared and not found; found and not declared, each with its file.
        hint: what may be wrong with the columns as a whole, or "".
    """

    relation: str
    format: Format
    present: tuple[int, ...]
    checked: tuple[int, ...]
    stored: dict[int, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    hint: str = ""


class Unreadable(Invalid):
    """A file is not what its format says: empty, not UTF-8, not Parquet."""

    code = "unreadable"


def connect(
    paths: Sequence[Path], *, scratch: Path, threads: int = 2, memory_limit: str = "2GB"
) -> duckdb.DuckDBPyConnection:
    """A connection in memory that can read these files and nothing else.

    Args:
        scratch: an existing folder of this connection's own, where it may spill.
        memory_limit: such as `512MB`, `2GB`.
    Raises: MissingPart without DuckDB; Invalid for files that are not there or a limit that is not a size.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingPart("DuckDB is not installed", next_step="pip install 'falaj[local]'") from error
    if not _SIZE.fullmatch(memory_limit):
        raise Invalid(f"memory limit {printable(memory_limit)}: not a size", next_step="for example 2GB")
    if not 1 <= len(paths) <= MAX_FILES:
        raise Invalid(f"{len(paths)} files; 1 to {MAX_FILES:,} are read as one table", next_step="add them in parts")
    allowed = ", ".join(text(str(_file(path))) for path in paths)
    con = duckdb.connect(config={"threads": max(1, threads), "memory_limit": memory_limit})
    for setting in (
        f"temp_directory = {text(str(scratch.resolve(strict=True)))}",
        "TimeZone = 'UTC'",
        # Parquet statistics leave NaN out, and DuckDB 2.0 concludes from them that there is none.
        "disabled_optimizers = 'statistics_propagation'",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "python_enable_replacements = false",
        f"allowed_paths = [{allowed}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        con.execute("SET " + setting)
    return con


def open_table(
    con: duckdb.DuckDBPyConnection,
    paths: Sequence[Path],
    fmt: Format,
    contract: Contract,
    *,
    skip_broken: bool = False,
) -> Opened:
    """Open files as one table in the shape of a contract.

    Args:
        con: from `connect`, with the same files.
        skip_broken: leave out CSV lines that cannot be read; DuckDB notes them in `reject_errors`.
    Raises: Unreadable for a file that is empty, not UTF-8 in its header, or not Parquet; Invalid for one not there.
    """
    files = [_file(path) for path in paths]
    selects, shapes = [], []
    for names, group in _grouped(con, files, fmt).items():
        shape = _shape(names, contract, group[0].name)
        select = _select(names, shape, contract, fmt)
        selects.append(f"SELECT {select} FROM {_scan(group, len(names), fmt, contract, skip_broken=skip_broken)}")
        shapes.append((names, shape))
    opened = _opened(contract, fmt, shapes)
    con.execute(f"CREATE OR REPLACE TEMP VIEW {SOURCE} AS " + " UNION ALL BY NAME ".join(selects))
    named = ", ".join(f"c{i} AS {name(contract.columns[i].name)}" for i in opened.present) or "NULL AS nothing"
    con.execute(f"CREATE OR REPLACE TEMP VIEW {name(contract.table)} AS SELECT {named} FROM {SOURCE}")
    return opened


def empty_table(con: duckdb.DuckDBPyConnection, contract: Contract) -> Opened:
    """The contract's table with no rows, on which its queries can be tried before there is data."""
    columns = ", ".join(f"NULL::{_SQL_TYPES[c.type]} AS c{i}" for i, c in enumerate(contract.columns))
    con.execute(f"CREATE OR REPLACE TEMP VIEW {SOURCE} AS SELECT {columns} LIMIT 0")
    named = ", ".join(f"c{i} AS {name(c.name)}" for i, c in enumerate(contract.columns))
    con.execute(f"CREATE OR REPLACE TEMP VIEW {name(contract.table)} AS SELECT {named} FROM {SOURCE}")
    return Opened(
        relation=contract.table,
        format="parquet",
        present=tuple(range(len(contract.columns))),
        checked=(),
        stored={},
        missing=(),
        unexpected=(),
    )


def write_parquet(table: pa.Table, path: Path, *, compression: str = "zstd") -> int:
    """Write one Parquet file whose bytes change little where the rows change little.

    Pages are cut by content, there is one row group, and no dictionary: an inserted row moves no later page and
    changes no shared table, so that chunks of an earlier version are found again. The file appears whole or not at all.

    Returns: its size in bytes.
    Raises: MissingPart without PyArrow; OSError where the folder cannot be written.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingPart("PyArrow is not installed", next_step="pip install 'falaj[local]'") from error
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(
            table,
            draft,
            compression=compression,
            use_dictionary=False,
            row_group_size=max(1, min(table.num_rows, 1 << 24)),
            use_content_defined_chunking={"min_chunk_size": 64 * 1024, "max_chunk_size": 256 * 1024, "norm_level": 0},
        )
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    return path.stat().st_size


def name(identifier: str) -> str:
    """A name quoted for SQL, whatever it holds."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """Text quoted for SQL, whatever it holds. Raises: Invalid for the zero character, which SQL cannot hold."""
    if "\0" in value:
        raise Invalid("text with a zero character cannot be compared", next_step="leave the character out")
    return "'" + value.replace("'", "''") + "'"


def sql_type(kind: LogicalType) -> str:
    """The DuckDB type of a logical type."""
    return _SQL_TYPES[kind]


Names = tuple[tuple[str, str], ...]  # (name, stored type) of each column of a file, in its order
Shape = dict[int, int]  # index in the contract -> place in the file


def _file(path: Path) -> Path:
    """The file itself. A name with glob characters is refused: DuckDB would read other files in its place."""
    try:
        found = path.resolve(strict=True)
        if not found.is_file():
            raise Invalid(f"{printable(path.name)}: not a file", next_step="name the files themselves")
        with found.open("rb"):
            pass
    except OSError as error:
        raise Invalid(f"{printable(path.name)}: {error.strerror}", next_step="check the name and its rights") from error
    if any(c in str(found) for c in "*?[\0"):
        raise Invalid(f"{printable(found.name)}: * ? [ cannot stand in a path", next_step="rename the file or folder")
    return found


def _grouped(con: duckdb.DuckDBPyConnection, files: Sequence[Path], fmt: Format) -> dict[Names, list[Path]]:
    """Files by their columns, so that each group is read by one scan."""
    groups: dict[Names, list[Path]] = {}
    for file in files:
        names = _csv_names(file) if fmt == "csv" else _parquet_names(con, file)
        groups.setdefault(names, []).append(file)
    return groups


def _csv_names(file: Path) -> Names:
    with file.open("rb") as lines:
        line = lines.readline(MAX_HEADER + 1)
    shown = printable(file.name)
    if not line.strip():
        raise Unreadable(f"{shown}: the file is empty", next_step="a CSV file starts with its column names")
    if len(line) > MAX_HEADER:
        raise Unreadable(f"{shown}: the first line is over {MAX_HEADER:,} bytes", next_step="is this a CSV file?")
    try:
        header = line.decode("utf-8-sig")
        names = next(csv.reader([header.rstrip("\r\n")], strict=True))
    except UnicodeDecodeError as error:
        raise Unreadable(f"{shown} line 1: byte {error.start} is not UTF-8", next_step="save it as UTF-8") from error
    except csv.Error as error:
        raise Unreadable(f"{shown} line 1: {error}", next_step="check the quotes of the column names") from error
    return tuple((column, "VARCHAR") for column in names)


def _parquet_names(con: duckdb.DuckDBPyConnection, file: Path) -> Names:
    import duckdb

    try:
        rows = con.execute(f"DESCRIBE SELECT * FROM read_parquet([{text(str(file))}], {_PARQUET})").fetchall()
    except duckdb.Error as error:
        raise Unreadable(f"{printable(file.name)}: not a Parquet file", next_step="write the file again") from error
    return tuple((row[0], row[1]) for row in rows)


_PARQUET: Final = "hive_partitioning = false, filename = false"


def _shape(names: Names, contract: Contract, file: str) -> Shape:
    """Where each declared column stands. A name that stands twice is Unreadable: which one is meant?"""
    places: dict[str, int] = {}
    for place, (column, _) in enumerate(names):
        if column in places:
            raise Unreadable(f"{printable(file)}: column {printable(column)} twice", next_step="rename one of them")
        places[column] = place
    return {i: places[c.name] for i, c in enumerate(contract.columns) if c.name in places}


def _scan(group: Sequence[Path], width: int, fmt: Format, contract: Contract, *, skip_broken: bool) -> str:
    paths = "[" + ", ".join(text(str(file)) for file in group) + "]"
    if fmt == "parquet":
        return f"read_parquet({paths}, {_PARQUET})"
    columns = ", ".join(f"h{i}: 'VARCHAR'" for i in range(width))
    nulls = ", ".join(text(marker) for marker in dict.fromkeys(("", *contract.null_markers)))
    broken = ", store_rejects = true, rejects_limit = 100000" if skip_broken else ""
    return (
        f"read_csv({paths}, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
        f"columns = {{{columns}}}, nullstr = [{nulls}], strict_mode = true, null_padding = false, "
        f"encoding = 'utf-8', hive_partitioning = false{broken})"
    )


def _select(names: Names, shape: Shape, contract: Contract, fmt: Format) -> str:
    """The columns c0, c1, … of the source, with t beside those whose values may fail their type."""
    parts = []
    for i, place in shape.items():
        kind, stored = contract.columns[i].type, names[place][1]
        raw = f"h{place}" if fmt == "csv" else name(names[place][0])
        if fmt == "csv" and kind != "string":
            parts += [f"{_from_text(raw, kind)} AS c{i}", f"{raw} AS t{i}"]
        elif fmt == "csv":
            parts.append(f"{raw} AS c{i}")
        else:
            parts += _from_parquet(i, raw, kind, stored)
    return ", ".join(parts) or "1 AS nothing"


def _from_text(raw: str, kind: LogicalType) -> str:
    """A cell as its type, or null. DuckDB's own cast would round 12.7 to 13 and read 0x1F and 1_000."""
    cast = f"TRY_CAST({raw} AS {_SQL_TYPES[kind]})"
    if kind == "integer":
        plain = f"regexp_full_match({raw}, '\\s*[+-]?[0-9]+(\\.0*)?\\s*')"
        return f"CASE WHEN CAST({cast} AS VARCHAR) = {raw} THEN {cast} WHEN {plain} THEN {cast} END"
    if kind == "number":
        return f"CASE WHEN isfinite({cast}) AND NOT contains({raw}, '_') THEN {cast} END"
    if kind == "timestamp":
        return in_utc(raw)
    return cast


def in_utc(raw: str) -> str:
    """Text as a timestamp in UTC, or null. A plain cast to TIMESTAMP would drop the offset instead of applying it."""
    return f"CAST(TRY_CAST({raw} AS TIMESTAMPTZ) AS TIMESTAMP)"


def _from_parquet(i: int, raw: str, kind: LogicalType, stored: str) -> list[str]:
    """A stored value as its type. NaN is null: that is how data frames write a missing number."""
    sql = _SQL_TYPES[kind]
    if stored in ("FLOAT", "DOUBLE") and kind in ("integer", "number"):
        value = f"CASE WHEN NOT isnan({raw}) THEN {raw} END"
        if kind == "number":
            return [f"CAST({value} AS DOUBLE) AS c{i}"]
        return [f"CASE WHEN {raw} = trunc({raw}) THEN TRY_CAST({raw} AS BIGINT) END AS c{i}", f"{value} AS t{i}"]
    return [f"{raw if stored == sql else f'TRY_CAST({raw} AS {sql})'} AS c{i}"]


def _opened(contract: Contract, fmt: Format, shapes: list[tuple[Names, Shape]]) -> Opened:
    everywhere = set.intersection(*(set(shape) for _, shape in shapes))
    declared = {c.name for c in contract.columns}
    found = {column for names, _ in shapes for column, _ in names}
    stored: dict[int, str] = {}
    checked: set[int] = set()
    for names, shape in shapes:
        for i, place in shape.items():
            kind, held = contract.columns[i].type, names[place][1]
            if fmt == "csv":
                checked |= {i} if kind != "string" else set()
            elif held in ("FLOAT", "DOUBLE") and kind == "integer":
                checked.add(i)
            elif not re.fullmatch(_STORED[kind], held):
                stored[i] = held
    return Opened(
        relation=contract.table,
        format=fmt,
        present=tuple(sorted(everywhere)),
        checked=tuple(sorted(checked & everywhere)),
        stored=stored,
        missing=tuple(c.name for i, c in enumerate(contract.columns) if i not in everywhere),
        unexpected=tuple(sorted(found - declared)),
        hint=_hint(shapes[0][0]),
    )


def _hint(names: Names) -> str:
    if len(names) == 1:
        for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if mark in names[0][0]:
                return f"the file is separated by {word}, not commas"
    return ""
