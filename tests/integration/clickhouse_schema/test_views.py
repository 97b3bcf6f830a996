"""What readers see: each row once, the derived columns, the balances, and the page about it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from clickhouse_connect.driver.client import Client

from operations.dead_letters import DeadLetters
from operations.dead_letters.audit import DEAD_LETTER_REDRIVES, RedriveOutcome, RedriveRow
from schemas.lifecycle import EventType as E
from schemas.topics import PAYMENTS_TOPIC, VIEWS_CONSUMER
from schemas.views import (
    BUYER_ORDERS,
    RECONCILIATION_LOG,
    SELLER_REVENUE,
    TABLES,
    BuyerOrderRow,
    ReconciliationRow,
    columns_of,
)
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from streams.fold import fold_batch
from tests.clickhouse_server import database
from tests.events import NOON, PAYMENT_ID, pay_in, payout, raw_record, records
from tests.strategies import history

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "views.md"
TEXT = PAGE.read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def url(clickhouse_server_url: str) -> Iterator[str]:
    """A database that has some of everything, some of it twice."""
    with database(clickhouse_server_url) as url:
        migrate(url)
        sink = ClickHouseSink(ClickHouseSettings.load(url))
        events = [
            *history(Random(7), payments=30, payouts=8, steps=20),
            *a_known_seller(),
        ]
        source = [*records(events), raw_record(b"{", partition=1, offset=10**6)]
        for _ in range(2):
            batch = fold_batch(source, consumer=VIEWS_CONSUMER, parked_at=NOON)
            assert len(batch.dead_letters) == 1
            sink.write(batch.columns)
            sink.refresh_revenue(batch.revenue_keys)
        with DeadLetters(ClickHouseSettings.load(url)) as letters:
            letters.note([a_redrive()] * 2)
        sink.write({RECONCILIATION_LOG: columns_of([a_case(1, "open", 90), a_case(2, "open", 70)])})
        sink.close()
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    client = connect(ClickHouseSettings.load(url))
    yield client
    client.close()


def a_case(version: int, resolution_status: str, actual_minor: int) -> ReconciliationRow:
    return ReconciliationRow(
        case_id="case-1",
        version=version,
        provider="stripe",
        provider_reference="txn_1",
        category="amount_differs",
        payment_id=PAYMENT_ID,
        order_id="order-1",
        seller_id="seller-1",
        currency="EUR",
        expected_minor=100,
        actual_minor=actual_minor,
        resolution_status=resolution_status,
        resolved_by="",
        note="",
        found_at=NOON,
        updated_at=NOON,
    )


def a_redrive() -> RedriveRow:
    return RedriveRow(
        topic=PAYMENTS_TOPIC,
        partition=1,
        kafka_offset=7,
        redriven_at=NOON,
        redriven_by="ann@desk",
        parked_at=NOON,
        outcome=RedriveOutcome.REDRIVEN,
        reason="",
        error="",
        payment_id=PAYMENT_ID,
        seq=1,
        row_count=5,
    )


def a_known_seller() -> list[Any]:
    """Two days of seller-k: 8,500 captured for it, 6,000 released, 500 of them refunded; payouts
    of 1,000 requested, 2,000 paid, 400 failed and 300 returned."""
    of = {"seller_id": "seller-k", "payment_id": UUID(int=77), "order_id": "order-k"}
    later = {"occurred_at": NOON + timedelta(days=1)}
    events = [
        pay_in(E.CAPTURED, seq=1, amount_minor=10_000, commission_minor=1_500, **of),
        pay_in(E.RELEASED, seq=2, amount_minor=6_000, available_delta_minor=6_000, **of),
        pay_in(
            E.REFUNDED, seq=3, amount_minor=600, commission_minor=100,
            available_delta_minor=-500, **of, **later,
        ),
    ]  # fmt: skip
    steps: list[tuple[int, list[tuple[E, int]]]] = [
        (1_000, [(E.REQUESTED, -1)]),
        (2_000, [(E.REQUESTED, -1), (E.SUBMITTED, 0), (E.PAID, 0)]),
        (400, [(E.REQUESTED, -1), (E.FAILED, +1)]),
        (300, [(E.REQUESTED, -1), (E.SUBMITTED, 0), (E.PAID, 0), (E.RETURNED, +1)]),
    ]
    for number, (amount, happened) in enumerate(steps, start=100):
        events += [
            payout(
                event_type,
                seq=seq,
                payment_id=UUID(int=number),
                seller_id="seller-k",
                amount_minor=amount,
                available_delta_minor=sign * amount,
            )
            for seq, (event_type, sign) in enumerate(happened, start=1)
        ]
    return events


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.splitlines()[0][:60])
def test_every_example_of_the_page_runs_and_finds_something(client: Client, query: str) -> None:
    assert client.query(query).result_rows


def test_the_page_has_every_table_and_view(client: Client) -> None:
    found = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    names = {row[0].removesuffix("_raw") for row in found.result_rows}
    assert names - {"schema_migrations"} == set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_page_names_every_column_and_its_type(client: Client, name: str) -> None:
    columns = client.query(
        "SELECT name, type FROM system.columns"
        " WHERE database = currentDatabase() AND table = {view:String} ORDER BY position",
        parameters={"view": name},
    )
    table = SECTIONS[name].split("| column | type | meaning |\n|---|---|---|\n")[1].split("\n\n")[0]
    described = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in table.splitlines()]
    assert described == [tuple(row) for row in columns.result_rows]


@pytest.mark.parametrize(
    "table",
    [*TABLES.values(), SELLER_REVENUE, DEAD_LETTER_REDRIVES],
    ids=lambda table: str(table.name),
)
def test_a_view_shows_each_key_once(client: Client, table: Any) -> None:
    key = ", ".join(table.key)
    twice = f"SELECT count() FROM (SELECT {key} FROM {{}} GROUP BY {key} HAVING count() > 1)"
    assert client.command(f"SELECT count() FROM {table.name}")
    assert client.command(twice.format(table.name)) == 0


def test_rows_were_really_there_twice(client: Client) -> None:
    stored, seen = (
        int(str(client.command(f"SELECT count() FROM {name}")))
        for name in ("ledger_entries_raw", "ledger_entries")
    )
    assert stored > seen > 0


def test_balances_of_a_seller_worked_out_by_hand(client: Client) -> None:
    found = client.query("SELECT * FROM seller_balances WHERE seller_id = 'seller-k'")
    expected = {
        "seller_id": "seller-k",
        "currency": "EUR",
        "pending_minor": 8_500 - 6_000,
        "available_minor": 6_000 - 500 - 1_000 - 2_000,
        "in_payout_minor": 1_000,
        "paid_out_minor": 2_000,
    }
    assert list(found.named_results()) == [expected]


def test_balances_are_the_ledger(client: Client) -> None:
    ledger = """
        SELECT account_id, currency,
            -sumIf(amount_minor, account_type = 'seller_pending'),
            -sumIf(amount_minor, account_type = 'seller_available')
        FROM ledger_entries WHERE account_type IN ('seller_pending', 'seller_available')
        GROUP BY account_id, currency ORDER BY account_id, currency"""
    balances = """
        SELECT seller_id, currency, pending_minor, available_minor FROM seller_balances
        WHERE (seller_id, currency) IN (
            SELECT account_id, currency FROM ledger_entries_raw WHERE account_type LIKE 'seller_%')
        ORDER BY seller_id, currency"""
    assert client.query(balances).result_rows == client.query(ledger).result_rows
    in_transit = """
        SELECT currency, -sum(amount_minor) FROM ledger_entries
        WHERE account_type = 'payout_in_transit' GROUP BY currency ORDER BY currency"""
    in_payout = """
        SELECT currency, sum(in_payout_minor) FROM seller_balances
        GROUP BY currency ORDER BY currency"""
    assert client.query(in_payout).result_rows == client.query(in_transit).result_rows


@pytest.mark.parametrize(
    ("captured", "refunded", "expected"),
    [
        (0, 0, "none"),
        (100, 0, "none"),
        (100, 1, "partial"),
        (100, 99, "partial"),
        (100, 100, "full"),
    ],
)
def test_refund_state(
    client: Client, url: str, captured: int, refunded: int, expected: str
) -> None:
    buyer = f"buyer-{captured}-{refunded}"
    row = BuyerOrderRow(
        buyer, "o", PAYMENT_ID, 1, "s", "EUR", "captured", "open", "none", 100, captured, refunded,
        0, "stripe", "card", NOON,
    )  # fmt: skip
    sink = ClickHouseSink(ClickHouseSettings.load(url))
    sink.write({BUYER_ORDERS: columns_of([row])})
    sink.close()
    found = client.command(
        "SELECT refund_state FROM buyer_orders WHERE buyer_id = {buyer:String}",
        parameters={"buyer": buyer},
    )
    assert found == expected


def test_the_latest_version_of_a_case_with_its_difference(client: Client) -> None:
    found = client.query("SELECT version, difference_minor FROM reconciliation_log")
    assert found.result_rows == [(2, -30)]


@pytest.mark.parametrize(
    ("view", "condition", "tables"),
    [
        ("buyer_orders", "buyer_id = 'x'", 1),
        ("payment_events", f"payment_id = '{PAYMENT_ID}'", 1),
        ("ledger_entries", "account_type = 'bank' AND account_id = 'x'", 1),
        ("seller_revenue", "seller_id = 'x'", 1),
        ("payouts", "seller_id = 'x'", 1),
        ("dead_letters", "topic = 'x' AND partition = 1 AND kafka_offset = 2", 2),
        ("seller_balances", "seller_id = 'x'", 2),
    ],
)
def test_a_condition_on_a_view_reaches_the_index(
    client: Client, view: str, condition: str, tables: int
) -> None:
    explained = client.query(f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE {condition}")
    plan = "\n".join(row[0] for row in explained.result_rows)
    conditions = re.findall(r"PrimaryKey.*?Condition: (.*?)$", plan, re.DOTALL | re.MULTILINE)
    assert len(conditions) >= tables, plan
    assert "true" not in conditions, plan
