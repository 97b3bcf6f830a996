"""One text of an event, the same in both databases, and its hash.

Every column of `payments` is in it. The text is made of the columns' own texts with a unit
separator (U+001F) between them, which none of them can hold: ids are printable ASCII by the
table's constraints, jsonb writes control characters escaped. A column that may be null
(`buyer_id`, `psp_reference`) is an empty text where it is; the views keep a null text so, and the
table's constraints refuse an empty one, so the two cannot be mistaken for each other. Times are
UTC to the microsecond.
"""

from types import NoneType
from typing import get_args, get_type_hints

from schemas.events import COLUMNS, Event

NULLABLE = frozenset(
    name for name, hint in get_type_hints(Event).items() if NoneType in get_args(hint)
)
TIMES = frozenset({"occurred_at", "recorded_at"})


def postgres_text(column: str) -> str:
    """PostgreSQL expression for a column's text; the session's time zone must be UTC."""
    if column in TIMES:
        return f"to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')"
    if column in NULLABLE:
        return f"coalesce({column}::text, '')"
    # jsonb's text is what Debezium delivers: the server writes it in both cases.
    return f"{column}::text"


def clickhouse_text(column: str) -> str:
    """ClickHouse expression for a column's text."""
    if column in TIMES:
        # The view may be kept coarser or finer; what is compared are microseconds.
        return f"toString(toDateTime64({column}, 6, 'UTC'))"
    if column in NULLABLE:
        return f"ifNull(toString({column}), '')"
    return f"toString({column})"


POSTGRES_HASH = (
    "('x' || left(md5(concat_ws(E'\\x1f', "
    + ", ".join(
        column if postgres_text(column).endswith("::text") else postgres_text(column)
        for column in COLUMNS
    )
    + ")), 16))::bit(64)::bigint"
)
"""Signed 64 bit: the first eight bytes of the text's MD5, big-endian."""

CLICKHOUSE_HASH = (
    "reinterpretAsInt64(reverse(substring(MD5(concatWithSeparator(char(31), "
    + ", ".join(clickhouse_text(column) for column in COLUMNS)
    + ")), 1, 8)))"
)

# Sums of 64 bit hashes: exact on both sides (numeric; Int128), so no order and no modulus matters.
POSTGRES_HASH_SUM = f"sum({POSTGRES_HASH})"
CLICKHOUSE_HASH_SUM = f"sum(toInt128({CLICKHOUSE_HASH}))"

POSTGRES_DAY = "(occurred_at AT TIME ZONE 'UTC')::date"
CLICKHOUSE_DAY = "toDate(toDateTime64(occurred_at, 6, 'UTC'), 'UTC')"
