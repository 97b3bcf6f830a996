"""Each part between PostgreSQL and the views is broken in turn under traffic: `purser status` says
so by its name, the ends are compared, and all is well again after healing.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from cli.status import Report, Verdict, report
from connectors.debezium.client import ConnectClient
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.topic import ensure_topic
from operations.bring_up import register_local_connector
from operations.health import LoudState
from operations.verify import Options, VerifySettings, verify
from schemas.topics import CONNECTOR, PAYMENTS_TOPIC, PUBLICATION, REPLICATION_SLOT
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from sinks.source_topics import forget_other_topics, topics_read
from stack.native import Stack
from streams.source_topic import Brokers
from tests.waiting import wait_until
from tests.whole_stack import quiet, whole_stack
from writer.append import open_writer
from writer.commands import CreatePayment, OrderLine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

VISIBLE_SECONDS = "4"
CONNECT_SECONDS = 60.0
PAUSE_SECONDS = 0.2


def append(stack: Stack) -> str:
    """One payment; its id."""
    command = CreatePayment(
        idempotency_key=str(uuid4()),
        occurred_at=datetime.now(UTC),
        buyer_id="buyer",
        currency="EUR",
        psp="stripe",
        method="card",
        orders=(OrderLine(order_id=f"order-{uuid4()}", seller_id="seller", amount_minor=500),),
    )
    with open_writer(stack.endpoints.postgres_dsn) as writer:
        writer.handle(command)
    return str(command.payment_id)


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PURSER_STATUS_VISIBLE_SECONDS", VISIBLE_SECONDS)
        with whole_stack() as stack:
            yield stack


@pytest.fixture
def busy(own: Stack) -> Iterator[Stack]:
    """A healthy stack under light traffic, for one test.

    An event has gone all the way: Kafka Connect makes the topic of its task's first record, and
    would make a topic anew that a test deletes before that record.
    """
    end = threading.Event()

    def run() -> None:
        while not end.wait(PAUSE_SECONDS):
            append(own)

    traffic = threading.Thread(target=run)
    traffic.start()
    try:
        wait_until_healthy(own)
        wait_until_visible(own, append(own))
        yield own
    finally:
        end.set()
        traffic.join()


def wait_until_healthy(stack: Stack) -> None:
    wait_until(
        lambda: report(stack).verdict is Verdict.HEALTHY,
        "a healthy stack",
        seen=lambda: report(stack).problems,
    )


def wait_for(stack: Stack, *states: LoudState) -> Report:
    """The first report that calls all of these problems."""

    def loud() -> Report | None:
        found = report(stack)
        return found if set(states) <= {problem.state for problem in found.loud} else None

    found = wait_until(
        loud, f"status says {', '.join(states)}", seen=lambda: report(stack).problems
    )
    assert found is not None
    assert found.verdict is Verdict.UNHEALTHY
    return found


def wait_until_visible(stack: Stack, payment_id: str) -> None:
    with connect(ClickHouseSettings.load(stack.endpoints.clickhouse_url)) as client:
        wait_until(
            lambda: (
                client.query(
                    "SELECT 1 FROM payment_events WHERE payment_id = {id:UUID}",
                    parameters={"id": payment_id},
                ).result_rows
            ),
            f"payment {payment_id} is visible",
            seen=lambda: report(stack).problems,
        )


def purser_status(stack: Stack, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    environment = {
        "PATH": os.environ["PATH"],
        "PURSER_HOME": str(stack.home.path),
        "PURSER_STATUS_VISIBLE_SECONDS": VISIBLE_SECONDS,
    }
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "status", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def put(stack: Stack, verb: str) -> None:
    """Pause, stop or resume the connector."""
    url = f"{stack.endpoints.connect_url}/connectors/{CONNECTOR}/{verb}"
    httpx.put(url, timeout=CONNECT_SECONDS).raise_for_status()


def execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute(statement.encode())


def test_a_suspended_worker(busy: Stack) -> None:
    worker = busy.pid("views-worker")
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    try:
        found = wait_for(busy, LoudState.PROCESS, LoudState.EVENTS_INVISIBLE)
        assert any("views-worker does not answer" in problem for problem in found.problems)
        assert found.findings.ends is not None
        assert found.findings.ends.invisible > 0
        printed = purser_status(busy)
        assert printed.returncode == 1
        assert "s ago, is not visible in ClickHouse" in printed.stdout
        assert "  see docs/reference/status.md#events-invisible\n" in printed.stdout
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until_healthy(busy)
    printed = purser_status(busy)
    assert (printed.returncode, printed.stdout.splitlines()[-1]) == (0, "healthy")
    assert "are visible, the newest recorded" in printed.stdout


def test_a_connector_that_is_halted_or_unregistered(busy: Stack) -> None:
    put(busy, "pause")
    found = wait_for(
        busy, LoudState.CONNECTOR_HALTED, LoudState.PROCESS, LoudState.EVENTS_INVISIBLE
    )
    assert any("connector-supervisor is unhealthy" in problem for problem in found.problems)
    put(busy, "resume")
    wait_until_healthy(busy)
    with ConnectClient(busy.endpoints.connect_url) as client:
        client.delete(CONNECTOR)
    found = wait_for(
        busy, LoudState.CONNECTOR_UNREGISTERED, LoudState.PROCESS, LoudState.EVENTS_INVISIBLE
    )
    assert any("connector-supervisor is unhealthy" in problem for problem in found.problems)
    with quiet():
        register_local_connector(busy.endpoints, print)
    wait_until_healthy(busy)


def test_topic_publication_and_slot(busy: Stack) -> None:
    endpoints = busy.endpoints
    before = topics_read(endpoints.clickhouse_url, PAYMENTS_TOPIC)
    assert len(before) == 1
    admin = AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap, "log_level": 0})
    admin.delete_topics([PAYMENTS_TOPIC])[PAYMENTS_TOPIC].result()
    found = wait_for(busy, LoudState.TOPIC_MISSING, LoudState.PROCESS, LoudState.EVENTS_INVISIBLE)
    assert any("views-worker is unhealthy: topic" in problem for problem in found.problems)
    worker = busy.pid("views-worker")
    ensure_topic(endpoints.kafka_bootstrap, DebeziumSettings.load())
    wait_for(busy, LoudState.TOPIC_MADE_ANEW)
    # The worker ends itself; its successor reads the new topic although the old one had more.
    wait_until_visible(busy, append(busy))
    assert busy.pid("views-worker") != worker
    found = wait_for(busy, LoudState.TOPIC_MADE_ANEW)
    assert any("deleted and made anew; read since" in problem for problem in found.problems)
    printed = purser_status(busy, "--json")
    document = json.loads(printed.stdout)
    assert (printed.returncode, document["status"]) == (1, "unhealthy")
    assert LoudState.TOPIC_MADE_ANEW in document["states"]
    assert len(document["topic"]["topics_read"]) == 2

    execute(endpoints.postgres_admin_dsn, f"ALTER PUBLICATION {PUBLICATION} SET (publish='update')")
    passed_over = append(busy)
    found = wait_for(busy, LoudState.PUBLICATION, LoudState.EVENTS_INVISIBLE)
    assert any("does not publish inserts" in problem for problem in found.problems)
    execute(
        endpoints.postgres_admin_dsn,
        f"ALTER PUBLICATION {PUBLICATION} SET (publish='insert, update')",
    )

    put(busy, "stop")
    wait_for(busy, LoudState.CONNECTOR_HALTED, LoudState.SLOT_UNREAD)
    execute(endpoints.postgres_cdc_dsn, f"SELECT pg_drop_replication_slot('{REPLICATION_SLOT}')")
    wait_for(busy, LoudState.SLOT_MISSING, LoudState.EVENTS_INVISIBLE)

    url = f"{endpoints.connect_url}/connectors/{CONNECTOR}/offsets"
    httpx.delete(url, timeout=CONNECT_SECONDS).raise_for_status()
    put(busy, "resume")  # takes a new snapshot
    wait_until_visible(busy, passed_over)
    topic = Brokers(endpoints.kafka_bootstrap, PAYMENTS_TOPIC).topic()
    assert topic is not None
    assert topic.topic_id != before[0].topic_id
    forget_other_topics(endpoints.clickhouse_url, PAYMENTS_TOPIC, topic.topic_id)
    wait_until_healthy(busy)
    settings = VerifySettings.load(
        postgres_reader_dsn=endpoints.postgres_reader_dsn, clickhouse_url=endpoints.clickhouse_url
    )
    assert verify(settings, Options()).verdict.value == "equal"
