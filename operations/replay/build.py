"""Records into the replay's tables: the same fold and the same sink as the live worker's.

What it must never do is anything but that: no topic is written, nobody is called.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from schemas.errors import ServiceUnavailable
from schemas.topics import VIEWS_CONSUMER
from schemas.views import (
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PIPELINE_PROGRESS,
    SELLER_REVENUE,
    Columns,
    Table,
)
from sinks.protocol import ViewSink
from streams.arrow_fold import fold_to_arrow
from streams.decode import SourceRecord
from streams.fold import FOLDED_TABLES, FoldedBatch
from streams.records import Records

RETRY_FIRST_SECONDS = 0.1
RETRY_MOST_SECONDS = 5.0

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
    return fold_to_arrow(
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
        self, sink: ViewSink, tables: Sequence[Table], *, from_topic: bool, give_up_seconds: float
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

    def add(self, records: Batch) -> FoldedBatch:
        """Fold, and write once the batch before is in; raises what writing that one raised."""
        folded = folded_records(records, self._tables)
        self.finish()
        self._in_flight = self._thread.submit(self._write, columns_for(folded, self._tables))
        return folded

    def finish(self) -> None:
        """Return when all that was added is stored.

        Raises:
            PurserError: see `ViewSink`.
        """
        pending, self._in_flight = self._in_flight, None
        if pending is not None:
            pending.result()

    def _write(self, columns: Mapping[Table, Columns]) -> None:
        self._retrying.copy()(self._sink.write, columns)
