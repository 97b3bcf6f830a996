"""Debezium on the real servers: registered once, healthy or loudly not, events in the topic."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from connectors.debezium.client import ConnectClient
from connectors.debezium.config import connector_config
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import SlotHealth, read_slot
from connectors.debezium.topic import LIMIT, ensure_topic
from operations.bring_up import register_local_connector
from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.ids import MAX_LENGTHS
from schemas.lifecycle import EventType
from schemas.record_size import LARGEST_RECORD_BYTES, MESSAGE_BYTES_MOST
from schemas.topics import CONNECTOR, PAYMENTS_TOPIC, REPLICATION_SLOT, TOPIC_PREFIX
from stack.endpoints import DATABASE, Endpoints
from stack.native import Stack
from tests.integration.postgres.database import Database, insert
from tests.integration.postgres.rows import Book, largest_row
from tests.waiting import wait_until
from tests.whole_stack import quiet
from writer.append import Appended, open_writer
from writer.commands import CreatePayment, OrderLine

pytestmark = pytest.mark.integration

# Known to Debezium's code but missing from the list that it publishes, or Connect's own.
UNLISTED = ("offset.mismatch.strategy", "topic.creation.")


HUGE_BYTES = MESSAGE_BYTES_MOST + 1


@pytest.fixture
def connect(pipeline: Stack) -> Iterator[ConnectClient]:
    with ConnectClient(pipeline.endpoints.connect_url) as client:
        yield client


def append_payment(endpoints: Endpoints) -> str:
    """One payment of two orders; its id."""
    lines = tuple(
        OrderLine(order_id=f"order-{uuid4()}", seller_id="seller", amount_minor=500)
        for _ in range(2)
    )
    command = CreatePayment(
        idempotency_key=str(uuid4()),
        occurred_at=datetime.now(UTC),
        buyer_id="buyer",
        currency="EUR",
        psp="stripe",
        method="card",
        orders=lines,
    )
    with open_writer(endpoints.postgres_dsn) as writer:
        answer = writer.handle(command)
    assert isinstance(answer, Appended), answer
    return str(command.payment_id)


def records_of(
    endpoints: Endpoints, payment_id: str, count: int
) -> list[tuple[int, dict[str, object]]]:
    """Wait for a payment's records in the topic: (partition, row after)."""
    return [
        (message.partition() or 0, json.loads(message.value() or b"")["after"])
        for message in messages_of(endpoints, payment_id, count)
    ]


