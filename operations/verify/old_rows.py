"""Today's meaning of old rows of `payment_events`, as ClickHouse SQL.

`payment_events` stores rows as PostgreSQL does, each in its own `schema_version`. The other views
follow from a row's meaning today, which `schemas.upcast` defines in Python. This module defines it
a second time, in SQL, so that a wrong upcaster is detected.
"""

from collections.abc import Mapping
from types import MappingProxyType

MEANING: Mapping[str, str] = MappingProxyType({})
"""Column -> expression of its value today, over the stored columns.

It lists only columns that an upcaster changes and that another view depends on. A stored column is
`stored.x`: `{"method": "if(stored.schema_version < 2 AND stored.method = 'card', 'credit',
stored.method)"}`.
"""


def events_table() -> str:
    """Return the FROM expression for the events: each event once, with today's meaning."""
    if not MEANING:
        return "payment_events_raw FINAL"
    replaced = ", ".join(f"{expression} AS {column}" for column, expression in MEANING.items())
    return f"(SELECT stored.* REPLACE ({replaced}) FROM payment_events_raw AS stored FINAL)"
