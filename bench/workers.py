"""A separate group of views workers, a steady sender, and a watch on visible rows.

The topic, the database and the processes belong to this group only. `elasticity` judges.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

import httpx
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from sinks.migrate import migrate
from stack.local_http import local_get
from stack.native import Stack
from stack.ports import lend_port
from stack.settings import CHECKOUT

PARTITIONS = 6
RECORDS_PER_SECOND = 96
LOOK_SECONDS = 0.1
MOVING_SECONDS = 2.5
"""A partition counts as moving if it moved within this time."""
PATIENCE_SECONDS = 120.0
ANSWER_SECONDS = 1.0
STALL_EXIT_SECONDS = 20
"""For these workers. The default is longer and would only lengthen the run."""


@dataclass(slots=True)
class Sender:
    """Sends recorded messages to the partitions in turn until it is told to stop."""

    bootstrap: str
    topic: str
    messages: Iterable[tuple[bytes | None, bytes | None]]
    sent: int = 0
    exhausted: bool = False
    _stop: Event = field(default_factory=Event)

    def run(self) -> None:
        """Send at the steady rate; runs in a separate thread."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 1}
        )
        started = time.monotonic()
        for key, value in self.messages:
            wait = started + self.sent / RECORDS_PER_SECOND - time.monotonic()
            if self._stop.wait(max(0.0, wait)):
                break
            producer.produce(self.topic, value, key, partition=self.sent % PARTITIONS)
            producer.poll(0)
            self.sent += 1
        else:
            self.exhausted = True
        producer.flush(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Stop sending."""
        self._stop.set()


class Watch:
    """Polls continuously when each partition's newest visible row changes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._newest: dict[int, int] = {}
        self._moved_at: dict[int, float] = {}
        self._longest: dict[int, float] = {}
        self._stop = Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Poll until stopped; runs in a separate thread."""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
                self.failure = error
                return

    def _look(self) -> None:
        rows = self._client.query(
            "SELECT kafka_partition, max(kafka_offset) FROM payment_events_raw GROUP BY 1"
        ).result_rows
        now = time.monotonic()
        for partition, offset in rows:
            waited = now - self._moved_at.get(partition, now)
            self._longest[partition] = max(self._longest.get(partition, 0.0), waited)
            if self._newest.get(partition) != offset:
                self._newest[partition] = offset
                self._moved_at[partition] = now

    def stop(self) -> None:
        """Stop polling."""
        self._stop.set()

    def begin(self) -> None:
        """Forget earlier waits of the partitions."""
        now = time.monotonic()
        # A wait in progress at this moment counts for the new case.
        self._longest = {number: now - at for number, at in list(self._moved_at.items())}

    def all_move(self) -> bool:
        """Whether every partition moved just now."""
        if self.failure is not None:
            raise self.failure
        now = time.monotonic()
        moved = list(self._moved_at.values())
        return len(moved) == PARTITIONS and all(now - at < MOVING_SECONDS for at in moved)

    def stalls(self) -> list[float]:
        """The longest wait of each partition since `begin`."""
        return list(self._longest.values())


class Group:
    """The workers of this section, with a separate topic, consumer group and database."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._folder = folder
        self.name = f"elasticity_{uuid.uuid4().hex[:8]}"
        self.bootstrap = stack.endpoints.kafka_bootstrap
        self.clickhouse_url = stack.endpoints.clickhouse_url.rsplit("/", 1)[0] + f"/{self.name}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}
        self._ending = Event()
        self._lock = Lock()

    def create(self) -> None:
        """Create the topic and the database."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])[self.name].result()
        migrate(self.clickhouse_url)

    def start(self, name: str) -> None:
        """Start a worker; an earlier one of this name must have ended."""
        home = self._folder / name
        home.mkdir(exist_ok=True)
        self._ports[name] = lend_port()
        given = {key: each for key, each in os.environ.items() if not key.startswith("PURSER_")}
        with (home / "log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "bench.hanging"],
                cwd=CHECKOUT,
                env={
                    **given,
                    "PURSER_KAFKA_BOOTSTRAP": self.bootstrap,
                    "PURSER_CLICKHOUSE_URL": self.clickhouse_url,
                    "PURSER_CONSUMER_GROUP": self.name,
                    "PURSER_PAYMENTS_TOPIC": self.name,
                    "PURSER_DEAD_LETTERS_TOPIC": f"{self.name}.dead",
                    "PURSER_HOME": str(home),
                    "PURSER_WORKER_INSTANCE": name,
                    "PURSER_STALL_EXIT_SECONDS": str(STALL_EXIT_SECONDS),
                    "PURSER_WORKER_METRICS_PORT": str(self._ports[name]),
                },
                stdout=log,
                stderr=log,
            )

    def has_partitions(self, name: str) -> bool:
        """Whether a worker answers and has a share of the partitions."""
        return has_partitions(self._ports[name])

    def send_signal(self, name: str, number: int) -> None:
        """Signal a worker."""
        self._processes[name].send_signal(number)

    def wait_ended(self, name: str) -> None:
        """Wait until a worker has ended."""
        self._processes[name].wait(PATIENCE_SECONDS)

    def restart_when_it_ends(self, name: str) -> None:
        """Restart a worker whenever it ends, as a supervisor does."""

        def supervise() -> None:
            while not self._ending.is_set():
                self._processes[name].wait()
                with self._lock:
                    if not self._ending.is_set():
                        self.start(name)

        Thread(target=supervise, daemon=True).start()

    def end(self) -> None:
        """Leave nothing running."""
        with self._lock:
            self._ending.set()
        for process in self._processes.values():
            process.kill()
            process.wait()


def has_partitions(port: int) -> bool:
    """Whether the worker with this metrics port answers and has a share of the partitions."""
    try:
        url = f"http://127.0.0.1:{port}/health"
        return bool(local_get(url, ANSWER_SECONDS).json()["partitions"])
    except httpx.TransportError:
        return False