def messages_of(endpoints: Endpoints, payment_id: str, count: int) -> list[Message]:
    """Wait for a payment's records in the topic, as they are."""
    consumer = Consumer(
        {
            "bootstrap.servers": endpoints.kafka_bootstrap,
            "group.id": str(uuid4()),
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    partitions = consumer.list_topics(PAYMENTS_TOPIC, timeout=10).topics[PAYMENTS_TOPIC].partitions
    consumer.assign([TopicPartition(PAYMENTS_TOPIC, number, 0) for number in partitions])
    found: list[Message] = []

    def has_all() -> bool:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            found.extend([message] if payment_id in (message.key() or b"").decode() else [])
        return len(found) >= count

    try:
        wait_until(has_all, f"{count} records of {payment_id}", poll_seconds=0.0)
    finally:
        consumer.close()
    return found


def test_every_option_is_one_that_debezium_knows(pipeline: Stack) -> None:
    config = connector_config(DebeziumSettings(database_port=pipeline.endpoints.postgres_port))
    answer = httpx.put(
        f"{pipeline.endpoints.connect_url}/connector-plugins/PostgresConnector/config/validate",
        json={"name": "x", **config},
        timeout=30,
    ).json()
    known = {each["definition"]["name"] for each in answer["configs"]}
    assert answer["error_count"] == 0
    assert [name for name in config if name not in known and not name.startswith(UNLISTED)] == []


def test_registering_again_changes_nothing(pipeline: Stack, connect: ConnectClient) -> None:
    endpoints = pipeline.endpoints
    with quiet():  # as it was registered
        settings = DebeziumSettings(database_port=endpoints.postgres_port)
        assert connect.register(CONNECTOR, connector_config(settings)) is False
        assert ensure_topic(endpoints.kafka_bootstrap, settings) is False
        register_local_connector(endpoints, print)
    assert connect.health(CONNECTOR).healthy


def test_password_is_in_no_answer_of_connect(pipeline: Stack, connect: ConnectClient) -> None:
    config = connect.config(CONNECTOR)
    assert config is not None
    assert config["database.password"] == "${env:PURSER_CDC_PASSWORD}"
    assert pipeline.endpoints.cdc_password not in json.dumps(config)


def test_rows_of_a_payment_reach_one_partition_in_order(pipeline: Stack) -> None:
    endpoints = pipeline.endpoints
    payment = append_payment(endpoints)
    found = records_of(endpoints, payment, count=2)
    assert [row["seq"] for _, row in found] == [1, 2]
    assert len({partition for partition, _ in found}) == 1


def test_a_topic_that_would_refuse_a_row_is_refused(pipeline: Stack) -> None:
    bootstrap = pipeline.endpoints.kafka_bootstrap
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def set_limit(size: int) -> None:
        entry = ConfigEntry(LIMIT, str(size), incremental_operation=AlterConfigOpType.SET)
        topic = ConfigResource(ResourceType.TOPIC, PAYMENTS_TOPIC, incremental_configs=[entry])
        admin.incremental_alter_configs([topic])[topic].result(30.0)

    try:
        set_limit(LARGEST_RECORD_BYTES - 1)
        with pytest.raises(ConfigurationError, match=rf"{PAYMENTS_TOPIC}: {LIMIT} is \d+, and a"):
            ensure_topic(bootstrap, DebeziumSettings())
        set_limit(LARGEST_RECORD_BYTES)
        assert ensure_topic(bootstrap, DebeziumSettings()) is False
    finally:
        set_limit(MESSAGE_BYTES_MOST)


def test_the_largest_row_that_the_table_takes_passes(pipeline: Stack) -> None:
    endpoints = pipeline.endpoints
    row = largest_row()
    with psycopg.connect(endpoints.postgres_dsn) as session:
        insert(session, row)
    [message] = messages_of(endpoints, str(row["payment_id"]), count=1)
    size = len(message.key() or b"") + len(message.value() or b"")
    assert 0.95 * LARGEST_RECORD_BYTES < size < LARGEST_RECORD_BYTES
    after = json.loads(message.value() or b"")["after"]
    assert {name: after[name] for name in MAX_LENGTHS} == {name: row[name] for name in MAX_LENGTHS}
    assert after["details"] == row["details"]


@pytest.mark.parametrize(
    ("content", "prefixes"),
    [
        ("", ("", "note")),
        ("x", ("", "two\nlines", "a,b", "Purser.public.payments", "é")),
        ("y" * HUGE_BYTES, ("note",)),
    ],
    ids=["empty", "small", "huge"],
)
def test_logical_messages_are_no_events_and_stop_nothing(
    pipeline: Stack, connect: ConnectClient, content: str, prefixes: tuple[str, ...]
) -> None:
    """Only a superuser can still write them."""
    endpoints = pipeline.endpoints
    first, second = Book(), Book()
    emit = "SELECT pg_logical_emit_message(%s, %s, %s)"
    with psycopg.connect(Database.of(endpoints, DATABASE).superuser) as session:
        for prefix in prefixes:
            session.execute(emit, [False, prefix, content])
            session.execute(emit, [True, prefix, content])
            session.commit()
        insert(session, first.create())
        session.execute(emit, [True, "note", content])
        insert(session, first.event(EventType.AUTHORIZED))
        session.execute(emit, [False, "note", content])
        session.commit()
        insert(session, second.create())
    for book in (first, second):
        found = records_of(endpoints, str(book.payment_id), book.seq)
        assert [row["seq"] for _, row in found] == list(range(1, book.seq + 1))
    assert connect.health(CONNECTOR).healthy
    _wait_confirmed(endpoints)
    topics = AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap}).list_topics(timeout=10)
    assert f"{TOPIC_PREFIX}.message" not in topics.topics


def test_quiet_database_still_confirms_its_wal(pipeline: Stack) -> None:
    _wait_confirmed(pipeline.endpoints)


def _wait_confirmed(endpoints: Endpoints) -> None:
    """Wait until Debezium has confirmed the log almost to its end."""
    seconds = DebeziumSettings().heartbeat_seconds

    def slot() -> SlotHealth:
        return read_slot(endpoints.postgres_reader_dsn, REPLICATION_SLOT)

    def is_confirmed() -> bool:
        now = slot()
        return now.active and not now.problems(seconds) and (now.lag_bytes or 0) < 1024 * 1024

    wait_until(is_confirmed, "the slot is confirmed", seen=slot)


def test_failed_task_is_told_by_its_reason_and_started_anew(
    pipeline: Stack, connect: ConnectClient
) -> None:
    name = "failing"
    settings = DebeziumSettings(
        connector=name, database_port=pipeline.endpoints.postgres_port, slot="failing"
    )
    config = connector_config(settings) | {"topic.prefix": "failing"}
    broken = config | {"publication.name": "missing", "errors.max.retries": "0"}
    try:
        connect.register(name, broken)
        with pytest.raises(ServiceUnavailable, match=r"task 0 is FAILED: .+"):
            connect.wait_healthy(name, timeout_seconds=90)
        health = connect.health(name)
        assert health.state == "RUNNING"
        assert not health.healthy
        connect.restart_failed(name)  # accepted; it will fail again for the same reason
    finally:
        connect.delete(name)
    wait_until(lambda: connect.health(name).state == "UNREGISTERED", "the connector is gone")


def test_configuration_that_connect_refuses_is_an_error(connect: ConnectClient) -> None:
    config = connector_config(DebeziumSettings(slot="x")) | {"tasks.max": "0"}
    with pytest.raises(ConfigurationError, match=r"refuses PUT .*tasks\.max"):
        connect.register("refused", config)


def test_killed_connect_loses_and_doubles_nothing(pipeline: Stack) -> None:
    endpoints = pipeline.endpoints
    before = append_payment(endpoints)
    pipeline.kill("connect")
    during = append_payment(endpoints)
    pipeline.wait_ready("connect")
    after = append_payment(endpoints)
    for payment in (before, during, after):
        assert [row["seq"] for _, row in records_of(endpoints, payment, count=2)] == [1, 2]
