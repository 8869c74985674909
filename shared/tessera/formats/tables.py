"""Parquet tables: columns ↔ bytes, checked against `formats.schemas` in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tessera.errors import BadInput
from tessera.formats import schemas

# Run-length encoding lets a few bytes claim any number of rows; no shard or selection comes near this.
MAX_ROWS = 64_000_000

_KEY_COLUMNS = 2
_REPEATED = "image_id"
"""Columns that are read by their dictionary, because thousands of rows share a value."""


def write(schema: pa.Schema, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> bytes:
    """Encode ``columns`` as Parquet with ``schema`` (zstd); equal values give equal bytes.

    BadInput for missing or unexpected columns, different lengths, missing values and values that do not fit the type.
    """
    if set(columns) != set(schema.names):
        missing, extra = set(schema.names) - set(columns), set(columns) - set(schema.names)
        raise BadInput(f"table: missing columns {sorted(missing)}, unexpected columns {sorted(extra)}")
    lengths = {name: len(columns[name]) for name in schema.names}
    if len(set(lengths.values())) > 1:
        raise BadInput(f"table: columns have different lengths: {lengths}")
    arrays = [_array(field, columns[field.name]) for field in schema]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_arrays(arrays, schema=schema)
    pq.write_table(table, sink, compression="zstd", version="2.6")
    result: bytes = sink.getvalue().to_pybytes()
    return result


def read(schema: pa.Schema, data: bytes, name: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """Decode Parquet bytes, or some of their columns: numbers as arrays, strings as objects, lists as a list of lists.

    Equal image ids are one object in memory, so that a column of them costs 8 bytes per row. BadInput naming ``name``
    and the first difference if names, order or types differ from ``schema``, for missing values, for damaged bytes and
    for more than 64 million rows. A ledger may lack the columns of `schemas.ADDED`, and those of `schemas.PEOPLE`.
    """
    file = _open(data, name)
    if schema is schemas.LEDGER or schema is schemas.PEOPLE_LEDGER:
        return _ledger(schema, file, name, schema.names if columns is None else columns)
    found = file.schema_arrow
    _check_schema(schema, found, name)
    return _columns(file, name, columns)


def _ledger(schema: pa.Schema, file: pq.ParquetFile, name: str, columns: Sequence[str]) -> dict[str, Any]:
    """Read columns of a ledger of any age, answered by people or not."""
    present, filled = set(file.schema_arrow.names), dict[str, Any]()
    for later in (schemas.ADDED, schemas.PEOPLE):
        if not set(later) & present:
            # Written before these columns existed, or without people.
            filled |= later
    _check_schema(pa.schema([one for one in schemas.PEOPLE_LEDGER if one.name not in filled]), file.schema_arrow, name)
    kept = [one for one in schema.names if one in columns and one not in filled]
    made = _columns(file, name, kept)
    rows = file.metadata.num_rows
    for column in columns:
        if column in filled:
            kind = object if isinstance(filled[column], str) else schema.field(column).type.to_pandas_dtype()
            made[column] = np.full(rows, filled[column], kind)
    return {column: made[column] for column in columns}


def read_scores(data: bytes, name: str = "score table") -> dict[str, Any]:
    """Decode a table of `schemas.scores` or `schemas.embedding`, whose last columns are named by the recipe.

    BadInput unless it starts with image_id, region_id (and pixels, for scores) and all others are float32.
    """
    file = _open(data, name)
    found = file.schema_arrow
    if found.names[_KEY_COLUMNS : _KEY_COLUMNS + 1] == ["pixels"]:
        expected = schemas.scores(found.names[_KEY_COLUMNS + 1 :])
    else:
        key = schemas.scores(()).remove(_KEY_COLUMNS)
        expected = pa.schema([*key, *[(column, pa.float32()) for column in found.names[_KEY_COLUMNS:]]])
    _check_schema(expected, found, name)
    return _columns(file, name)


def concat(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Append tables with equal columns, in order; BadInput for none or for different columns."""
    if not tables:
        raise BadInput("table: nothing to append; give at least one table")
    names = list(tables[0])
    for position, table in enumerate(tables):
        if list(table) != names:
            raise BadInput(f"table {position}: columns {list(table)} differ from the first table's {names}")
    result: dict[str, Any] = {}
    for column in names:
        parts = [table[column] for table in tables]
        result[column] = (
            [row for part in parts for row in part] if isinstance(parts[0], list) else np.concatenate(parts)
        )
    return result


def _array(field: pa.Field, values: Sequence[Any] | np.ndarray) -> pa.Array:
    try:
        # Plain lists of numpy scalars and numpy arrays of another width both go through Arrow's checked conversion.
        array = pa.array(values, type=field.type) if len(values) else pa.array([], type=field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"table: column {field.name} does not hold {field.type} ({error})") from None
    if array.null_count:
        raise BadInput(f"table: column {field.name} has {array.null_count} missing values; give every value")
    return array


def _open(data: bytes, name: str) -> pq.ParquetFile:
    try:
        try:
            file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=[_REPEATED])
        except KeyError:  # a table without images
            file = pq.ParquetFile(pa.BufferReader(data))
        rows = int(file.metadata.num_rows)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{name}: not a readable Parquet table ({_first_line(error)}); write it again") from None
    if rows > MAX_ROWS:
        raise BadInput(f"{name}: {rows:,} rows; at most {MAX_ROWS:,} are read at once, use smaller shards")
    return file


def _columns(file: pq.ParquetFile, name: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
    try:
        table = file.read(columns=None if columns is None else list(columns), use_threads=False)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise BadInput(f"{name}: not a readable Parquet table ({_first_line(error)}); write it again") from None
    result: dict[str, Any] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if column.null_count:
            raise BadInput(f"{name}: column {field.name} has {column.null_count} missing values; write it again")
        if pa.types.is_list(field.type):
            result[field.name] = column.to_pylist()
        elif pa.types.is_dictionary(field.type):
            try:
                result[field.name] = _shared(column)
            except UnicodeDecodeError:
                raise BadInput(f"{name}: column {field.name} is not text in UTF-8; write it again") from None
        else:
            # Arrow's buffers are read-only; callers own the returned arrays.
            result[field.name] = np.array(column.to_numpy())
    return result


def _shared(column: pa.ChunkedArray) -> np.ndarray:
    """Return the objects of a dictionary column, equal values of a chunk as one object."""
    parts = []
    for chunk in column.chunks:
        values = np.array(chunk.dictionary.to_pylist(), object)
        parts.append(values[chunk.indices.to_numpy()] if len(values) else np.empty(0, object))
    return np.concatenate(parts) if parts else np.empty(0, object)


def _check_schema(expected: pa.Schema, found: pa.Schema, name: str) -> None:
    for position, field in enumerate(expected):
        if position >= len(found):
            raise BadInput(f"{name}: column {field.name} is missing; the table is of another kind or version")
        other = found.field(position)
        kind = other.type.value_type if pa.types.is_dictionary(other.type) else other.type
        if other.name != field.name or kind != field.type:
            raise BadInput(
                f"{name}: column {position} is {other.name} ({kind}), expected {field.name} ({field.type}); "
                "the table is of another kind or version"
            )
    if len(found) > len(expected):
        raise BadInput(f"{name}: unexpected column {found.names[len(expected)]}; the table is of another version")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
