"""A digest of a table that no order, batching or merging changes: equal tables, equal digests.

Of each row the first eight bytes of the MD5 of its columns' texts; of the table the number of rows
and the sum of those modulo 2^64. A sum, not an exclusive or: a row that is there twice must show.
Rows are read with FINAL: what counts is the row that stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_type_hints

from operations.verify.views import Views
from schemas.views import Table

MODULUS = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Rows of a table and the sum of their hashes."""

    rows: int
    sum: int

    def __str__(self) -> str:
        return f"{self.sum:016x}"

    def to_json(self) -> dict[str, Any]:
        """`{"rows", "digest"}`."""
        return {"rows": self.rows, "digest": str(self)}


def digests(views: Views, tables: Iterable[Table], database: str) -> dict[str, Digest]:
    """Digests of tables in a database.

    Raises:
        PurserError: see `sinks.client.translated`.
    """
    found: dict[str, Digest] = {}
    for table in tables:
        rows, total = views.rows(
            f"SELECT count(), sum({row_hash_sql(table)}) FROM {database}.{table.raw} FINAL"
        )[0]
        found[table.name] = Digest(rows=int(rows), sum=int(total) % MODULUS)
    return found


# -- the hash, as ClickHouse computes it


def row_hash_sql(table: Table) -> str:
    """ClickHouse expression: the hash, UInt64, of a whole row."""
    texts = ", ".join(_text_sql(table, name) for name in table.columns)
    joined = f"concatWithSeparator(char(31), {texts}, '')"
    return f"reinterpretAsUInt64(reverse(substring(MD5({joined}), 1, 8)))"


def _text_sql(table: Table, column: str) -> str:
    """ClickHouse expression: the text of a column."""
    if get_type_hints(table.row_type)[column] is datetime:
        return f"toString(toUnixTimestamp64Micro(toDateTime64({column}, 6, 'UTC')))"
    return f"toString({column})"
