"""The sink's guarantees to the worker, which acknowledges records after writing.

A sink is the end of the live path. It never decides what a row contains, only how it is stored.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from schemas.views import Columns, Table


class ViewSink(Protocol):
    """A store of view rows that keeps, of several rows with one key, the highest version.

    Any number of threads may call it at once. Errors of every method:

    - `ServiceUnavailable`: down, overloaded or unreachable. Nothing, some or all of it may have
      been written. Call again with the same rows until it returns; that changes nothing else.
    - `ConfigurationError` (including `SchemaVersionError`) and `WriteRefused`: it will be refused
      again; stop without acknowledging.
    """

    def write(self, batch: Mapping[Table, Columns]) -> None:
        """Store rows; returns only after the store has confirmed all of them.

        Rows of `payment_events` become visible after all other rows of the same events, and the
        progress after them. A reader who sees an event also sees its postings, and one who sees a
        progress also sees the events up to it.
        """

    def note_minutes(self, minutes: Iterable[datetime]) -> None:
        """Record that entries recorded in these UTC minutes were written.

        Call it after the `write` of the entries: when it returns, totals contain them. Before that
        they contain most of them; see `schemas.clickhouse.totals`.
        """

    def close(self) -> None:
        """Close the connections; no method may be called afterwards."""
