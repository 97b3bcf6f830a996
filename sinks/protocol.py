"""What a sink promises to the worker that acknowledges records after it.

At the end of the way of the data. A sink never decides what a row holds, only that it is stored.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from schemas.views import Columns, RevenueKey, Table


class ViewSink(Protocol):
    """A store of view rows in which, of rows with one key, the highest version stays.

    Any number of threads may call it at once. Errors of every method:

    - `ServiceUnavailable`: down, overloaded or unreachable; nothing, some or all of it may have
      been written. Call again with the same rows until it returns; that changes nothing else.
    - `ConfigurationError` (`SchemaVersionError` among them) and `WriteRefused`: it will be
      refused again; stop without acknowledging.
    """

    def write(self, batch: Mapping[Table, Columns]) -> None:
        """Store rows; returns only after the store confirmed all of them.

        Rows of `payment_events` become visible after everything else that the batch makes of the
        same events (but for `seller_revenue`), and the progress after them: who sees an event sees
        its postings, and who sees a progress sees the events up to it.
        """

    def refresh_revenue(self, keys: Iterable[RevenueKey]) -> None:
        """Compute `seller_revenue` of these keys anew from all entries stored so far.

        To be called after the `write` of the entries; returns after the totals are stored. Two
        callers may refresh one key at once: the totals of all entries win.
        """

    def close(self) -> None:
        """Let go of connections; nothing may be called afterwards."""
