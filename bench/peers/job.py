"""The peers' common part: decoding a record, inserting rows into ClickHouse, and the clock.

The peers need not check records as Purser does. They decode, build columns and insert.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NoReturn

import msgspec

from schemas.envelope import WireEnvelope
from schemas.gc_tuning import tune_gc
from schemas.views import PAYMENT_EVENTS, Columns, Table
from sinks.clickhouse import ClickHouseSink
from sinks.settings import ClickHouseSettings
from streams.fold import fold_batch
from streams.fold.rows import event_fields, payment_event_columns
from streams.records import Records

ROWS_MAX = 20_000
FETCH_BYTES = 4 * 1024**2
BOOTSTRAP = os.environ.get("PURSER_KAFKA_BOOTSTRAP", "")
TOPIC = os.environ.get("PURSER_PAYMENTS_TOPIC", "")
GROUP = os.environ.get("PURSER_CONSUMER_GROUP", "")
SPARED = bool(os.environ.get("PURSER_BENCH_SPARED"))
"""Whether the process runs the garbage collector as rarely as Purser's processes."""
WANTED = int(os.environ.get("PURSER_BENCH_EVENTS", "0"))

LIBRDKAFKA = {
    "fetch.queue.backoff.ms": 5,
    "fetch.message.max.bytes": FETCH_BYTES,
    "queued.max.messages.kbytes": 65_536,
}
"""These settings doubled the rate; every peer based on librdkafka gets them."""

decode = msgspec.json.Decoder(WireEnvelope).decode


class Job:
    """Takes events up to the wanted number, then prints how long it took and exits."""

    def __init__(self) -> None:
        if SPARED:
            tune_gc()
        self._sink = ClickHouseSink(ClickHouseSettings.load())
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._insert: Future[None] | None = None
        self._envelopes: list[WireEnvelope] = []
        self._partitions: list[int] = []
        self._offsets: list[int] = []
        self._events = 0
        self._started: float | None = None
        self._cpu = 0.0

    def begin(self) -> None:
        """Start the clock, at the first record."""
        if self._started is None:
            self._started = time.perf_counter()
            self._cpu = time.process_time()

    def take_batch(self, records: Records) -> None:
        """Take a whole batch, with the worker's fold."""
        self.begin()
        batch = fold_batch(
            records, consumer=GROUP, parked_at=datetime.now(UTC), tables=(PAYMENT_EVENTS,)
        )
        assert not batch.dead_letters, batch.dead_letters[0]
        self._write({PAYMENT_EVENTS: batch.columns[PAYMENT_EVENTS]}, batch.event_count)

    def take(self, envelope: WireEnvelope, partition: int, offset: int) -> None:
        """Take one event; it is written together with others."""
        self.begin()
        self._envelopes.append(envelope)
        self._partitions.append(partition)
        self._offsets.append(offset)
        waiting = len(self._envelopes)
        if waiting >= ROWS_MAX or self._events + waiting >= WANTED:
            self.flush()

    def flush(self) -> None:
        """Write the waiting events."""
        if not self._envelopes:
            return
        fields = event_fields([envelope.after for envelope in self._envelopes])
        columns = payment_event_columns(fields, self._envelopes, self._partitions, self._offsets)
        count = len(self._envelopes)
        self._envelopes, self._partitions, self._offsets = [], [], []
        self._write({PAYMENT_EVENTS: columns}, count)

    def _write(self, columns: Mapping[Table, Columns], count: int) -> None:
        """Insert in a thread, one insert at a time, while the caller decodes the next events."""
        if self._insert is not None:
            self._insert.result()
        self._insert = self._thread.submit(self._sink.write, columns)
        self._events += count
        if self._events >= WANTED:
            self._insert.result()
            self._end()

    def _end(self) -> NoReturn:
        assert self._started is not None
        result = {
            "events": self._events,
            "seconds": time.perf_counter() - self._started,
            "cpu_seconds": time.process_time() - self._cpu,
        }
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        # Some frameworks take seconds to stop, and there is nothing to commit.
        os._exit(0)
