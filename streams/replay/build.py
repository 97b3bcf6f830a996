"""Records into the replay's tables: the same fold and the same sink as the live worker's.

What it must never do is anything but that: no topic is written, nobody is called.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import pyarrow
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from schemas.errors import ServiceUnavailable
from schemas.topics import VIEWS_CONSUMER
from schemas.views import (
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PIPELINE_PROGRESS,
    SELLER_REVENUE,
    Columns,
    DeadLetterRow,
    Table,
)
from sinks.arrow import arrow_table
from sinks.clickhouse import ClickHouseSink
from streams.decode import SourceRecord
from streams.fold import FOLDED_TABLES, FoldedBatch, fold_batch
from streams.records import Records, records_of

RETRY_FIRST_SECONDS = 0.1
RETRY_MOST_SECONDS = 5.0
FOLD_RECORDS = 5_000
"""Records that are folded at once: an insert is ten times as large, and the objects made of all its
records would fall out of the processor's caches: a fifth of the rate."""

Batch = Records | Sequence[SourceRecord]
"""Records as they are read: of the topic in columns, of a snapshot one by one."""


def patient(give_up_seconds: float) -> Retrying:
    """Try again while a server is away, with growing waits, and give up after so long."""
    return Retrying(
        retry=retry_if_exception_type(ServiceUnavailable),
        wait=wait_exponential_jitter(multiplier=RETRY_FIRST_SECONDS, max=RETRY_MOST_SECONDS),
        stop=stop_after_delay(give_up_seconds),
        reraise=True,
    )


def folded_records(records: Batch, tables: Collection[Table]) -> FoldedBatch:
    """Rows of these views; the progress is the live worker's, for which the new tables stand."""
    wanted = set(tables)
    if SELLER_REVENUE in wanted:
        wanted.add(LEDGER_ENTRIES)  # it says which totals are touched
    return fold_batch(
        records,
        consumer=VIEWS_CONSUMER,
        parked_at=datetime.now(UTC),
        tables=[table for table in FOLDED_TABLES if table in wanted],
    )


def columns_for(folded: FoldedBatch, tables: Sequence[Table]) -> dict[Table, Columns]:
    """The rows that belong to these tables."""
    return {table: folded.columns[table] for table in tables if table in folded.columns}


class Builder:
    """Writes batches, one in flight: the next is read and folded while the sink works."""

    def __init__(
        self,
        sink: ClickHouseSink,
        tables: Sequence[Table],
        *,
        from_topic: bool,
        give_up_seconds: float,
    ) -> None:
        self._sink = sink
        # Progress and dead letters name places in the topic: from elsewhere there are none.
        places = (DEAD_LETTERS, PIPELINE_PROGRESS) if from_topic else ()
        self._tables = (*tables, *places)
        self._retrying = patient(give_up_seconds)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="replay-write")
        self._in_flight: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def add(self, records: Batch) -> Sequence[DeadLetterRow]:
        """Fold, and write once the batch before is in; returns what could not be folded.

        Raises:
            PurserError: what writing the batch before raised.
        """
        dead_letters: list[DeadLetterRow] = []
        made: dict[Table, list[pyarrow.Table]] = {table: [] for table in self._tables}
        for piece in records_of(records).pieces(FOLD_RECORDS):
            folded = folded_records(piece, self._tables)
            dead_letters += folded.dead_letters
            for table, columns in columns_for(folded, self._tables).items():
                if any(columns):
                    made[table].append(arrow_table(table, columns))
        rows = {
            table: pyarrow.concat_tables(pieces).combine_chunks()
            for table, pieces in made.items()
            if pieces
        }
        self.finish()
        self._in_flight = self._thread.submit(self._write, rows)
        return dead_letters

    def finish(self) -> None:
        """Return when all that was added is stored.

        Raises:
            PurserError: see `ViewSink`.
        """
        pending, self._in_flight = self._in_flight, None
        if pending is not None:
            pending.result()

    def _write(self, rows: Mapping[Table, pyarrow.Table]) -> None:
        self._retrying.copy()(self._sink.write, rows)
