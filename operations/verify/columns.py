"""One text per event, the same in both databases, and its hash.

The text covers every column of `payments`. It joins the columns' texts with a unit separator
(U+001F), which no column can contain: the table's constraints limit ids to printable ASCII, and
jsonb escapes control characters. In a nullable column (`buyer_id`, `psp_reference`), null becomes
an empty text. The views store null as an empty text, and the table's constraints reject empty
texts, so the two cannot be confused. Times are UTC, to the microsecond.
"""

from types import NoneType
from typing import get_args, get_type_hints

from operations.verify.wide import wide
from schemas.events import COLUMNS, Event

NULLABLE = frozenset(
    name for name, hint in get_type_hints(Event).items() if NoneType in get_args(hint)
)
TIMES = frozenset({"occurred_at", "recorded_at"})


def postgres_text(column: str) -> str:
    """Return a PostgreSQL expression for a column's text; the session's time zone must be UTC."""
    if column in TIMES:
        return f"to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')"
    if column in NULLABLE:
        return f"coalesce({column}::text, '')"
    # Debezium delivers the same text of a jsonb value: the server writes it in both cases.
    return f"{column}::text"


def clickhouse_text(column: str) -> str:
    """Return a ClickHouse expression for a column's text."""
    if column in TIMES:
        # The view may store another precision; the comparison uses microseconds.
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
"""The first eight bytes of the text's MD5, big-endian, as a signed 64-bit number."""

CLICKHOUSE_HASH = (
    "reinterpretAsInt64(reverse(substring(MD5(concatWithSeparator(char(31), "
    + ", ".join(clickhouse_text(column) for column in COLUMNS)
    + ")), 1, 8)))"
)

# Sums of 64-bit hashes are exact on both sides (numeric; Int256), so neither order nor a modulus
# matters.
POSTGRES_HASH_SUM = f"sum({POSTGRES_HASH})"
CLICKHOUSE_HASH_SUM = f"sum({wide(CLICKHOUSE_HASH)})"

POSTGRES_DAY = "(occurred_at AT TIME ZONE 'UTC')::date"
CLICKHOUSE_DAY = "toDate(toDateTime64(occurred_at, 6, 'UTC'), 'UTC')"
