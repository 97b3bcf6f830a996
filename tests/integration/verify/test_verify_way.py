"""Lost or on its way: the slot and the topic tell, also when nothing came after the event.

The slot is PostgreSQL's and the topic is Kafka's. Debezium's part, moving the slot and sending the
records, is played here, so that each state can be held.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from operations.verify import Options, Report, VerifySettings, verify
from operations.verify import way as way_module
from schemas.topics import PAYMENTS_TOPIC
from stack.endpoints import Endpoints
from stack.native import Stack
from tests.integration.verify.world import PARTITIONS, World, partition_of

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 1.0
OTHER = json.dumps({"after": {"payment_id": "other", "seq": 1}})


@pytest.fixture(scope="module")
def kafka(idle_stack: Stack, endpoints: Endpoints) -> str:
    """The broker's address."""
    idle_stack.up(("kafka",))
    return endpoints.kafka_bootstrap


@dataclass(slots=True, kw_only=True)
class Way:
    """A slot, a topic, and views that lack the last event of PostgreSQL."""

    world: World
    superuser: str
    bootstrap: str
    topic: str
    slot: str
    lost: tuple[str, int]

    def verify(self, *, moved: bool = True, bootstrap: str | None = None) -> Report:
        """Run a verification. Meanwhile, Debezium confirms what it has read."""

        def meanwhile(_what: str, _done: int, _total: int) -> None:
            if moved:
                self.run(f"SELECT pg_replication_slot_advance('{self.slot}', pg_current_wal_lsn())")

        settings = VerifySettings.load(
            **self.world.settings.model_dump(include={"postgres_reader_dsn", "clickhouse_url"}),
            kafka_bootstrap=bootstrap or self.bootstrap,
            payments_topic=self.topic,
            debezium_slot=self.slot,
        )
        options = Options(timeout_seconds=TIMEOUT_SECONDS, on_progress=meanwhile)
        return verify(settings, options)

    def run(self, sql: str) -> None:
        """Run a statement that needs the superuser."""
        with psycopg.connect(self.superuser, autocommit=True) as session:
            session.execute("SELECT pg_logical_emit_message(true, 'log', 'moves')")
            session.execute(sql.encode())

    @property
    def partition(self) -> int:
        """The partition of the event's payment."""
        return partition_of(self.lost[0])

    @property
    def place(self) -> str:
        """Where the event's record is, if it is the first of its partition."""
        return f"unread in {self.topic}, partition {self.partition}, offset 0"

    def record(self) -> dict[str, Any]:
        """The record of the event that the views lack."""
        payment_id, seq = self.lost
        value = {"op": "c", "after": {"payment_id": payment_id, "seq": seq}}
        return {"key": payment_id, "value": json.dumps(value), "partition": self.partition}


