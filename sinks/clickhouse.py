"""The ClickHouse sink: sends Arrow over HTTP and returns after ClickHouse has confirmed.

Inserts are never asynchronous, and the server must not deduplicate them by insert tokens: rows are
idempotent by their keys, and a server that wrongly takes a block for a duplicate would lose it.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock
from uuid import uuid4

import pyarrow

from schemas.clickhouse.totals import DAY, LATE_DAYS, NOTED_LEVELS, RECENT_DAYS, STARTS
from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    PIPELINE_PROGRESS,
    RECONCILIATION_LOG,
    TOTALS,
    Columns,
    Table,
)
from sinks.arrow import arrow_file, arrow_table
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


_NOTE = f"""
INSERT INTO {TOTALS} (kind, level, bucket, account_id, version)
SELECT DISTINCT place.1, place.2, place.3, {{writer:String}}, {{writes:UInt64}}
FROM
(
    SELECT arrayJoin({{minutes:Array(DateTime('UTC'))}}) AS minute,
        minute < now('UTC') - INTERVAL {LATE_DAYS} DAY AS is_late
)
ARRAY JOIN if(is_late, [('written_late', '{DAY}', {STARTS[DAY]("minute")})], [
    {", ".join(f"('written', '{level}', {STARTS[level]('minute')})" for level in NOTED_LEVELS)}
]) AS place
"""

MINUTES_PER_NOTE = 1_000
"""Most minutes of one request: they are parameters, which travel in its address."""

SMALL_ROWS = 4_000
"""Smaller inserts use one server thread: a second one would cost a quarter for coordination. They
are sent uncompressed: to set up the codec for each column takes a millisecond, however few its rows
are."""


class ClickHouseSink:
    """A `ViewSink` over one shared client; see the protocol for guarantees and errors."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect; raises as `connect` does."""
        self._settings = settings
        self._address = settings.address()
        self._client = connect(settings)
        self._writer = str(uuid4())
        self._writes = count(1)
        self._noting = Lock()
        self._threads = ThreadPoolExecutor(
            max_workers=settings.clickhouse_inserts_max, thread_name_prefix="clickhouse-insert"
        )

    def warm_up(self) -> None:
        """Insert nothing, once: the first insert loads libraries for half a second.

        Raises as `write` does.
        """
        nothing = arrow_table(PAYMENT_EVENTS, [() for _ in PAYMENT_EVENTS.columns])
        with translated(self._address):
            self._send(PAYMENT_EVENTS, nothing)

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

    def note_minutes(self, minutes: Iterable[datetime]) -> None:
        """Record that entries of these minutes were written, so that totals contain them."""
        bounded = {
            minute if minute >= self._late_before() else minute.replace(hour=0, minute=0)
            for minute in minutes
        }
        for several in _chunks(sorted(bounded), MINUTES_PER_NOTE):
            # One at a time: notes must become visible in the order of their counts.
            with self._noting, translated(self._address):
                self._client.command(
                    _NOTE,
                    parameters={
                        "minutes": several,
                        "writer": self._writer,
                        # Counted before the request and after the entries: whoever sees this
                        # number also sees the entries of every lower one.
                        "writes": next(self._writes),
                    },
                    settings=INSERT_SETTINGS,
                )

    @staticmethod
    def _late_before() -> datetime:
        """Return a time before which every minute is late, even if clocks differ by two days.

        ClickHouse notes late minutes by day. Naming the day keeps the request short.
        """
        return datetime.now(UTC) - timedelta(days=2 * RECENT_DAYS)

    def close(self) -> None:
        """Wait for running inserts and close the connections."""
        self._threads.shutdown()
        self._client.close()

    def _insert(self, table: Table, columns: Columns) -> None:
        rows = arrow_table(table, columns)
        rows_max = self._settings.clickhouse_insert_rows_max
        for start in range(0, rows.num_rows, rows_max):
            with translated(self._address):
                self._send(table, rows.slice(start, rows_max))

    def _send(self, table: Table, rows: pyarrow.Table) -> None:
        is_small = rows.num_rows < SMALL_ROWS
        compression = self._settings.clickhouse_compression
        self._client.raw_insert(
            table.raw,
            rows.schema.names,
            arrow_file(rows, None if is_small or compression == "none" else compression),
            settings=INSERT_SETTINGS | ({"max_threads": 1} if is_small else {}),
            fmt="Arrow",
        )


def _chunks(minutes: list[datetime], size: int) -> Iterator[list[datetime]]:
    return (minutes[start : start + size] for start in range(0, len(minutes), size))
