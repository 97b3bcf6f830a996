"""A topic full of envelopes as Debezium writes them, faster than Debezium would write them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from uuid import uuid4

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from marketplace.market import Marketplace, MarketplaceSettings
from schemas.events import NewEvent
from writer.decide import decide
from writer.state import PaymentState, apply

PARTITIONS = 4
TRANSACTION_RECORDS = 2_000
DISTINCT_EVENTS = 20_000
"""So many are made by the rules; the rest are the same ones of payments with other ids."""
SECONDS_MAX = 60.0
_START = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a topic holds: the sum of its events' amounts, and each partition's last record."""

    amount_minor: int
    last_offsets: Mapping[int, int]


def fill(bootstrap: str, topic: str, count: int, seed: int) -> Filled:
    """Make the topic with `count` records."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1)
    admin.create_topics([new])[topic].result(SECONDS_MAX)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"bench-{topic}",
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
        }
    )
    producer.init_transactions(SECONDS_MAX)
    total = 0
    last: dict[int, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        last[partition] = max(offset, last.get(partition, -1))

    records = _records(count, seed)
    while batch := list(islice(records, TRANSACTION_RECORDS)):
        producer.begin_transaction()
        for key, value, amount_minor in batch:
            producer.produce(topic, value=value, key=key, on_delivery=delivered)
            total += amount_minor
        producer.commit_transaction(SECONDS_MAX)
    return Filled(amount_minor=total, last_offsets=last)


def _records(count: int, seed: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Key, value and amount of each record."""
    distinct = list(islice(_events(seed), min(count, DISTINCT_EVENTS)))
    rows = [
        (str(event.payment_id), _envelope(event, at), event) for at, event in enumerate(distinct)
    ]
    ids: dict[str, str] = {}
    for number in range(count):
        position = number % len(rows)
        if position == 0:
            ids = {payment_id: str(uuid4()) for payment_id, _, _ in rows}
        payment_id, value, event = rows[position]
        new = ids[payment_id]
        yield (
            b'{"payment_id":"%b"}' % new.encode(),
            value.replace(payment_id.encode(), new.encode()),
            event.amount_minor,
        )


def _events(seed: int) -> Iterator[NewEvent]:
    """An endless history of a seeded marketplace."""
    states: dict[object, PaymentState] = {}
    market = Marketplace(seed, _START, MarketplaceSettings(payments_per_second=200.0))
    for step in market.steps(10_000_000.0):
        command = step.command
        place = getattr(command, "payment_id", None) or (step.life, command.idempotency_key)
        state = states.get(place)
        rows = decide(state, command, available_minor=10**15)
        if isinstance(rows, tuple):
            states[rows[0].payment_id] = apply(state, rows)
            yield from rows


def _envelope(event: NewEvent, number: int) -> bytes:
    """What Debezium writes for the row, with all that it says about the source."""
    row = msgspec.to_builtins(event)
    row["occurred_at"] = event.occurred_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    row["recorded_at"] = row["occurred_at"]
    ms = int(event.occurred_at.timestamp() * 1000)
    source = {
        "version": "3.6.3.Final",
        "connector": "postgresql",
        "name": "purser",
        "ts_ms": ms,
        "snapshot": "false",
        "db": "purser",
        "sequence": '["27111111","27222222"]',
        "ts_us": ms * 1000 + 123,
        "ts_ns": ms * 1_000_000 + 123_456,
        "schema": "public",
        "table": "payments",
        "txId": 70_000 + number // 5,
        "lsn": 27_000_000 + 300 * number,
        "xmin": None,
    }
    taken = {"ts_ms": ms + 50, "ts_us": ms * 1000 + 50_123, "ts_ns": ms * 1_000_000 + 50_123_456}
    return msgspec.json.encode(
        {"before": None, "after": row, "source": source, "transaction": None, "op": "c", **taken}
    )
