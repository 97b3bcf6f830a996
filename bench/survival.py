"""Shared by the chaos rounds and the soak: processes to kill, and checks for afterwards.

Every event acknowledged to the traffic must be in PostgreSQL once, and `verify` must find
ClickHouse equal.
"""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from uuid import UUID

import psycopg

from operations.verify import Options, Report, VerifySettings, verify
from schemas.errors import ServiceUnavailable
from schemas.events import NewEvent
from stack.native import Stack
from stack.process import POLL_SECONDS

WORKER = "views-worker"
TARGETS = (WORKER, "connect", "kafka", "clickhouse", "postgres")
CONNECTOR_SUPERVISOR = "connector-supervisor"
MID_INSERT = "views-worker in the middle of an insert"
READY_SECONDS = 120.0
VERIFY_SECONDS = 180.0
HELD_SECONDS = 1.5
GONE_SECONDS = 10.0
ROWS_FETCHED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """`events` are in PostgreSQL; `lost` ones were acknowledged and are not."""

    events: int
    lost: int


class Acknowledged:
    """Every event whose append was acknowledged: the highest seq of each payment.

    A payment's events are numbered from 1 without gaps, so this says as much as all of them, and
    the memory for hours of traffic stays small.
    """

    def __init__(self) -> None:
        self._highest: dict[int, int] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        """The number of events."""
        with self._lock:
            return sum(self._highest.values())

    def add(self, events: Iterable[NewEvent]) -> None:
        """Remember events that were just committed."""
        with self._lock:
            for event in events:
                key = event.payment_id.int
                self._highest[key] = max(event.seq, self._highest.get(key, 0))

    def presence(self, reader_dsn: str) -> Presence:
        """Whether PostgreSQL has them; other events may be appended meanwhile."""
        with self._lock:
            expected = self._highest.copy()
        with psycopg.connect(reader_dsn) as connection, connection.cursor("present") as cursor:
            cursor.itersize = ROWS_FETCHED
            cursor.execute(
                "SELECT payment_id, count(*), max(seq) FROM payments GROUP BY payment_id"
            )
            return compare(expected, cursor)


def compare(expected: dict[int, int], found: Iterable[tuple[UUID, int, int]]) -> Presence:
    """Compare each payment's highest acknowledged seq with its rows: their number and highest seq.

    `expected` is consumed.
    """
    events = lost = 0
    for payment_id, count, highest in found:
        events += count
        lost += max(highest, expected.pop(payment_id.int, 0)) - count
    return Presence(events=events, lost=lost + sum(expected.values()))


def kill(stack: Stack, target: str) -> None:
    """kill -9, and wait until the process is gone.

    To kill during an insert, suspend the server that has to answer it first.
    """
    if target != MID_INSERT:
        _kill(stack, target)
        return
    held = stack.pid("clickhouse")
    assert held is not None
    os.kill(held, signal.SIGSTOP)
    try:
        time.sleep(HELD_SECONDS)  # traffic continues, so by now the worker waits for an insert
        _kill(stack, WORKER)
    finally:
        os.kill(held, signal.SIGCONT)


def _kill(stack: Stack, name: str) -> None:
    pid = stack.kill(name)
    deadline = time.monotonic() + GONE_SECONDS
    while stack.pid(name) == pid:  # or it would still count as ready
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"{name} (pid {pid}) survives kill -9; inspect it with `ps`")
        time.sleep(POLL_SECONDS)


def wait_all_ready(stack: Stack, names: Iterable[str] = (*TARGETS, CONNECTOR_SUPERVISOR)) -> None:
    """Wait until every process answers; raises ServiceUnavailable if one does not in time."""
    deadline = time.monotonic() + READY_SECONDS
    for name in names:
        stack.wait_ready(name, max(1.0, deadline - time.monotonic()))


def verify_stack(stack: Stack, timeout_seconds: float = VERIFY_SECONDS) -> Report:
    """The report of `purser verify`."""
    endpoints = stack.endpoints
    settings = VerifySettings.load(
        postgres_reader_dsn=endpoints.postgres_reader_dsn,
        clickhouse_url=endpoints.clickhouse_url,
        kafka_bootstrap=endpoints.kafka_bootstrap,
    )
    return verify(settings, Options(timeout_seconds=timeout_seconds))
