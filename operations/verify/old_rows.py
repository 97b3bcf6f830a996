"""What old rows of `payment_events` mean today, in ClickHouse's words.

`payment_events` holds rows as PostgreSQL does, each as its `schema_version` wrote it; the other
views follow from what a row means today, which `schemas.upcast` says in Python. Here the same is
said once more in SQL, so that a view made with a wrong upcaster does not pass for right.
"""

from collections.abc import Mapping
from types import MappingProxyType

MEANING: Mapping[str, str] = MappingProxyType({})
"""Column -> expression of its value today, over the columns as they are stored.

Only columns that an upcaster changes and another view depends on. A stored column is `stored.x`:
`{"method": "if(stored.schema_version < 2 AND stored.method = 'card', 'credit', stored.method)"}`.
"""


def events_table() -> str:
    """What stands for the events behind FROM; each event once, with today's meaning."""
    if not MEANING:
        return "payment_events_raw FINAL"
    replaced = ", ".join(f"{expression} AS {column}" for column, expression in MEANING.items())
    return f"(SELECT stored.* REPLACE ({replaced}) FROM payment_events_raw AS stored FINAL)"
