"""Converts columns of rows to Arrow tables, the format that ClickHouse accepts fastest."""

from array import array
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any, get_args, get_type_hints
from uuid import UUID

import pyarrow

from schemas.columns import (
    ID_BYTES,
    ArrowColumn,
    Column,
    DayTexts,
    IdTexts,
    InstantTexts,
    Milliseconds,
)
from schemas.errors import WriteRefused
from schemas.views import Columns, Table

_ARROW_TYPES: Mapping[type, pyarrow.DataType] = {
    UUID: ID_BYTES,
    str: pyarrow.string(),
    int: pyarrow.int64(),
    bool: pyarrow.bool_(),
    bytes: pyarrow.binary(),
    date: pyarrow.date32(),
    datetime: pyarrow.timestamp("us", tz="UTC"),
}
"""Type of a row's field -> Arrow type; ClickHouse casts it to the column's own type."""


def arrow_table(table: Table, columns: Columns) -> pyarrow.Table:
    """Return the rows of one table, column by column, under the table's column names.

    Raises:
        WriteRefused: a value does not fit its column's type; names the column.
    """
    schema = arrow_schema(table)
    arrays = []
    for field, values in zip(schema, columns, strict=True):
        try:
            arrays.append(_array(values, field.type))
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise WriteRefused(
                f"{table.name}.{field.name}: cannot be sent as {field.type}: {error}"
            ) from error
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def arrow_file(rows: pyarrow.Table, compression: str | None) -> pyarrow.Buffer:
    """Return the rows in Arrow's file format; `compression` is "lz4", "zstd" or None."""
    file = pyarrow.BufferOutputStream()
    options = pyarrow.ipc.IpcWriteOptions(compression=compression)
    with pyarrow.ipc.new_file(file, rows.schema, options=options) as writer:
        writer.write_table(rows)
    return file.getvalue()


def arrow_columns(table: Table, pieces: Sequence[Columns]) -> Columns:
    """Return the rows of all pieces, as columns that `arrow_table` uses without conversion.

    Raises:
        WriteRefused: as `arrow_table`.
    """
    whole = pyarrow.concat_tables([arrow_table(table, piece) for piece in pieces])
    return [ArrowColumn(column) for column in whole.combine_chunks().columns]


@cache
def arrow_schema(table: Table) -> pyarrow.Schema:
    """Return names and Arrow types of a table's columns, from its row type."""
    hints = get_type_hints(table.row_type)
    return pyarrow.schema([(name, _ARROW_TYPES[_plain(hints[name])]) for name in table.columns])


def _plain(hint: Any) -> type:
    """Return `T` for `T` and for `T | None`; all Arrow types can hold nulls."""
    alternatives = [alternative for alternative in get_args(hint) if alternative is not type(None)]
    plain: type = alternatives[0] if alternatives else hint
    return plain


def _array(values: Column, arrow_type: pyarrow.DataType) -> pyarrow.Array:
    """Convert a column to Arrow; a column of texts is cast as a whole."""
    match values:
        case ArrowColumn(raw=ready):
            return ready
        case array():
            buffer = pyarrow.py_buffer(values)
            return pyarrow.Array.from_buffers(pyarrow.int64(), len(values), [None, buffer])
        case IdTexts(raw=texts):
            buffer = pyarrow.py_buffer(bytes.fromhex("".join(texts).replace("-", "")))
            return pyarrow.Array.from_buffers(arrow_type, len(texts), [None, buffer])
        case InstantTexts(raw=texts) | DayTexts(raw=texts):
            return pyarrow.array(texts, pyarrow.string()).cast(arrow_type)
        case Milliseconds(raw=integers):
            milliseconds = pyarrow.timestamp("ms", tz="UTC")
            return pyarrow.array(integers, pyarrow.int64()).cast(milliseconds).cast(arrow_type)
    if arrow_type == ID_BYTES:
        values = [value.bytes if value is not None else None for value in values]
    return pyarrow.array(values, arrow_type)
