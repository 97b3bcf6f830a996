"""multipart/form-data requests: the query and its parameters as fields, external tables as files.

ClickHouse's "external data": a file field NAME with `NAME_structure` or `NAME_types`, and
`NAME_format`, becomes the temporary table NAME for this one query.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from schemas.sql_words import clickhouse_name
from stack.clickhouse_http.connection import Connection
from stack.clickhouse_http.errors import Code, refusal
from stack.clickhouse_http.formats import check_format
from stack.clickhouse_http.request import QueryRequest, read_request
from stack.clickhouse_http.statement import InsertData, parse

MAX_EXTERNAL_TABLES: Final = 64
MAX_FORM_FIELDS: Final = 1000
_CHUNK_BYTES: Final = 1 << 20
_TABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUFFIXES: Final = ("_structure", "_types", "_format")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalTable:
    """One file of a form; `columns` is the column list of CREATE TABLE."""

    name: str
    columns: str
    format_name: str
    upload: UploadFile

    async def close(self) -> None:
        """Drop the file."""
        await self.upload.close()

    def load(self, connection: Connection) -> None:
        """Make the temporary table and fill it."""
        create = f"CREATE TEMPORARY TABLE {clickhouse_name(self.name)} ({self.columns})"
        parse(create.encode())  # refuses several statements
        connection.run(create)
        self.upload.file.seek(0)
        connection.insert(
            InsertData(b"INSERT INTO " + clickhouse_name(self.name).encode(), b"", None, 0),
            self.format_name,
            {},
            iter(lambda: self.upload.file.read(_CHUNK_BYTES), b""),
        )


async def read_form(
    request: Request, max_field_bytes: int, *, may_hold_tables: bool
) -> tuple[QueryRequest, tuple[ExternalTable, ...]]:
    """Read the query of a form; its fields count as items of the query string.

    Raises `ClickHouseError` 36 for a broken form and for a file without structure, 164 for any
    file where none may be: before it is received.
    """
    try:
        form = await request.form(
            max_files=MAX_EXTERNAL_TABLES if may_hold_tables else 0,
            max_fields=MAX_FORM_FIELDS,
            max_part_size=max_field_bytes,
        )
    except HTTPException as error:
        if not may_hold_tables and "Too many files" in error.detail:
            raise refusal(Code.READONLY, "External data need a writing user.") from None
        raise refusal(Code.BAD_ARGUMENTS, f"Malformed form: {error.detail}") from None
    uploads = {name: value for name, value in form.multi_items() if isinstance(value, UploadFile)}
    options: dict[str, str] = {}
    items: list[tuple[str, str]] = []
    described = {name + suffix for name in uploads for suffix in _SUFFIXES}
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    for name, value in [*request.query_params.multi_items(), *fields]:
        if name in described:
            options[name] = value
        else:
            items.append((name, value))
    asked = read_request(items, request.headers, get=request.method != "POST")
    if asked.body.in_blocks:
        raise refusal(
            Code.NOT_IMPLEMENTED,
            "decompress=1 is not supported by this server for multipart/form-data: send the form"
            " as it is.",
        )
    tables = tuple(_table(name, upload, options) for name, upload in uploads.items())
    return asked, tables


def _table(name: str, upload: UploadFile, options: Mapping[str, str]) -> ExternalTable:
    if not _TABLE_NAME.fullmatch(name):
        raise refusal(Code.BAD_ARGUMENTS, f"External table name '{name}' is not an identifier.")
    columns = options.get(name + "_structure")
    if columns is None and (types := options.get(name + "_types")):
        columns = ", ".join(
            f"_{number} {one}" for number, one in enumerate(_split_types(types), start=1)
        )
    if not columns:
        raise refusal(
            Code.BAD_ARGUMENTS,
            f"Neither structure nor types of the external table '{name}' are given:"
            f" send {name}_structure or {name}_types.",
        )
    format_name = check_format(options.get(name + "_format", "TabSeparated"))
    return ExternalTable(name=name, columns=columns, format_name=format_name, upload=upload)


def _split_types(types: str) -> list[str]:
    """Split at the commas outside of brackets."""
    parts, depth = [""], 0
    for character in types:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


@contextmanager
def external_tables(connection: Connection, tables: tuple[ExternalTable, ...]) -> Iterator[None]:
    """Create the tables for the length of a `with`, and drop them afterwards, also in a session."""
    try:
        for table in tables:
            table.load(connection)
        yield
    finally:
        for table in tables:
            connection.run(f"DROP TEMPORARY TABLE IF EXISTS {clickhouse_name(table.name)}")
