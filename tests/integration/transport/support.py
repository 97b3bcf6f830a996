"""Topics, transactions and worker processes for the tests of the transport."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.consumer_groups import GroupOffsets
from tests.waiting import wait_until

WORKER = Path(__file__).with_name("worker.py")
PARTITIONS = 4
VALUE = b"v" * 780


@dataclass
class Topic:
    """A topic of a test: what was committed to it, by partition, and what a group has committed."""

    bootstrap: str
    name: str = field(default_factory=lambda: f"transport-{uuid.uuid4().hex}")
    committed: dict[int, set[int]] = field(default_factory=dict)
    aborted: dict[int, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        # A broker that was suspended has none for a moment, and the client never asks again.
        wait_until(lambda: admin.list_topics(timeout=10).controller_id >= 0, "a controller")
        admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])[self.name].result()
        self._producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "log_level": 0,
                "transactional.id": self.name,
                "linger.ms": 1,
                "compression.type": "lz4",
            }
        )
        self._producer.init_transactions()

    def append(self, records: int, *, abort: bool = False) -> None:
        """Write records in one transaction, and end it one way or the other."""
        offsets: list[tuple[int, int]] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            offsets.append((partition, offset))

        self._producer.begin_transaction()
        for _ in range(records):
            key = uuid.uuid4().bytes
            self._producer.produce(self.name, VALUE, key=key, on_delivery=delivered)
        self._producer.flush()
        assert len(offsets) == records
        if abort:
            self._producer.abort_transaction()
        else:
            self._producer.commit_transaction()
        for partition, offset in offsets:
            where = self.aborted if abort else self.committed
            where.setdefault(partition, set()).add(offset)

    def ends(self) -> dict[int, int]:
        """The offset after each partition's last committed record."""
        return {number: max(offsets) + 1 for number, offsets in self.committed.items()}

    def count(self) -> int:
        """How many records were committed."""
        return sum(map(len, self.committed.values()))


@dataclass
class Workers:
    """Worker processes of one test; all that are left are killed at its end."""

    bootstrap: str
    folder: Path
    group: str = field(default_factory=lambda: f"group-{uuid.uuid4().hex}")
    running: list["Worker"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._offsets = GroupOffsets(self.bootstrap, self.group)

    def start(self, topic: Topic, mode: str, **settings: Any) -> "Worker":
        """Start one more; settings as in the environment, in small letters."""
        number = len(self.running)
        changes = {
            "kafka_bootstrap": self.bootstrap,
            "consumer_group": self.group,
            "home": self.folder / f"worker-{number}",
            "session_timeout_seconds": 6,
            "heartbeat_interval_seconds": 0.5,
            "commit_interval_seconds": 0.2,
            "batch_records_max": 500,
            **settings,
        }
        environment = {f"PURSER_{name.upper()}": str(value) for name, value in changes.items()}
        worker = Worker(self.folder / f"{number}.journal", self.folder / f"{number}.log")
        with worker.log_path.open("wb") as log:
            worker.process = subprocess.Popen(
                [sys.executable, WORKER, topic.name, worker.journal_path, mode],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        self.running.append(worker)
        return worker

    def handed_out(self) -> dict[int, set[int]]:
        """Offsets that any of the workers wrote down, by partition."""
        found: dict[int, set[int]] = {}
        for worker in self.running:
            for line in worker.lines():
                if "offsets" in line:
                    found.setdefault(line["partition"], set()).update(line["offsets"])
        return found

    def committed(self, topic: Topic) -> dict[int, int]:
        """What the group has committed, by partition; a partition without is left out."""
        return self._offsets.of(topic.name, PARTITIONS)

    def have_committed(self, topic: Topic) -> bool:
        """Whether the group has committed the end of every partition."""
        return self.committed(topic) == topic.ends()

    def end(self) -> None:
        """Leave nothing behind."""
        for worker in self.running:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
        self._offsets.close()


class Worker:
    """One worker process, its journal and what it logged."""

    process: subprocess.Popen[bytes]

    def __init__(self, journal_path: Path, log_path: Path) -> None:
        self.journal_path = journal_path
        self.log_path = log_path
        self._lines: list[dict[str, Any]] = []
        self._read_bytes = 0

    def lines(self) -> list[dict[str, Any]]:
        """The journal; a last line that was cut off by a kill is left out.

        It is asked for all the time and grows all the time, so only what is new is read.
        """
        if self.journal_path.exists():
            with self.journal_path.open("rb") as journal:
                journal.seek(self._read_bytes)
                whole, newline, _ = journal.read().rpartition(b"\n")
            self._lines += map(json.loads, whole.splitlines())
            self._read_bytes += len(whole) + len(newline)
        return self._lines

    def health(self) -> dict[str, Any]:
        """The last health it wrote down; empty before the first."""
        found: dict[str, Any] = {}
        for line in self.lines():
            found = line.get("health", found)
        return found

    def log(self) -> str:
        """What it logged."""
        return self.log_path.read_text()

    def terminate(self, *, seconds: float) -> tuple[int, float]:
        """Send SIGTERM; returns the exit status and how long it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds), time.monotonic() - started
