"""A process that reads the payments topic once, with the batch transport or with stock Faust.

`python -m bench.consume --transport batch|stock --events N` reads N records, prints one JSON object
and exits. With --fold it also decodes them and builds the rows of all views. Each variant is
written in its best idiom. The sums of bytes and amounts show that both did the same work.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from tempfile import mkdtemp
from typing import Any, NoReturn
from uuid import uuid4

import faust

from schemas.runtime import entry_point
from schemas.topics import PAYMENTS_TOPIC
from schemas.views import PAYMENT_EVENTS
from streams.app import make_app
from streams.decode import Record, decode
from streams.fold import fold, fold_batch
from streams.logs import configure_logging
from streams.settings import StreamSettings

_AMOUNT = PAYMENT_EVENTS.columns.index("amount_minor")


class Count:
    """Counts events up to the wanted number, then prints the result and ends the process."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._events = 0
        self._bytes = 0
        self._amount = 0
        self._started: float | None = None
        self._cpu = 0.0

    def begin(self) -> None:
        """Start the clock at the first record."""
        if self._started is None:
            self._started = time.perf_counter()
            self._cpu = time.process_time()

    def add(self, events: int, size: int, amount: int) -> None:
        """Count some events; does not return once there are enough."""
        self._events += events
        self._bytes += size
        self._amount += amount
        if self._events >= self._wanted:
            self._end()

    def _end(self) -> NoReturn:
        assert self._started is not None
        result = {
            "events": self._events,
            "bytes": self._bytes,
            "amount_minor": self._amount,
            "seconds": time.perf_counter() - self._started,
            "cpu_seconds": time.process_time() - self._cpu,
        }
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        # There is nothing to commit, and stock Faust takes seconds to stop.
        os._exit(0)


def batch_app(settings: StreamSettings, count: Count, *, folding: bool) -> faust.App:
    """Purser's transport: a stream's event is a partition batch."""
    app = make_app(settings)

    async def read(stream: Any) -> None:
        async for event in stream.noack().events():
            count.begin()
            records = event.value
            amount = 0
            if folding:
                folded = fold_batch(
                    records, consumer=settings.consumer_group, parked_at=datetime.now(UTC)
                )
                amount = sum(folded.columns[PAYMENT_EVENTS][_AMOUNT])
            event.ack()
            count.add(len(records), sum(len(record.value) for record in records), amount)

    app.agent(app.topic(PAYMENTS_TOPIC))(read)
    return app


def stock_app(settings: StreamSettings, count: Count, *, folding: bool) -> faust.App:
    """Stock Faust: a stream's event is a record."""
    app = faust.App(
        settings.consumer_group,
        broker=[f"kafka://{address}" for address in settings.brokers],
        datadir=settings.data_dir,
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=settings.fetch_partition_bytes_max,
        broker_max_poll_records=settings.batch_records_max,
    )

    async def read(stream: Any) -> None:
        async for event in stream.events():
            count.begin()
            message = event.message
            amount = 0
            if folding:
                record = Record(
                    topic=message.topic,
                    partition=message.partition,
                    offset=message.offset,
                    timestamp=int(message.timestamp * 1000),
                    key=message.key,
                    value=message.value,
                )
                amount = fold(decode(record))[PAYMENT_EVENTS][_AMOUNT][0]
            count.add(1, len(message.value), amount)

    app.agent(app.topic(PAYMENTS_TOPIC))(read)
    return app


@entry_point
def main() -> None:
    """Read the wanted number of records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=("batch", "stock"), required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--fold", action="store_true")
    options = parser.parse_args()
    settings = StreamSettings.load(
        consumer_group=f"bench-{options.transport}-{uuid4()}", home=mkdtemp()
    )
    settings.data_dir.mkdir(parents=True)
    configure_logging("ERROR")
    make = batch_app if options.transport == "batch" else stock_app
    worker = faust.Worker(
        make(settings, Count(options.events), folding=options.fold),
        quiet=True,
        override_logging=False,
    )
    worker.spinner = None
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
