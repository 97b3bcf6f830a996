"""Columns are added to `payments` while everything runs, on a stack of its own: nothing notices."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from connectors.debezium.client import ConnectClient
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, run_in_background
from operations.verify import Options, VerifySettings, verify
from schemas.lifecycle import EventType as E
from schemas.postgres.guard_codes import GuardCode
from schemas.topics import CONNECTOR
from stack.native import Stack
from tests.builders import a_payment, fresh_key, rows_of
from tests.golden.record import read_topic
from tests.integration.postgres.database import insert, refusal
from tests.integration.postgres.rows import Book
from tests.waiting import wait_until
from tests.whole_stack import whole_stack
from writer.append import open_writer
from writer.postgres import PostgresStore, open_store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PAYMENTS_PER_SECOND = 15.0
PATIENCE_SECONDS = 120.0
VERIFY_SECONDS = 180.0
# The lock is asked for again rather than waited for: whoever waits for it stops all who write.
LOCK_SECONDS = 2
LOCK_TRIES_MAX = 30


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack that nobody else uses: its table is about to change."""
    with whole_stack() as stack:
        yield stack


def add_column(stack: Stack, definition: str) -> None:
    """As a migration would, by the owner."""
    with psycopg.connect(stack.endpoints.postgres_admin_dsn, autocommit=True) as session:
        session.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        for left in reversed(range(LOCK_TRIES_MAX)):
            try:
                session.execute(f"ALTER TABLE public.payments ADD COLUMN {definition}")
                return
            except psycopg.errors.LockNotAvailable:
                if not left:
                    raise


def _copied(store: PostgresStore) -> int:
    """Rows appended by COPY, as an import does; how many."""
    rows = rows_of(None, a_payment(idempotency_key=f"copied-{fresh_key()}"))
    store.append_many(rows)
    return len(rows)


def test_a_column_added_under_traffic_disturbs_nothing(own_stack: Stack) -> None:
    stack, endpoints = own_stack, own_stack.endpoints
    market = Marketplace(
        5, datetime.now(UTC), MarketplaceSettings(payments_per_second=PAYMENTS_PER_SECOND)
    )
    with (
        open_store(endpoints.postgres_dsn) as store,
        open_writer(endpoints.postgres_dsn) as writer,
        psycopg.connect(endpoints.postgres_dsn, autocommit=True) as session,
    ):
        # A session that is open all the time: what it has prepared must not stand in the way.
        others = _refused_after(session)
        traffic = Traffic(writer, market.steps(86_400))
        finish = run_in_background(traffic)
        try:
            _wait_for_events(traffic, 100)
            add_column(stack, "loyalty_points bigint NULL")
            points = _with_column(session, "loyalty_points", 12)
            others += _refused_after(session) + _copied(store)
            _wait_for_events(traffic, 200)
            # And when Debezium is away: it reads rows of both shapes from the log it has missed.
            stack.kill("connect")
            _wait_for_events(traffic, 250)
            add_column(stack, 'channel text COLLATE "C" NULL')
            channels = _with_column(session, "channel", "app")
            others += _refused_after(session) + _copied(store)
            _wait_for_events(traffic, 350)
            stack.wait_ready("connect")
        finally:
            report = finish()
    assert not report.rejections, report.rejections
    events = report.events + others + points + channels
    records = read_topic(endpoints.kafka_bootstrap, events)
    rows = [json.loads(record.value or b"")["after"] for record in records]
    assert [row["loyalty_points"] for row in rows if row.get("loyalty_points")] == [12] * points
    assert [row["channel"] for row in rows if row.get("channel")] == ["app"] * channels
    # Rows of all three shapes were on the way.
    assert len({("loyalty_points" in row, "channel" in row) for row in rows}) == 3
    _check_all_well(stack, events)


def _with_column(session: psycopg.Connection, column: str, value: object) -> int:
    """A payment whose rows set the new column, by a writer of tomorrow; how many rows."""
    book = Book()
    for row in (book.create(), book.event(E.AUTHORIZED), book.event(E.CAPTURED)):
        insert(session, row | {column: value})
    return book.seq


def _refused_after(session: psycopg.Connection) -> int:
    """Append an order, then a capture with a wrong sum, which the guards refuse; rows appended."""
    book = Book()
    insert(session, book.create())
    found = refusal(session, book.event(E.CAPTURED) | {"captured_minor": 999})
    assert found is not None, "it was accepted"
    assert (found.why, found.field) == (GuardCode.WRONG_RUNNING_SUM, "captured_minor")
    return 1


def _wait_for_events(traffic: Traffic, count: int) -> None:
    wait_until(
        lambda: traffic.report.events >= count,
        f"{count} events",
        seconds=PATIENCE_SECONDS,
        seen=lambda: traffic.report,
    )


def _check_all_well(stack: Stack, events: int) -> None:
    """Everything arrived, nothing was parked, everything runs."""
    endpoints = stack.endpoints
    settings = VerifySettings.load(
        postgres_reader_dsn=endpoints.postgres_reader_dsn, clickhouse_url=endpoints.clickhouse_url
    )
    found = verify(settings, Options(timeout_seconds=VERIFY_SECONDS))
    assert found.exit_status == 0, found.to_json()
    assert (found.postgres_events, found.clickhouse_events) == (events, events)
    assert found.dead_letters == 0
    with ConnectClient(endpoints.connect_url) as client:
        client.wait_healthy(CONNECTOR, PATIENCE_SECONDS)
    stack.wait_ready("views-worker")
