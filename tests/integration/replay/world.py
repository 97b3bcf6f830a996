"""A whole stack of the tests' own, with history and a worker, and `purser replay` as a process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import psycopg
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, run_in_background
from operations.verify import Options, Report, VerifySettings, verify
from schemas.details import MAX_DETAILS_BYTES
from schemas.ids import PaymentId
from schemas.topics import PAYMENTS_TOPIC
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.layout import write_private
from stack.native import Stack
from stack.settings import CHECKOUT
from tests.integration.postgres.database import Refused, copy, refusal
from tests.integration.postgres.rows import largest_row
from tests.waiting import wait_until
from writer.append import Appended, open_writer
from writer.commands import AnyCommand, Capture, CreatePayment, OrderLine

WORKER = "views-worker"
PATIENCE_SECONDS = 240.0
PROBE_SECONDS = 0.2
"""How often the worker looks how far it is behind."""
PROBES = 3
LARGE_ROWS = 200
ROOM_BYTES = 16 * 1024**3
RESERVE_VARIABLE = "PURSER_CLICKHOUSE_MIN_FREE_DISK_BYTES"
# The slice of history is small: all of it would fit into what one follower may catch up.
SMALL_TAIL = {"PURSER_REPLAY_TAIL_RECORDS_MAX": "2000", "PURSER_REPLAY_ROWS_MAX": "2000"}


@dataclass
class Run:
    """`purser replay` at work; its lines on standard error are gathered as they come."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    lines: list[str] = field(default_factory=list)
    output: str = ""

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "replay", *self.arguments],
            cwd=CHECKOUT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its readers can be found, and end with it
        )
        self._said = threading.Condition()
        self._silent = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                with self._said:
                    self.lines.append(line.rstrip("\n"))
                    self._said.notify_all()
        with self._said:
            self._silent = True
            self._said.notify_all()

    def wait_for(self, start: str) -> bool:
        """Wait until it says a line that starts so; False: it ended without."""

        def said() -> bool:
            return any(line.startswith(start) for line in self.lines)

        with self._said:  # at once: what a test kills at a step has to die in that step
            waited = self._said.wait_for(lambda: said() or self._silent, PATIENCE_SECONDS)
            assert waited, self.said
            return said()

    def kill(self) -> None:
        """kill -9 of the coordinator alone: its readers have to notice by themselves."""
        self.process.kill()
        self._ended()

    def finish(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self._ended()

    def _ended(self) -> int:
        # Its readers hold the other ends of both pipes: they end when it has, or soon after.
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            self.output = stdout.read()
        self._reader.join(PATIENCE_SECONDS)
        return self.process.wait(PATIENCE_SECONDS)

    @property
    def said(self) -> str:
        """All that it said, for messages of assertions."""
        return "\n".join([*self.lines, self.output])


@dataclass
class World:
    """The stack and what tests do to it."""

    stack: Stack
    client: Client

    @classmethod
    def of(cls, stack: Stack) -> Self:
        return cls(stack, connect(ClickHouseSettings.load(stack.endpoints.clickhouse_url)))

    # -- replay

    def start(self, *arguments: str, **settings: str) -> Run:
        """Start `purser replay`; settings are environment variables."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PURSER_")}
        environment = {
            **inherited,
            **self.stack.endpoints.environment(),
            "PURSER_HOME": str(self.stack.home.path),
            **SMALL_TAIL,
            **settings,
        }
        return Run(arguments, environment)

    def replay(self, *arguments: str) -> Run:
        """Run it to its end, which must be a good one."""
        run = self.start(*arguments)
        assert run.finish() == 0, run.said
        return run

    def refused(self, *arguments: str, status: int = 2, **settings: str) -> str:
        """Run it to its end, which must have this status; the last line that it said."""
        run = self.start(*arguments, **settings)
        assert run.finish() == status, run.said
        assert "Traceback" not in run.said
        return run.lines[-1]

    def digests(self) -> dict[str, dict[str, str]]:
        """Database -> table -> digest."""
        found: dict[str, Any] = json.loads(self.replay("--digest", "--json").output)
        return {
            database: {name: f"{one['rows']} {one['digest']}" for name, one in tables.items()}
            for database, tables in found["databases"].items()
        }

    # -- the stack

    def open_payment(self, key: str) -> PaymentId:
        """Append the first event of a payment of one order."""
        command = CreatePayment(
            idempotency_key=key,
            occurred_at=datetime.now(UTC),
            buyer_id="b-1",
            currency="EUR",
            psp="stripe",
            method="card",
            orders=(OrderLine(order_id="o-1", seller_id="s-1", amount_minor=2500),),
        )
        self._handle(command)
        return command.payment_id

    def capture(self, payment_id: PaymentId) -> None:
        """Append the capture of such a payment."""
        now = datetime.now(UTC)
        key = f"{payment_id}/capture"
        self._handle(Capture(idempotency_key=key, occurred_at=now, payment_id=payment_id))

    def _handle(self, command: AnyCommand) -> None:
        with open_writer(self.stack.endpoints.postgres_dsn) as writer:
            answer = writer.handle(command)
        assert isinstance(answer, Appended), answer

    @contextmanager
    def without_worker(self) -> Iterator[None]:
        """The worker is stopped while the body runs."""
        self.stack.stop(WORKER)
        try:
            yield
        finally:
            self.stack.start(WORKER)
            self.stack.wait_ready(WORKER)

    def import_history(self) -> None:
        """The slice of real orders."""
        history = CHECKOUT / "data" / "online-retail-slice.jsonl.gz"
        subprocess.run(
            [sys.executable, "-m", "cli.main", "import", str(history)],
            env={**os.environ, **self.stack.endpoints.environment()},
            check=True,
            capture_output=True,
        )

    def append_largest_rows(self) -> int:
        """As large as the table accepts; how many. One with a byte more is refused."""
        larger = largest_row(details_bytes=MAX_DETAILS_BYTES + 1)
        with psycopg.connect(self.stack.endpoints.postgres_dsn) as session:
            copy(session, [largest_row() for _ in range(LARGE_ROWS)])
            assert refusal(session, larger) == Refused(why="payments_details", field="details")
        return LARGE_ROWS

    @contextmanager
    def traffic(self, seed: int, rate: float = 4.0) -> Iterator[None]:
        """Live traffic while the body runs."""
        market = Marketplace(seed, datetime.now(UTC), MarketplaceSettings(payments_per_second=rate))
        with open_writer(self.stack.endpoints.postgres_dsn) as writer:
            finish = run_in_background(Traffic(writer, market.steps(86_400)))
            try:
                yield
            finally:
                report = finish()
        assert report.events
        assert not report.rejections

    def verify(self, timeout_seconds: float = PATIENCE_SECONDS) -> Report:
        """Against PostgreSQL."""
        settings = VerifySettings.load(
            postgres_reader_dsn=self.stack.endpoints.postgres_reader_dsn,
            clickhouse_url=self.stack.endpoints.clickhouse_url,
        )
        return verify(settings, Options(timeout_seconds=timeout_seconds))

    def assert_equal(self) -> None:
        """The views are what PostgreSQL holds."""
        report = self.verify()
        assert report.exit_status == 0, report.to_json()

    def one(self, sql: str) -> Any:
        """One value."""
        return self.client.query(sql).result_rows[0][0]

    def table_uuids(self) -> dict[str, str]:
        """Live table -> which one it is; a swap changes it."""
        rows = self.client.query(
            "SELECT name, toString(uuid) FROM system.tables WHERE database = currentDatabase()"
        ).result_rows
        return dict(rows)

    def replay_databases(self) -> int:
        """How many databases of replays there are."""
        found = self.one(
            "SELECT count() FROM system.databases WHERE match(name, '_(replay|dry_run)$')"
        )
        return int(found)

    def remove(self, table: str, where: str) -> None:
        """Delete rows behind the pipeline's back."""
        self.client.command(
            f"ALTER TABLE {table}_raw DELETE WHERE {where}", settings={"mutations_sync": 2}
        )

    def send_again(self, count: int) -> None:
        """Write records of the topic into it once more, as a connector gone back would."""
        bootstrap = self.stack.endpoints.kafka_bootstrap
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "replay-tests",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        partitions = consumer.list_topics(PAYMENTS_TOPIC).topics[PAYMENTS_TOPIC].partitions
        consumer.assign([TopicPartition(PAYMENTS_TOPIC, number, 0) for number in partitions])
        producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "replay-tests"})
        producer.init_transactions(30.0)
        producer.begin_transaction()
        for message in consumer.consume(count, 30.0):
            producer.produce(
                PAYMENTS_TOPIC,
                key=message.key(),
                value=message.value(),
                partition=message.partition(),
            )
        producer.flush(30.0)
        producer.commit_transaction(30.0)
        consumer.close()

    def topic_that_begins_at(self, first: int) -> str:
        """The name of a new topic, of one partition, that has lost everything before an offset."""
        bootstrap = self.stack.endpoints.kafka_bootstrap
        name = f"cut_off_{uuid.uuid4().hex}"
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(name, 1, 1)])[name].result()
        producer = Producer(
            {"bootstrap.servers": bootstrap, "queue.buffering.max.messages": first + 1}
        )
        for _ in range(first + 1):
            producer.produce(name, b"x", partition=0)
        producer.flush(30.0)
        place = TopicPartition(name, 0, first)
        admin.delete_records([place])[place].result()
        return name

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Fill the disk up to an eighth of the reserve for the body (see `disk_reserved`)."""
        specification = self.stack.home.specification("clickhouse").read_text()
        reserve = int(json.loads(specification)["environment"][RESERVE_VARIABLE])
        # Without a name: whatever happens to the tests, the space comes back with their process.
        with tempfile.TemporaryFile(dir=self.stack.home.path) as file:
            free = shutil.disk_usage(self.stack.home.path).free
            os.posix_fallocate(file.fileno(), 0, free - reserve + reserve // 8)
            yield

    def wait_quiet(self) -> None:
        """Wait until every event has come through, and the worker has acknowledged all of them."""
        with psycopg.connect(self.stack.endpoints.postgres_reader_dsn) as session:
            [events] = session.execute("SELECT count(*) FROM payments").fetchone() or [0]

        def is_through() -> bool:
            return bool(self.one("SELECT count() FROM payment_events") >= events)

        def has_no_lag() -> bool:
            return self.stack.worker_reports().get(WORKER, {}).get("lag_records") == 0

        wait_until(is_through, f"{events} events in the views", seconds=PATIENCE_SECONDS)
        time.sleep(PROBES * PROBE_SECONDS)  # what the worker reports is so old
        wait_until(has_no_lag, "no lag", seconds=PATIENCE_SECONDS)

    def close(self) -> None:
        """Let go."""
        self.client.close()


@contextmanager
def disk_reserved(stack: Stack) -> Iterator[None]:
    """ClickHouse keeps most of the disk in reserve while the body runs.

    So a test can fill the disk up to the reserve, and every other process of the machine has room.
    """
    free = shutil.disk_usage(stack.home.path).free
    path = stack.home.specification("clickhouse")
    before = path.read_text()
    content = json.loads(before)
    content["environment"][RESERVE_VARIABLE] = str(free - min(free // 2, ROOM_BYTES))
    _restart_clickhouse(stack, json.dumps(content))
    try:
        yield
    finally:
        _restart_clickhouse(stack, before)


def _restart_clickhouse(stack: Stack, specification: str) -> None:
    write_private(stack.home.specification("clickhouse"), specification)
    stack.stop("clickhouse")
    stack.start("clickhouse")
    stack.wait_ready("clickhouse")


def readers_of(run: Run) -> list[int]:
    """Process ids of a replay's readers."""
    found = subprocess.run(
        ["pgrep", "-P", str(run.process.pid), "-f", "spawn_main"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line) for line in found.stdout.split()]


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)
