"""A digest of a table that no order, batching or merging changes: equal tables, equal digests.

Of each row the first eight bytes of the MD5 of its columns' texts; of the table the number of rows
and the sum of those modulo 2^64. A sum, not an exclusive or: a row that is there twice must show.
Rows are read with FINAL: what counts is the row that stays.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from hashlib import md5
from typing import Any, get_type_hints

from operations.verify.views import Views
from schemas.views import Table

MODULUS = 2**64
SEPARATOR = "\x1f"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


# -- the hash, as ClickHouse and as Python compute it


def hash_sql(texts: Iterable[str]) -> str:
    """ClickHouse expression: the hash, UInt64, of texts that are expressions."""
    joined = f"concatWithSeparator(char(31), {', '.join(texts)}, '')"
    return f"reinterpretAsUInt64(reverse(substring(MD5({joined}), 1, 8)))"


def hash_of(texts: Sequence[str]) -> int:
    """The same of texts."""
    joined = SEPARATOR.join([*texts, ""]).encode()
    return int.from_bytes(md5(joined, usedforsecurity=False).digest()[:8])


def row_hash_sql(table: Table) -> str:
    """ClickHouse expression: the hash of a whole row."""
    return hash_sql(text_sql(table, name) for name in table.columns)


def text_sql(table: Table, column: str) -> str:
    """ClickHouse expression: the text of a column."""
    if _kinds(table)[column] is datetime:
        return f"toString(toUnixTimestamp64Micro(toDateTime64({column}, 6, 'UTC')))"
    return f"toString({column})"


def texts_of(table: Table, row: Sequence[Any]) -> list[str]:
    """The texts of a row as the fold makes it."""
    return [text(value) for text, value in zip(_texts(table), row, strict=True)]


def _kinds(table: Table) -> Mapping[str, Any]:
    hints = get_type_hints(table.row_type)
    return {name: hints[name] for name in table.columns}


@cache
def _texts(table: Table) -> tuple[Callable[[Any], str], ...]:
    texts: dict[Any, Callable[[Any], str]] = {datetime: _microseconds, date: date.isoformat}
    return tuple(texts.get(kind, str) for kind in _kinds(table).values())


def _microseconds(moment: datetime) -> str:
    since = moment - _EPOCH
    return str((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
