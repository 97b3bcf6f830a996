"""The ClickHouse sink: sends Arrow over HTTP and returns after ClickHouse has confirmed.

Inserts are never asynchronous, and the server must not deduplicate them by insert tokens: rows are
idempotent by their keys, and a server that wrongly takes a block for a duplicate would lose it.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pyarrow
from clickhouse_connect.driver.external import ExternalData

from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    PIPELINE_PROGRESS,
    RECONCILIATION_LOG,
    Columns,
    RevenueKey,
    Table,
)
from sinks import revenue
from sinks.arrow import arrow_table
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings

WRITE_ORDER: tuple[tuple[Table, ...], ...] = (
    # 1. Everything derived from the events, in parallel. A crash here leaves rows of events that
    #    nobody sees yet; they are written again under the same keys.
    (DEAD_LETTERS, LEDGER_ENTRIES, BUYER_ORDERS, PAYOUTS, RECONCILIATION_LOG),
    # 2. The events: from now on they count as arrived. A crash here leaves a progress that is
    #    behind the stored rows.
    (PAYMENT_EVENTS,),
    # 3. The progress. After a crash here, before the acknowledgement, everything is written again.
    (PIPELINE_PROGRESS,),
)
"""Tables in the order of writing; those of one step are written in parallel."""

_WRITTEN = frozenset(table for step in WRITE_ORDER for table in step)

INSERT_SETTINGS = {
    "async_insert": 0,
    # A table that remembers blocks (a replicated one does, for an hour) would drop a block that
    # arrives again after its rows were deleted for a rebuild. These two supersede
    # `insert_deduplicate`.
    "deduplicate_insert": "disable",
    "deduplicate_insert_select": "disable",
    # History may touch any number of years at once; an error would stop the worker for ever.
    "max_partitions_per_insert_block": 0,
}
"""Settings of every insert."""


SMALL_ROWS = 4_000
"""Smaller inserts use one server thread: a second one would cost a quarter for coordination."""


class ClickHouseSink:
    """A `ViewSink` over one shared client; see the protocol for guarantees and errors."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect; raises as `connect` does."""
        self._settings = settings
        self._address = settings.address()
        self._client = connect(settings)
        self._threads = ThreadPoolExecutor(
            max_workers=settings.clickhouse_inserts_max, thread_name_prefix="clickhouse-insert"
        )

    def warm_up(self) -> None:
        """Insert nothing, once: the first insert loads libraries for half a second.

        Raises as `write` does.
        """
        nothing = arrow_table(PAYMENT_EVENTS, [() for _ in PAYMENT_EVENTS.columns])
        with translated(self._address):
            self._client.insert_arrow(PAYMENT_EVENTS.raw, nothing, settings=INSERT_SETTINGS)

    def write(self, batch: Mapping[Table, Columns]) -> None:
        """Insert rows, step by step; returns when ClickHouse has confirmed the last one."""
        assert all(table in _WRITTEN for table in batch), "a table without a place in WRITE_ORDER"
        for step in WRITE_ORDER:
            filled = [table for table in step if any(batch.get(table, ()))]
            if len(filled) == 1:
                self._insert(filled[0], batch[filled[0]])
                continue
            running = [self._threads.submit(self._insert, table, batch[table]) for table in filled]
            # Wait for all of them, so that nothing of this call still runs when it raises.
            errors = [error for future in running if (error := future.exception()) is not None]
            if errors:
                raise errors[0]

    def refresh_revenue(self, keys: Iterable[RevenueKey]) -> None:
        """Recompute the totals of these keys, a limited number at a time."""
        for chunk in _chunks(sorted(set(keys)), self._settings.clickhouse_revenue_keys_max):
            with translated(self._address):
                self._client.command(
                    revenue.REFRESH,
                    parameters={"account_types": list(revenue.ACCOUNT_TYPES)},
                    settings=INSERT_SETTINGS,
                    external_data=_external_keys(chunk),
                )

    def rebuild_revenue(self) -> None:
        """Compute all totals from all entries, for a part of the sellers at a time; repeatable."""
        with translated(self._address):
            count = self._client.query(f"SELECT count() FROM {LEDGER_ENTRIES.raw}")
        parts = 1 + int(count.result_rows[0][0]) // revenue.REBUILD_ENTRIES
        for part in range(parts):
            with translated(self._address):
                self._client.command(
                    revenue.REBUILD,
                    parameters={
                        "account_types": list(revenue.ACCOUNT_TYPES),
                        "parts": parts,
                        "part": part,
                    },
                    settings=INSERT_SETTINGS,
                )

    def close(self) -> None:
        """Wait for running inserts and close the connections."""
        self._threads.shutdown()
        self._client.close()

    def _insert(self, table: Table, columns: Columns) -> None:
        rows = arrow_table(table, columns)
        rows_max = self._settings.clickhouse_insert_rows_max
        small = {"max_threads": 1} if rows.num_rows < SMALL_ROWS else {}
        for start in range(0, rows.num_rows, rows_max):
            with translated(self._address):
                self._client.insert_arrow(
                    table.raw, rows.slice(start, rows_max), settings={**INSERT_SETTINGS, **small}
                )


def _external_keys(keys: list[RevenueKey]) -> ExternalData:
    """Return the keys as a temporary table of the query: ids never become SQL text."""
    table = pyarrow.table(
        {
            "seller_id": pyarrow.array([key.seller_id for key in keys], pyarrow.string()),
            "currency": pyarrow.array([key.currency for key in keys], pyarrow.string()),
            "day": pyarrow.array([key.day for key in keys], pyarrow.date32()),
        }
    )
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return ExternalData(
        file_name=revenue.KEYS_TABLE,
        fmt="ArrowStream",
        structure=revenue.KEYS_STRUCTURE,
        data=sink.getvalue().to_pybytes(),
    )


def _chunks(keys: list[RevenueKey], size: int) -> Iterator[list[Any]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, size)):
        yield chunk
