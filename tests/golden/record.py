"""Records the golden envelopes of today's schema version from the real connector.

    python -m tests.golden.record

A stack of its own is started, the histories are appended through the writer, some before Debezium
and its snapshot, and the topic is read. Run it once for each new version, after the last change of
its meaning and before its first release. A file that exists is never written again.
"""

import json
from collections.abc import Iterable, Sequence
from uuid import uuid4

from confluent_kafka import Consumer, Message, TopicPartition

from operations.bring_up import migrate_all, register_local_connector
from operations.console import say
from operations.own_stack import own_stack
from schemas.errors import ConfigurationError
from schemas.events import SCHEMA_VERSION
from schemas.topics import PAYMENTS_TOPIC
from streams.decode import Record, decode
from tests.golden.files import KINDS, envelopes_file, write_envelopes, write_expected
from tests.golden.histories import before_and_after
from tests.waiting import wait_until
from writer.append import Appended, Writer, open_writer
from writer.commands import AnyCommand

READ_SECONDS = 120.0


def main() -> None:
    """Record today's version, and the rows that today's code makes of it."""
    path = envelopes_file(SCHEMA_VERSION)
    if path.exists():
        raise ConfigurationError(
            f"{path} exists; recorded envelopes are never written again: raise SCHEMA_VERSION first"
        )
    records = _recorded()
    kinds = {_kind(record) for record in records}
    if missing := sorted(KINDS - kinds):
        raise ConfigurationError(
            f"no event of {missing} was recorded; add commands to tests/golden/histories.py"
        )
    write_envelopes(SCHEMA_VERSION, records)
    write_expected(SCHEMA_VERSION)
    say(f"{len(records)} envelopes in {path.name}")


def _recorded() -> Sequence[Record]:
    before, after = before_and_after()
    with own_stack("golden") as stack:
        stack.up()
        endpoints = stack.endpoints
        migrate_all(endpoints.postgres_admin_dsn, endpoints.clickhouse_url, say)
        with open_writer(endpoints.postgres_dsn) as writer:
            events = _append(writer, before)
            register_local_connector(endpoints, say)
            snapshot = read_topic(endpoints.kafka_bootstrap, events)
            assert {json.loads(record.value or b"")["op"] for record in snapshot} == {"r"}
            events += _append(writer, after)
        return read_topic(endpoints.kafka_bootstrap, events)


def _append(writer: Writer, commands: Iterable[AnyCommand]) -> int:
    """Append them all; how many events that were."""
    events = 0
    for command in commands:
        answer = writer.handle(command)
        assert isinstance(answer, Appended), (command, answer)
        events += len(answer.events)
    return events


def read_topic(bootstrap: str, count: int) -> list[Record]:
    """The first `count` records of the payments topic, by partition and offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": str(uuid4()),
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    topics = consumer.list_topics(PAYMENTS_TOPIC, timeout=10).topics
    consumer.assign(
        [TopicPartition(PAYMENTS_TOPIC, at, 0) for at in topics[PAYMENTS_TOPIC].partitions]
    )
    records: list[Record] = []

    def has_all() -> bool:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            records.append(_record(message))
        return len(records) >= count

    try:
        if count:
            wait_until(
                has_all,
                f"{count} records in the topic",
                seconds=READ_SECONDS,
                poll_seconds=0.0,
                seen=lambda: len(records),
            )
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    return Record(
        topic=PAYMENTS_TOPIC,
        partition=partition,
        offset=offset,
        timestamp=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
    )


def _kind(record: Record) -> tuple[str, str]:
    event = decode(record).event
    return event.direction, event.event_type


if __name__ == "__main__":
    main()
