"""Write records into the replay's tables with the same fold and sink as the live worker.

It must do nothing else: it writes to no topic and calls no other service.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from schemas.errors import ServiceUnavailable
from schemas.topics import VIEWS_CONSUMER
from schemas.views import DEAD_LETTERS, PIPELINE_PROGRESS, Columns, Table
from sinks.protocol import ViewSink
from streams.arrow_fold import fold_to_arrow
from streams.decode import SourceRecord
from streams.fold import FOLDED_TABLES, FoldedBatch
from streams.records import Records

RETRY_FIRST_SECONDS = 0.1
RETRY_MOST_SECONDS = 5.0

Batch = Records | Sequence[SourceRecord]
"""Records as they are read: columns from the topic, single records from a snapshot."""


def patient(give_up_seconds: float) -> Retrying:
    """Return a policy that retries an unavailable server with growing waits, for a limited time."""
    return Retrying(
        retry=retry_if_exception_type(ServiceUnavailable),
        wait=wait_exponential_jitter(multiplier=RETRY_FIRST_SECONDS, max=RETRY_MOST_SECONDS),
        stop=stop_after_delay(give_up_seconds),
        reraise=True,
    )


def folded_records(records: Batch, tables: Collection[Table]) -> FoldedBatch:
    """Return rows of these views, with progress under the live worker's name."""
    return fold_to_arrow(
        records,
        consumer=VIEWS_CONSUMER,
        parked_at=datetime.now(UTC),
        tables=[table for table in FOLDED_TABLES if table in tables],
    )


def columns_for(folded: FoldedBatch, tables: Collection[Table]) -> dict[Table, Columns]:
    """Return the rows that belong to these tables."""
    return {table: folded.columns[table] for table in tables if table in folded.columns}


class Builder:
    """Writes batches, one in flight: the next one is read and folded while the sink works."""

    def __init__(
        self, sink: ViewSink, tables: Sequence[Table], *, from_topic: bool, give_up_seconds: float
    ) -> None:
        self._sink = sink
        # Progress and dead letters refer to positions in the topic; other sources have none.
        self._tables = (*tables, DEAD_LETTERS) if from_topic else tuple(tables)
        self._progress = (PIPELINE_PROGRESS,) if from_topic else ()
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
        """Fold a batch and start writing it after the previous one; raises that one's error."""
        folded = folded_records(records, self._tables)
        self.finish()
        self._in_flight = self._thread.submit(self._retrying.copy(), self._store, folded)
        return folded

    def finish(self) -> None:
        """Return when everything added is stored.

        Raises:
            PurserError: see `ViewSink`.
        """
        pending, self._in_flight = self._in_flight, None
        if pending is not None:
            pending.result()

    def _store(self, folded: FoldedBatch) -> None:
        self._sink.write(columns_for(folded, self._tables))
        self._sink.note_minutes(folded.minutes)
        self._sink.write(columns_for(folded, self._progress))
