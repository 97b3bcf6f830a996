"""What every run of the section needs: a filled topic, a database, processes, and their CPU."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import mkdtemp
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
from clickhouse_connect.driver.client import Client

from bench.peers.topic import fill
from bench.sections import Bench
from bench.servers import cpu_seconds
from schemas.errors import ServiceUnavailable
from schemas.views import PAYMENT_EVENTS, RAW_SUFFIX
from sinks.client import connect
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from stack.native import Stack
from stack.settings import CHECKOUT
from streams.fold import FOLDED_TABLES

STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of one or several processes; `server_seconds` is ClickHouse's CPU meanwhile."""

    events: int
    seconds: float
    cpu_seconds: float
    server_seconds: float
    rows: int

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A topic that is filled once, and a database that is emptied before each run."""

    client: Client
    stack: Stack
    topic: str
    events: int
    amount_minor: int
    last_offsets: Mapping[int, int]
    environment: Mapping[str, str] = field(repr=False)

    def empty(self) -> None:
        """Delete all rows."""
        for table in FOLDED_TABLES:
            self.client.command(f"TRUNCATE TABLE {table.raw}")

    def rows(self, view: str = PAYMENT_EVENTS.name) -> int:
        """Rows of a view's raw table, including duplicates."""
        return int(self.client.query(f"SELECT count() FROM {view}{RAW_SUFFIX}").result_rows[0][0])

    def events_once(self) -> int:
        """Distinct events: when a worker joins, others may read a few records again."""
        query = f"SELECT count() FROM {PAYMENT_EVENTS.raw} FINAL"
        return int(self.client.query(query).result_rows[0][0])

    def is_complete(self) -> bool:
        """Whether every partition's last record is there. Polled often, so it must be cheap."""
        query = f"SELECT kafka_partition, max(kafka_offset) FROM {PAYMENT_EVENTS.raw} GROUP BY 1"
        return dict(self.client.query(query).result_rows) == self.last_offsets

    def server_seconds(self) -> float:
        """CPU seconds of ClickHouse so far."""
        return cpu_seconds(self.stack)["clickhouse"]

    def check(self, name: str, *, whole: bool) -> None:
        """Raise ServiceUnavailable unless all events arrived, with the sum of their amounts."""
        if not whole:
            return
        found = self.client.query(
            "SELECT uniqExact(payment_id, seq), sum(toInt128(amount_minor))"
            f" FROM {PAYMENT_EVENTS.raw} FINAL"
        ).result_rows[0]
        if found != (self.events, self.amount_minor):
            raise ServiceUnavailable(
                f"{name}: ended with {found}, not {(self.events, self.amount_minor)};"
                " its rate is invalid"
            )


@contextmanager
def prepared(bench: Bench) -> Iterator[Field]:
    """A separate topic and database, so that no other section sees them."""
    endpoints = bench.stack.endpoints
    topic, database = f"bench.peers-{uuid4()}", "purser_bench_peers"
    address = urlsplit(endpoints.clickhouse_url)
    url = address._replace(path=f"/{database}").geturl()
    with connect(ClickHouseSettings.load(endpoints.clickhouse_url)) as admin:
        admin.command(f"DROP DATABASE IF EXISTS {database}")
        admin.command(f"CREATE DATABASE {database}")
        migrate(url)
        filled = fill(endpoints.kafka_bootstrap, topic, bench.events, bench.seed)
        with connect(ClickHouseSettings.load(url)) as client:
            yield Field(
                client=client,
                stack=bench.stack,
                topic=topic,
                events=bench.events,
                amount_minor=filled.amount_minor,
                last_offsets=filled.last_offsets,
                environment={
                    **os.environ,
                    **endpoints.environment(),
                    "PURSER_CLICKHOUSE_URL": url,
                    "PURSER_PAYMENTS_TOPIC": topic,
                    "PYTHONPATH": str(CHECKOUT),
                },
            )
        admin.command(f"DROP DATABASE {database}")


def started(where: Field, command: list[str], group: str, **extra: str) -> psutil.Popen:
    return psutil.Popen(
        command,
        env={
            **where.environment,
            **extra,
            "PURSER_CONSUMER_GROUP": group,
            "PURSER_HOME": mkdtemp(prefix="purser-bench-"),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def spent_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds, user and system, of these processes so far."""
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def end(processes: Sequence[psutil.Popen]) -> None:
    """Stop these processes, and kill those that do not stop."""
    for process in processes:
        process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
    for left in alive:
        left.kill()
        left.wait()
