"""The section `trickle`: few records a second, how late their rows are visible, and at what cost.

Records as Debezium writes them are sent at a steady rate, encoded beforehand. Only the commit time
within is set when a record is sent, so that its row tells how old it is. A probe looks for a sample
of the rows. Its queries cost ClickHouse as much as inserts do, so CPU is counted afterwards, while
nothing looks.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec
import psutil
from confluent_kafka import Producer

from bench.figures import Figure
from bench.peers import clickhouse_sink
from bench.peers.clickhouse_sink import FORMS, Form
from bench.peers.field import Field, end, prepared, spent_seconds, started
from bench.peers.topic import create, records
from bench.sections import Bench, worker_stopped
from bench.servers import wait_until
from bench.workers import has_partitions
from marketplace.freshness import FreshnessProbe, quantile
from operations.console import say
from schemas.envelope import WireEnvelope
from schemas.errors import ServiceUnavailable
from schemas.views import PAYMENT_EVENTS
from stack.ports import lend_port
from streams.fold import FOLDED_TABLES

EVENTS_PER_SECOND = 200
WARM_UP_SECONDS = 8.0
SETTLE_SECONDS = 30.0
READY_SECONDS = 120.0
_DIGITS = 13  # of milliseconds since 1970

Reader = AbstractContextManager[psutil.Process]


class Prepared(NamedTuple):
    """One record in two parts; the commit time, which is set when it is sent, comes between."""

    key: bytes
    before: bytes
    after: bytes
    payment_id: UUID
    seq: int

    def value(self, seconds: float) -> bytes:
        """The record's value, committed at this Unix time."""
        return b"%b%0*d%b" % (self.before, _DIGITS, int(seconds * 1000), self.after)


def prepare(key: bytes, value: bytes) -> Prepared:
    """Take a record apart at its commit time, which is `ts_ms` of its source."""
    envelope = msgspec.json.decode(value, type=WireEnvelope)
    mark = b'"ts_ms":%d,"snapshot"' % envelope.source.ts_ms
    assert value.count(mark) == 1, value
    start = value.index(mark) + len(b'"ts_ms":')
    event = envelope.after
    return Prepared(key, value[:start], value[start + _DIGITS :], UUID(event.payment_id), event.seq)


def trickle(bench: Bench) -> list[Figure]:
    """The section alone."""
    with worker_stopped(bench), prepared(bench) as where:
        if clickhouse_sink.is_there():
            clickhouse_sink.create_landing(where)
        return trickles(where, bench.seconds, bench.seed)


def trickles(where: Field, seconds: float, seed: int) -> list[Figure]:
    """Everything that is compared, one after the other."""
    section = f"trickle of {EVENTS_PER_SECOND} events/s"
    needed = int((WARM_UP_SECONDS + 2 * seconds) * EVENTS_PER_SECOND) + 1
    sent = [prepare(key, value) for key, value, _ in records(needed, seed)]
    every = ",".join(table.name for table in FOLDED_TABLES)
    figures = []
    for name, views in (("live worker", PAYMENT_EVENTS.name), ("live worker, all views", every)):
        topic = _topic(where)
        figures += _trickle(where, section, name, topic, _live(where, topic, views), sent, seconds)
    if not clickhouse_sink.is_there():
        say(f"ClickHouse's Kafka Connect sink is not in {clickhouse_sink.PLUGINS}; going on")
        return figures
    for form in FORMS:
        topic = _topic(where)
        reader = _sink(where, form, topic)
        figures += _trickle(where, section, form.name, topic, reader, sent, seconds)
    return figures


def _topic(where: Field) -> str:
    name = f"bench.trickle-{uuid4()}"
    create(where.environment["PURSER_KAFKA_BOOTSTRAP"], name)
    return name


@contextmanager
def _live(where: Field, topic: str, views: str) -> Iterator[psutil.Process]:
    """A live worker that has its partitions."""
    port = lend_port()
    worker = started(
        where,
        [sys.executable, "-m", "streams.views.worker"],
        f"bench-{uuid4()}",
        PURSER_PAYMENTS_TOPIC=topic,
        PURSER_VIEWS=views,
        PURSER_WORKER_METRICS_PORT=str(port),
    )
    try:
        wait_until(lambda: has_partitions(port), "it got no partitions", seconds=READY_SECONDS)
        yield worker
    finally:
        end([worker])


@contextmanager
def _sink(where: Field, form: Form, topic: str) -> Iterator[psutil.Process]:
    """ClickHouse's sink, after it has read as much as warms Java's compilers up."""
    with clickhouse_sink.running(where, form) as sink:
        where.empty()
        sink.read(where.topic)
        wait_until(lambda: where.rows() >= where.events, "the warm-up did not end")
        sink.read(topic)
        yield sink.process


def _trickle(
    where: Field,
    section: str,
    name: str,
    topic: str,
    reader: Reader,
    sent: Sequence[Prepared],
    seconds: float,
) -> list[Figure]:
    """Latency while a probe looks, then CPU while nothing does."""
    where.empty()
    producer = Producer({"bootstrap.servers": where.environment["PURSER_KAFKA_BOOTSTRAP"]})
    left = iter(sent)
    with reader as process:
        where.empty()
        _send(producer, topic, left, WARM_UP_SECONDS)
        with FreshnessProbe(where.environment["PURSER_CLICKHOUSE_URL"]) as probe:
            _send(producer, topic, left, seconds, probe)
            deadline = time.monotonic() + SETTLE_SECONDS
            while probe.pending() and time.monotonic() < deadline:
                time.sleep(0.05)
            if probe.pending():
                raise ServiceUnavailable(f"{name}: {probe.pending()} rows never came")
        spent, server = spent_seconds([process]), where.server_seconds()
        events = _send(producer, topic, left, seconds)
        spent, server = spent_seconds([process]) - spent, where.server_seconds() - server
    return [
        *(
            Figure(
                section=section,
                name=f"{name}, produced to visible {label}",
                value=1000 * quantile(probe.seconds, share),
                unit="ms",
            )
            for label, share in (("p50", 0.5), ("p99", 0.99))
        ),
        Figure(section=section, name=f"CPU, {name}", value=1e6 * spent / events, unit="µs/event"),
        Figure(
            section=section,
            name=f"CPU, ClickHouse under {name}",
            value=1e6 * server / events,
            unit="µs/event",
        ),
    ]


def _send(
    producer: Producer,
    topic: str,
    left: Iterator[Prepared],
    seconds: float,
    probe: FreshnessProbe | None = None,
) -> int:
    """Send at the steady rate for so long; return how many records."""
    began = time.monotonic()
    count = int(seconds * EVENTS_PER_SECOND)
    for number, record in enumerate(islice(left, count)):
        time.sleep(max(0.0, began + number / EVENTS_PER_SECOND - time.monotonic()))
        producer.produce(topic, record.value(time.time()), record.key)
        producer.poll(0)
        if probe is not None:
            probe.watch_event(record.payment_id, record.seq)
    producer.flush(SETTLE_SECONDS)
    return count
