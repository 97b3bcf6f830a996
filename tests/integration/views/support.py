"""A pipeline of a test's own: topic, database, worker processes, and what must come out."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer, Message
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from schemas.events import Event
from schemas.views import (
    BUYER_ORDERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    SELLER_REVENUE,
    Table,
)
from sinks.migrate import migrate
from stack.clickhouse_http.testing import ClickHouseServer
from stack.local_http import local_get
from stack.ports import lend_port
from tests.consumer_groups import GroupOffsets
from tests.envelopes import EnvelopeProducer, expected_views, message
from tests.integration.views.poison import POISON
from tests.totals import settle
from tests.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[3]
PARTITIONS = 4
PATIENCE_SECONDS = 90.0
VIEWS = (PAYMENT_EVENTS, LEDGER_ENTRIES, BUYER_ORDERS, PAYOUTS, SELLER_REVENUE)
# Where a record was and when it was committed: known only to Kafka and the clock.
PLACE_COLUMNS = frozenset({"kafka_partition", "kafka_offset", "committed_at", "txid", "lsn"})
WORKER_LIMITS = {
    "session_timeout_seconds": 6,
    "heartbeat_interval_seconds": 0.5,
    "commit_interval_seconds": 0.2,
    "startup_wait_seconds": 30,
    "probe_seconds": 0.2,
}


@dataclass
class Worker:
    """A process `python -m streams.views.worker`, or of a module that is one with more to it."""

    environment: dict[str, str]
    log: Path
    port: int
    module: str = "streams.views.worker"
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.module.split()],
                cwd=CHECKOUT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/health`; status 0 while nobody answers."""
        try:
            answer = self._get("/health")
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, json.loads(answer.text)

    def _get(self, path: str) -> httpx.Response:
        return local_get(f"http://127.0.0.1:{self.port}{path}", 5.0)

    def metric(self, name: str) -> float:
        """A metric without labels, or the sum over its labels."""
        text = self._get("/metrics").text
        lines = (line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def wait_ready(self) -> None:
        """Wait until it is healthy and has partitions."""
        wait_until(self.is_ready, "it is ready", seconds=PATIENCE_SECONDS, seen=self.output)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        status, body = self.health()
        return status == 200 and bool(body["partitions"])

    def wait_ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit status, once it has ended by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.output()}") from None

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> tuple[int, float]:
        """SIGTERM; its exit status and the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.wait_ended(30.0)
        return status, time.monotonic() - started

    def output(self) -> str:
        """What it logged."""
        return self.log.read_text()


@dataclass
class Pipeline:
    """Kafka and ClickHouse with a topic, a group and a database that nobody else uses."""

    bootstrap: str
    server: ClickHouseServer
    folder: Path
    name: str = field(default_factory=lambda: f"views_{uuid.uuid4().hex}")
    sent: list[Event] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    """Those that are expected to live, or were killed or stopped by the test."""
    started: int = 0
    _client: Any = None

    def __post_init__(self) -> None:
        self.dead_letters_topic = f"{self.name}.dead"
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        self.admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])[self.name].result()
        self.producer = EnvelopeProducer(self.bootstrap, self.name, self.name)
        self._offsets = GroupOffsets(self.bootstrap, self.name)
        migrate(self.clickhouse_url)

    @property
    def clickhouse_url(self) -> str:
        """Of this test's database."""
        return self.server.url_with_credentials.rsplit("/", 1)[0] + f"/{self.name}"

    def send(self, events: Iterable[Event]) -> None:
        """Write events to the topic, in one transaction."""
        batch = list(events)
        self.producer.send(batch)
        self.sent += batch

    def send_poisoned(self, events: Sequence[Event]) -> None:
        """Write events in one transaction, with a poisoned record of each kind among them."""
        self.set_topic_config({"max.message.bytes": str(16 * 1024 * 1024)})
        neighbours = -(-len(events) // len(POISON))
        messages: list[tuple[bytes | None, bytes | None]] = []
        for number, poison in enumerate(POISON):
            near = events[number * neighbours : (number + 1) * neighbours]
            messages += [*map(message, near), (poison.key, poison.value)]
        self.producer.send_raw(messages)
        self.sent += events

    def start_worker(self, *, module: str = "streams.views.worker", **settings: Any) -> Worker:
        """Start one more worker; settings as in the environment, in small letters."""
        port = lend_port()
        changes = {
            **WORKER_LIMITS,
            "kafka_bootstrap": self.bootstrap,
            "clickhouse_url": self.clickhouse_url,
            "consumer_group": self.name,
            "payments_topic": self.name,
            "dead_letters_topic": self.dead_letters_topic,
            "home": self.folder / f"worker-{self.started}",
            "worker_metrics_port": port,
            **settings,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PURSER_")}
        environment = {f"PURSER_{name.upper()}": str(value) for name, value in changes.items()}
        log = self.folder / f"worker-{self.started}.log"
        self.started += 1
        worker = Worker(inherited | environment, log, port, module)
        self.workers.append(worker)
        return worker

    def create_dead_letters_topic(self, config: dict[str, str]) -> None:
        """Make the topic before a worker does."""
        new = NewTopic(self.dead_letters_topic, 1, 1, config=config)
        self.admin.create_topics([new])[self.dead_letters_topic].result()

    def set_topic_config(self, config: dict[str, str], topic: str | None = None) -> None:
        """Change settings of a topic, by default the one that is read."""
        name = topic or self.name
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result()

    def end(self) -> None:
        """Kill what is left and drop the database."""
        for worker in self.workers:
            worker.kill()
        self._offsets.close()
        self.query(f"DROP DATABASE IF EXISTS {self.name}")
        self._client.close()
        self._client = None

    # -- what is there

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows that ClickHouse answers."""
        if self._client is None:
            self._client = self.server.client(database=self.name)
        try:
            return [tuple(row) for row in self._client.query(sql).result_rows]
        except Exception:  # a server that was killed is asked through a new client
            self._client.close()
            self._client = None
            raise

    def count(self, table: str) -> int:
        """Rows of a table's view, each once."""
        return int(self.query(f"SELECT count() FROM {table}")[0][0])

    def committed(self) -> dict[int, int]:
        """The group's committed offsets, by partition; a partition without is left out."""
        partitions = self.admin.list_topics(self.name, timeout=10).topics[self.name].partitions
        return self._offsets.of(self.name, len(partitions))

    def written_offsets(self) -> dict[int, int]:
        """The highest offset of a row, by partition."""
        sql = "SELECT kafka_partition, max(kafka_offset) FROM payment_events_raw GROUP BY 1"
        return {int(row[0]): int(row[1]) for row in self.query(sql)}

    def dead_letter_messages(self, count: int) -> list[Message]:
        """That many messages of the dead letters' topic, and no more are there."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": uuid.uuid4().hex,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
        )
        consumer.subscribe([self.dead_letters_topic])
        found: list[Message] = []

        def has_all() -> bool:
            found.extend(consumer.consume(1_000, 0.5))
            return len(found) >= count

        try:
            wait_until(has_all, f"{count} dead letters", poll_seconds=0.0, seen=lambda: found)
            found += consumer.consume(1_000, 1.0)
        finally:
            consumer.close()
        assert len(found) == count
        return found

    # -- what must be there

    def wait_for_rows(self, count: int) -> None:
        """Wait until so many events can be read."""

        def there() -> bool:
            for worker in self.workers:
                if worker.process.poll() not in (None, 0, -signal.SIGKILL):
                    raise AssertionError(f"a worker ended:\n{worker.output()}")
            return self.count("payment_events") >= count

        wait_until(
            there,
            f"{count} events in the views",
            seconds=PATIENCE_SECONDS,
            seen=lambda: "\n".join(worker.output() for worker in self.workers),
        )

    def assert_views_are_right(self) -> None:
        """Every view is what the fold makes of all that was sent, one event at a time, in memory.

        So nothing was lost, doubled or changed on the way. That the fold itself is right is proven
        in tests/property.
        """
        self.wait_for_rows(len(self.sent))
        self.wait_for_acknowledgement()
        expected = expected_views(self.sent)
        for table in VIEWS:
            names = [name for name in table.columns if name not in PLACE_COLUMNS]
            wanted = sorted(_picked(table, names, row) for row in expected.rows(table))
            rows = self.query(f"SELECT {', '.join(names)} FROM {table.name}")
            found = sorted(_plain(row) for row in rows)
            assert len(found) == len(wanted), table.name
            wrong = [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]]
            assert not wrong, f"{table.name}: {len(wrong)} rows differ, first {wrong[0]}"

    def wait_for_roll_up(self) -> None:
        """Wait until all that was sent is rolled up, and let readers rely on it at once."""
        left = "totals_unrolled WHERE written > rolled OR written_late > rolled_late"
        wait_until(
            lambda: self.count(left) == 0,
            "all is rolled up",
            seconds=PATIENCE_SECONDS,
            seen=lambda: str(self.query(f"SELECT * FROM {left} LIMIT 10")),
        )
        settle(self._client)
        assert self.count("totals_unrolled") == 0

    def wait_for_acknowledgement(self) -> None:
        """Wait until every event of the topic that was written is committed, too."""

        def done() -> bool:
            committed = self.committed()
            return all(committed.get(p, 0) > last for p, last in self.written_offsets().items())

        wait_until(
            done,
            "all is committed",
            seconds=PATIENCE_SECONDS,
            seen=lambda: f"committed {self.committed()}, written {self.written_offsets()}",
        )


def _picked(table: Table, names: list[str], row: tuple[Any, ...]) -> tuple[Any, ...]:
    values = dict(zip(table.columns, row, strict=True))
    return _plain(tuple(values[name] for name in names))


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Times without their zone, which is UTC in ClickHouse as it is here."""
    return tuple(
        value.astimezone(UTC).replace(tzinfo=None)
        if isinstance(value, datetime) and value.tzinfo is not None
        else value
        for value in row
    )
