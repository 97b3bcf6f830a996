"""The pipeline's steps: fold, write to the sink, send dead letters, note what was written.

They stand between the pipeline, which decides when, and the fold and the sink, which do the work.
They must never change the fold's rows: rows that are written again have to be the same rows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Protocol

from schemas.errors import PurserError, ServiceUnavailable, WriteRefused
from schemas.views import (
    PIPELINE_PROGRESS,
    Columns,
    DeadLetterRow,
    ProgressRow,
    Table,
    columns_of,
)
from sinks.protocol import ViewSink
from streams.arrow_fold import fold_to_arrow
from streams.fold import FOLDED_TABLES, FoldedBatch
from streams.views.coalescer import Flush
from streams.views.metrics import ViewsMetrics
from streams.views.parking import FloodDetector


class DeadLetterSender(Protocol):
    """Sends dead letters; see `DeadLetterTopic.send`."""

    async def send(self, rows: tuple[DeadLetterRow, ...]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What remains to do for a flush whose rows are written: note its minutes and the progress."""

    minutes: frozenset[datetime]
    progress: tuple[ProgressRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSteps:
    """`streams.views.pipeline.Steps` over a sink.

    `consumer` is the reader's name; `tables` are the tables that it maintains.
    """

    sink: ViewSink
    dead_letters: DeadLetterSender
    guard: FloodDetector
    metrics: ViewsMetrics
    consumer: str
    tables: Collection[Table] = FOLDED_TABLES
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def fold(self, flush: Flush) -> FoldedBatch:
        """Decode and fold; raises DeadLetterFlood if too many records cannot be folded."""
        with self._timed("fold"):
            folded = fold_to_arrow(
                flush.records, consumer=self.consumer, parked_at=self.now(), tables=self.tables
            )
        dead = folded.dead_letters
        self.guard.check(len(flush.records), len(dead), _described(dead[0]) if dead else "")
        return folded

    def write(self, folded: FoldedBatch) -> Receipt:
        """Write the rows of all tables except the progress, which follows after the notes.

        Raises ServiceUnavailable for temporary errors of the sink, and WriteRefused, which names
        the row, for permanent ones.
        """
        columns = {
            table: rows for table, rows in folded.columns.items() if table is not PIPELINE_PROGRESS
        }
        try:
            with self._timed("write"):
                self.sink.write(columns)
        except WriteRefused as error:
            raise WriteRefused(f"{error}{_culprit(self.sink, columns)}") from error
        progress = tuple(
            ProgressRow(*row) for row in zip(*folded.columns[PIPELINE_PROGRESS], strict=True)
        )
        self.metrics.wrote(
            records=folded.event_count + len(folded.dead_letters),
            events=folded.event_count,
            newest=max((row.committed_at for row in progress), default=None),
            now=self.now(),
        )
        return Receipt(minutes=folded.minutes, progress=progress)

    async def park(self, folded: FoldedBatch) -> None:
        """Send the dead letters to their topic; their rows are already in the table."""
        await self.dead_letters.send(folded.dead_letters)
        for row in folded.dead_letters:
            self.metrics.dead_letters.labels(reason=row.reason).inc()

    def settle(self, written: list[Receipt]) -> None:
        """Note the minutes that these flushes have entries of, then record the progress.

        The progress comes last, so that it never claims more than rows and totals contain.
        """
        minutes: set[datetime] = set()
        last: dict[tuple[str, int], ProgressRow] = {}
        for receipt in written:
            minutes |= receipt.minutes
            last |= {(row.topic, row.partition): row for row in receipt.progress}
        with self._timed("settle"):
            if minutes:
                self.sink.note_minutes(minutes)
            if last:
                self.sink.write({PIPELINE_PROGRESS: columns_of(list(last.values()))})

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.metrics.step_seconds.labels(step=step).observe(perf_counter() - started)


def _described(row: DeadLetterRow) -> str:
    return f"{row.topic} partition {row.partition} offset {row.kafka_offset}: {row.error}"


def _culprit(sink: ViewSink, columns: Mapping[Table, Columns]) -> str:
    """Return the row that the sink refuses, as the end of a sentence; "" if it cannot be found.

    It is found by writing halves. The rows are the same as before, so writing them again changes
    nothing.
    """
    for table, whole in columns.items():
        start, stop = 0, len(whole[0]) if whole else 0
        if not _refuses(sink, table, whole, start, stop):
            continue
        while stop - start > 1:
            middle = (start + stop) // 2
            if _refuses(sink, table, whole, start, middle):
                stop = middle
            elif _refuses(sink, table, whole, middle, stop):
                start = middle
            else:
                return f"; rows {start} to {stop} of {table.name}, but only together"
        values = dict(zip(table.columns, (column[start] for column in whole), strict=True))
        place = {name: str(values[name]) for name in (*table.key, "kafka_offset") if name in values}
        return f"; the row of {table.name} with {place}"
    return ""


def _refuses(sink: ViewSink, table: Table, whole: Columns, start: int, stop: int) -> bool:
    if start == stop:
        return False
    try:
        sink.write({table: [column[start:stop] for column in whole]})
    except ServiceUnavailable:
        return False
    except PurserError:
        return True
    return False
