"""A marketplace's events as Debezium would write them to Kafka, without PostgreSQL or Connect.

What the views must hold afterwards is folded from the same events, see `expected_views`. It is the
fold of the worker: what arrives is compared with it, and tests/property judges the fold.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from time import time

import msgspec
from confluent_kafka import Producer

from marketplace.market import Marketplace, MarketplaceSettings
from schemas.events import Event, NewEvent
from schemas.topics import PAYMENTS_TOPIC
from sinks.memory import MemorySink
from streams.decode import Record
from streams.fold import fold_batch
from tests.events import envelope, key_of
from writer.decide import decide
from writer.state import PaymentState, apply

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
DELIVERY_SECONDS = 60.0


def marketplace_events(seed: int, *, payments_per_second: float = 200.0) -> Iterator[Event]:
    """An endless history of a seeded marketplace, as rows of `payments` in the order appended."""
    states: dict[object, PaymentState] = {}
    market = Marketplace(seed, START, MarketplaceSettings(payments_per_second=payments_per_second))
    for step in market.steps(10_000_000.0):
        command = step.command
        place = getattr(command, "payment_id", None) or (step.life, command.idempotency_key)
        state = states.get(place)
        rows = decide(state, command, available_minor=10**15)
        if not isinstance(rows, tuple):
            continue  # as in life: a command that the rules refuse
        states[rows[0].payment_id] = apply(state, rows)
        yield from (_recorded(row) for row in rows)


def _recorded(row: NewEvent) -> Event:
    return Event(**msgspec.structs.asdict(row), recorded_at=row.occurred_at)


def some_events(seed: int, count: int) -> list[Event]:
    """The first `count` events of a seeded marketplace."""
    return list(islice(marketplace_events(seed), count))


def message(event: Event, *, txid: int = 4711) -> tuple[bytes, bytes]:
    """Key and value of an event's record, committed now."""
    source = {"ts_ms": int(time() * 1000), "txId": txid, "lsn": 987_654, "schema": "public"}
    return key_of(event.payment_id), msgspec.json.encode(envelope(event, source=source))


class EnvelopeProducer:
    """Writes records as Debezium does: exactly once, in transactions, keyed by payment."""

    def __init__(self, bootstrap: str, transactional_id: str, topic: str = PAYMENTS_TOPIC) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": transactional_id,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "message.max.bytes": 16 * 1024 * 1024,
                "log_level": 0,  # what goes wrong is raised as well
            }
        )
        self._producer.init_transactions(DELIVERY_SECONDS)

    def send(self, events: Iterable[Event]) -> None:
        """Write events in one transaction."""
        self.send_raw(message(event) for event in events)

    def send_raw(
        self, messages: Iterable[tuple[bytes | None, bytes | None]], *, abort: bool = False
    ) -> None:
        """Write keys and values in one transaction, which is rolled back with `abort`."""
        self._producer.begin_transaction()
        for key, value in messages:
            while True:
                try:
                    self._producer.produce(self._topic, value=value, key=key)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        self._producer.flush(DELIVERY_SECONDS)
        if abort:
            self._producer.abort_transaction(DELIVERY_SECONDS)
        else:
            self._producer.commit_transaction(DELIVERY_SECONDS)


def expected_views(events: Iterable[Event]) -> MemorySink:
    """The views of these events, folded one at a time into a sink in memory."""
    sink = MemorySink()
    for offset, event in enumerate(events):
        key, value = message(event)
        record = Record(PAYMENTS_TOPIC, 0, offset, 0, key, value)
        folded = fold_batch([record], consumer="expected", parked_at=START)
        assert not folded.dead_letters, folded.dead_letters
        sink.write(folded.columns)
    return sink
