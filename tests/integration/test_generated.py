"""The benchmark's own payments are such as the fold makes, and the page's queries find them."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from bench.generated import (
    EVENTS_PER_PAYMENT,
    EVENTS_PER_PAYOUT,
    PAYMENTS_PER_PAYOUT,
    Generator,
    complete_totals,
)
from bench.queries import PAGE, documented_queries, measure, typical
from schemas.events import COLUMNS, Event
from schemas.views import BUYER_ORDERS, LEDGER_ENTRIES, PAYMENT_EVENTS, PAYOUTS, SELLER_REVENUE
from sinks.client import connect
from sinks.memory import MemorySink
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from streams.fold import fold_batch
from tests.clickhouse_server import database
from tests.events import NOON, records

pytestmark = pytest.mark.integration

PAYMENTS = 300
PAYOUT_COUNT = PAYMENTS // PAYMENTS_PER_PAYOUT


@pytest.fixture(scope="module")
def client(clickhouse_server_url: str) -> Iterator[Client]:
    with database(clickhouse_server_url) as url:
        migrate(url)
        settings = ClickHouseSettings.load(url)
        client = connect(settings)
        generator = Generator(client=client, total=PAYMENTS)
        generator.payments(0, PAYMENTS)
        complete_totals(settings)
        yield client
        client.close()


def event_of(row: dict[str, Any]) -> Event:
    fields = {name: plain(row[name]) for name in COLUMNS}
    for name in ("buyer_id", "psp_reference"):
        fields[name] = row[name] or None
    return Event(**fields)


@pytest.fixture(scope="module")
def folded(client: Client) -> MemorySink:
    """The views of the generated events, by the fold itself."""
    found = client.query("SELECT * FROM payment_events ORDER BY payment_id, seq")
    events = [event_of(row) for row in found.named_results()]
    assert len(events) == PAYMENTS * EVENTS_PER_PAYMENT + PAYOUT_COUNT * EVENTS_PER_PAYOUT
    batch = fold_batch(records(events), consumer="test", parked_at=NOON)
    assert not batch.dead_letters
    sink = MemorySink()
    sink.write(batch.columns)
    return sink


@pytest.mark.parametrize(
    "table",
    [PAYMENT_EVENTS, LEDGER_ENTRIES, BUYER_ORDERS, SELLER_REVENUE, PAYOUTS],
    ids=lambda table: str(table.name),
)
def test_generated_rows_are_the_folds(client: Client, folded: MemorySink, table: Any) -> None:
    # Where an event was read is made up; all else of a row follows from the event.
    made_up = {"kafka_partition", "kafka_offset", "txid", "lsn", "op", "committed_at"}
    places = [n for n, name in enumerate(table.columns) if name not in made_up]
    columns = ", ".join(table.columns[n] for n in places)
    expected = sorted(
        (tuple(plain(row[n]) for n in places) for row in folded.rows(table)), key=repr
    )
    answer = client.query(f"SELECT {columns} FROM {table.name}")
    found = sorted((tuple(map(plain, row)) for row in answer.result_rows), key=repr)
    assert len(found) >= PAYOUT_COUNT
    assert found == expected


def plain(value: Any) -> Any:
    """Enumerations as text, times with their zone: as both sides can be compared."""
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "tzinfo") and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def test_a_payments_events_come_days_apart(client: Client) -> None:
    [(first, last)] = client.query(
        "SELECT min(occurred_at), max(occurred_at) FROM payment_events WHERE direction = 'in'"
        " GROUP BY payment_id LIMIT 1"
    ).result_rows
    assert last - first >= timedelta(days=14)


def test_every_documented_query_finds_something(client: Client) -> None:
    queries = documented_queries(PAGE.read_text(encoding="utf-8"), typical(client))
    assert len(queries) >= 10
    for query in queries:
        assert "seller-1'" not in query.sql, query
        timing = measure(client, query)
        assert timing.warm_seconds > 0
        if "payouts" not in query.name:  # every generated payout is paid
            assert timing.read_rows > 0, query
