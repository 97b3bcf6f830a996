"""A table digest that does not depend on order, batching or merging: equal tables, equal digests.

A row's hash is the first eight bytes of the MD5 of its columns' texts. A table's digest is the
number of rows and the sum of the hashes modulo 2^64. It is a sum and not an exclusive or, so that a
duplicate row shows. The modulus is on purpose: an amount that differs changes its row's hash, and
the sum keeps as many bits as a hash has. The views are read, so only the row that survives
deduplication counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args, get_type_hints

from operations.verify.views import Views
from schemas.views import Table

MODULUS = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Number of rows of a table and the sum of their hashes."""

    rows: int
    sum: int

    def __str__(self) -> str:
        return f"{self.sum:016x}"

    def to_json(self) -> dict[str, Any]:
        """`{"rows", "digest"}`."""
        return {"rows": self.rows, "digest": str(self)}


def digests(views: Views, tables: Iterable[Table], database: str) -> dict[str, Digest]:
    """Return digests of tables in a database.

    Raises:
        PurserError: see `sinks.client.translated`.
    """
    found: dict[str, Digest] = {}
    for table in tables:
        rows, total = views.rows(
            f"SELECT count(), sum({row_hash_sql(table)}) FROM {database}.{table.name}"
        )[0]
        found[table.name] = Digest(rows=int(rows), sum=int(total) % MODULUS)
    return found


# -- the hash, as ClickHouse computes it


def row_hash_sql(table: Table) -> str:
    """ClickHouse expression: the hash, UInt64, of a whole row; no column may hold nulls."""
    hints = get_type_hints(table.row_type)
    for name in table.columns:
        # A null would make the hash of the whole row null, and a sum leaves nulls out.
        assert type(None) not in get_args(hints[name]), f"{table.name}.{name} may be null"
    texts = ", ".join(_text_sql(hints[name], name) for name in table.columns)
    joined = f"concatWithSeparator(char(31), {texts}, '')"
    return f"reinterpretAsUInt64(reverse(substring(MD5({joined}), 1, 8)))"


def _text_sql(kind: type, column: str) -> str:
    """ClickHouse expression: the text of a column."""
    if kind is datetime:
        return f"toString(toUnixTimestamp64Micro(toDateTime64({column}, 6, 'UTC')))"
    return f"toString({column})"