@pytest.fixture(scope="module")
def way(filled_world: World, kafka: str, endpoints: Endpoints) -> Iterator[Way]:
    """Made once. Each test leaves the slot where it is."""
    filled_world.clear()
    delivered = filled_world.pump.pump()
    filled_world.clear()
    filled_world.pump.pump(limit=delivered - 1)
    name = f"way_{uuid.uuid4().hex[:12]}"
    database = conninfo_to_dict(filled_world.database.reader)["dbname"]
    superuser = make_conninfo(endpoints.postgres_superuser_dsn, dbname=database)
    with psycopg.connect(filled_world.database.reader) as session:
        [*_, last] = session.execute(
            "SELECT payment_id::text, seq FROM payments ORDER BY recorded_at, seq"
        ).fetchall()
    way = Way(
        world=filled_world,
        superuser=superuser,
        bootstrap=kafka,
        topic=name,
        slot=name,
        lost=last,
    )
    way.run(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    try:
        yield way
    finally:
        way.run(f"SELECT pg_drop_replication_slot('{name}')")


@pytest.fixture
def topic(way: Way) -> Iterator[Producer]:
    """An empty topic, and a producer into it."""
    admin = AdminClient({"bootstrap.servers": way.bootstrap})
    way.topic = f"way-{uuid.uuid4().hex}"
    [made] = admin.create_topics([NewTopic(way.topic, PARTITIONS, 1)]).values()
    made.result()
    producer = Producer({"bootstrap.servers": way.bootstrap, "transactional.id": way.topic})
    producer.init_transactions()
    yield producer
    [deleted] = admin.delete_topics([way.topic]).values()
    deleted.result()


def fate(report: Report) -> tuple[int, str, str]:
    """Exit status, what the event is called, and why."""
    [events] = [check for check in report.checks if check.name == "payment_events"]
    [found] = events.findings
    return report.exit_status, found.problem, found.note


def test_the_very_last_event_is_lost_once_the_slot_has_passed_it(way: Way, topic: Producer) -> None:
    status, problem, note = fate(way.verify())
    assert (status, problem) == (1, "missing")
    assert note == "the replication slot has passed it, and the topic holds no unread record"


def test_it_is_lost_when_the_topic_is_gone(way: Way) -> None:
    way.topic = "no-such-topic"
    status, problem, note = fate(way.verify())
    assert (status, problem) == (1, "missing")
    assert note == "the replication slot has passed it, and no topic holds it"


def test_it_is_late_while_the_slot_stands_still(way: Way, topic: Producer) -> None:
    """As during a snapshot: a new slot begins beyond the events that the snapshot brings."""
    way.run(f"SELECT pg_replication_slot_advance('{way.slot}', pg_current_wal_lsn())")
    assert fate(way.verify(moved=False))[:2] == (2, "late")


def test_it_is_late_while_it_is_unread_in_the_topic(way: Way, topic: Producer) -> None:
    topic.begin_transaction()
    topic.produce(way.topic, **way.record())
    topic.commit_transaction()
    assert fate(way.verify()) == (2, "late", way.place)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (Producer.commit_transaction, (2, "late")),
        (Producer.abort_transaction, (1, "missing")),
    ],
)
def test_it_is_late_while_a_transaction_is_open(
    way: Way,
    topic: Producer,
    end: Callable[[Producer], None],
    expected: tuple[int, str],
) -> None:
    topic.begin_transaction()
    topic.produce(way.topic, **way.record())
    topic.flush()
    assert fate(way.verify())[:2] == (2, "late")
    end(topic)
    assert fate(way.verify())[:2] == expected


def test_it_is_late_while_more_is_unread_than_can_be_looked_through(
    way: Way, topic: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_module, "UNREAD_MAX", 2)
    topic.begin_transaction()
    for _ in range(3):
        topic.produce(way.topic, value=b"{}", partition=way.partition)
    topic.commit_transaction()
    assert fate(way.verify())[:2] == (2, "late")


def test_progress_in_an_earlier_topic_of_the_name_hides_no_record(
    way: Way, topic: Producer
) -> None:
    """A topic that was made anew, and by now has more records than the earlier one had."""
    topic.begin_transaction()
    topic.produce(way.topic, **way.record())
    for _ in range(way.world.one("SELECT max(last_offset) FROM pipeline_progress_raw") + 1):
        topic.produce(way.topic, **way.record() | {"value": OTHER})
    topic.commit_transaction()
    way.world.run(
        f"INSERT INTO source_topics (topic, topic_id) VALUES ('{PAYMENTS_TOPIC}', 'earlier'),"
        f" ('{PAYMENTS_TOPIC}', 'later')"
    )
    try:
        assert fate(way.verify()) == (2, "late", way.place)
    finally:
        way.world.run("TRUNCATE TABLE source_topics")


def test_it_is_late_while_an_unread_record_does_not_say_which_event_it_is(
    way: Way, topic: Producer
) -> None:
    topic.begin_transaction()
    topic.produce(way.topic, value=b"not JSON", partition=way.partition)
    topic.commit_transaction()
    assert fate(way.verify())[:2] == (2, "late")


def test_it_is_late_while_kafka_does_not_answer(
    way: Way, topic: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_module, "ANSWER_SECONDS", 0.5)
    assert fate(way.verify(bootstrap="127.0.0.1:1"))[:2] == (2, "late")
