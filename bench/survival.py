"""Shared by the chaos rounds and the soak: processes to kill, and checks for afterwards.

Every event acknowledged to the traffic must be in PostgreSQL once, and `verify` must find
ClickHouse equal.
"""

import os
import signal
import time
from collections.abc import Iterable
from threading import Lock
from uuid import UUID

import psycopg

from operations.verify import Options, Report, VerifySettings, verify
from schemas.events import Event
from stack.native import Stack

WORKER = "views-worker"
TARGETS = (WORKER, "connect", "kafka", "clickhouse", "postgres")
CONNECTOR_SUPERVISOR = "connector-supervisor"
MID_INSERT = "views-worker in the middle of an insert"
READY_SECONDS = 120.0
VERIFY_SECONDS = 180.0
HELD_SECONDS = 1.5
ROWS_FETCHED = 20_000


class Acknowledged:
    """Every event whose append was acknowledged."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, events: tuple[Event, ...]) -> None:
        """Remember events that were just committed."""
        with self._lock:
            self.keys.update(_key(event.payment_id, event.seq) for event in events)

    def lost(self, reader_dsn: str) -> int:
        """The number of these events that PostgreSQL does not have."""
        left = self.keys.copy()
        with psycopg.connect(reader_dsn) as connection, connection.cursor("present") as cursor:
            cursor.itersize = ROWS_FETCHED
            cursor.execute("SELECT payment_id, seq FROM payments")
            for payment_id, seq in cursor:
                left.discard(_key(payment_id, seq))
        return len(left)


def _key(payment_id: UUID, seq: int) -> bytes:
    # There are hundreds of thousands; a tuple of two objects would take four times the memory.
    return payment_id.bytes + seq.to_bytes(4)


def kill(stack: Stack, target: str) -> None:
    """kill -9. To kill during an insert, suspend the server that has to answer it first."""
    if target != MID_INSERT:
        stack.kill(target)
        return
    held = stack.pid("clickhouse")
    assert held is not None
    os.kill(held, signal.SIGSTOP)
    try:
        time.sleep(HELD_SECONDS)  # traffic continues, so by now the worker waits for an insert
        stack.kill(WORKER)
    finally:
        os.kill(held, signal.SIGCONT)


def wait_all_ready(stack: Stack, names: Iterable[str] = (*TARGETS, CONNECTOR_SUPERVISOR)) -> None:
    """Wait until every process answers; raises ServiceUnavailable if one does not in time."""
    deadline = time.monotonic() + READY_SECONDS
    for name in names:
        stack.wait_ready(name, max(1.0, deadline - time.monotonic()))


def verify_stack(stack: Stack) -> Report:
    """The report of `purser verify`."""
    endpoints = stack.endpoints
    settings = VerifySettings.load(
        postgres_reader_dsn=endpoints.postgres_reader_dsn,
        clickhouse_url=endpoints.clickhouse_url,
        kafka_bootstrap=endpoints.kafka_bootstrap,
    )
    return verify(settings, Options(timeout_seconds=VERIFY_SECONDS))
