"""What the views show: each row once, amounts, the balances; and that their page is true."""

import os
import re
import subprocess
from datetime import UTC
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from clickhouse_connect.driver.client import Client

from operations.dead_letters.audit import DEAD_LETTER_REDRIVES
from schemas.clickhouse.catalogue import VIEWS
from schemas.clickhouse.view import Amount, View
from schemas.money import CURRENCY_EXPONENTS, MAX_AMOUNT_MINOR
from schemas.views import (
    BUYER_ORDERS,
    LEDGER_ENTRIES,
    PAYOUTS,
    SELLER_REVENUE,
    TABLES,
    TOTALS,
    BuyerOrderRow,
    PayoutRow,
    columns_of,
)
from sinks.clickhouse import ClickHouseSink
from sinks.settings import ClickHouseSettings
from tests.events import NOON, PAYMENT_ID
from tests.totals import note, roll_up

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "views.md"
TEXT = PAGE.read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: str(query.splitlines()[0][:60]))
def test_every_example_of_the_page_finds_something_for_the_reader(
    reader: Client, query: str
) -> None:
    assert reader.query(query).result_rows


BLOCKS = dict(re.findall(r"```(sh|python)\n(.*?)```", TEXT, re.DOTALL))


def test_the_page_connects_with_curl_as_printed(reader_url: str) -> None:
    whole = BLOCKS["sh"]
    assert whole.startswith('eval "$(purser env)"\n')
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", whole.split("\n", 1)[1]],
        env={**os.environ, "PURSER_CLICKHOUSE_READER_URL": reader_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "available" in answer.stdout
    assert "seller-" in answer.stdout


def test_the_page_connects_with_python_as_printed(
    reader_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PURSER_CLICKHOUSE_READER_URL", reader_url)
    found: dict[str, Any] = {}
    exec(BLOCKS["python"], found)
    assert found["rows"]
    assert all(isinstance(net, Decimal) for _, net in found["rows"])


NOT_FOR_READERS = {
    *("schema_migrations", "source_topics"),
    *("recent_entries", "recent_entries_copy", "totals", "totals_unrolled"),
}
"""What other views follow from, and what only Purser's programs read."""


def test_the_page_has_every_table_and_view(client: Client) -> None:
    found = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    names = {row[0].removesuffix("_raw") for row in found.result_rows}
    assert names - NOT_FOR_READERS == set(SECTIONS)


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: str(view.name))
def test_a_view_has_the_columns_types_and_comments_of_the_catalogue(
    client: Client, view: View
) -> None:
    columns = client.query(
        "SELECT name, type, comment FROM system.columns"
        " WHERE database = currentDatabase() AND table = {view:String} ORDER BY position",
        parameters={"view": view.name},
    )
    expected = [(column.name, column.type, column.meaning) for column in view.columns]
    assert columns.result_rows == expected
    # What the query itself gives, before it is fitted to the columns that the view declares.
    [(query, shows)] = client.query(
        "SELECT as_select, comment FROM system.tables"
        " WHERE database = currentDatabase() AND name = {view:String}",
        parameters={"view": view.name},
    ).result_rows
    given = client.query(f"DESCRIBE ({query})").result_rows
    assert [row[:2] for row in given] == [(name, type_) for name, type_, _ in expected]
    assert shows == view.shows


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


@pytest.mark.parametrize(
    ("table", "pending"),
    [
        (LEDGER_ENTRIES.raw, "sumIf(amount_minor, account_type = 'seller_pending')"),
        (TOTALS, "sumIf(seller_pending_minor, kind = 'total' AND level = 'day')"),
    ],
)
def test_a_sum_is_right_before_anything_is_merged(
    client: Client, url: str, table: str, pending: str
) -> None:
    """The fault that the plain names are there to prevent, before a roll-up and after it."""
    note_everything(client, url)
    if table == TOTALS:
        assert roll_up(url).days
    client.command(f"SYSTEM STOP MERGES {table}")
    try:
        client.command(f"INSERT INTO {table} SELECT * FROM {table} FINAL")
        once, both, shown, balances, days = (
            -int(str(client.command(sql)))
            for sql in (
                f"SELECT {pending} FROM {table} FINAL WHERE currency = 'EUR'",
                f"SELECT {pending} FROM {table} WHERE currency = 'EUR'",
                "SELECT -sum(pending_delta_minor) FROM seller_revenue WHERE currency = 'EUR'",
                "SELECT -sum(pending_minor) FROM seller_balances WHERE currency = 'EUR'",
                "SELECT sum(amount_minor) FROM account_days"
                " WHERE currency = 'EUR' AND account_type = 'seller_pending'",
            )
        )
        assert both >= 2 * once > 0
        assert shown == balances == days == once
        [(in_euros,)] = client.query(
            "SELECT sum(pending_delta) FROM seller_revenue WHERE currency = 'EUR'"
        ).result_rows
        assert in_euros == Decimal(once).scaleb(-2)
    finally:
        client.command(f"SYSTEM START MERGES {table}")


AMOUNTS_TRIED = (0, 1, -1, 5, -99, 123_456_789, MAX_AMOUNT_MINOR, 2**63 - 1, -(2**63))


def test_amounts_in_major_units_are_exact_for_every_currency(client: Client, url: str) -> None:
    rows = [
        PayoutRow(
            f"major-{currency}", UUID(int=number), 1, currency, amount, "paid", "tipalti", "", "",
            NOON,
        )
        for currency in CURRENCY_EXPONENTS
        for number, amount in enumerate(AMOUNTS_TRIED)
    ]  # fmt: skip
    sink = ClickHouseSink(ClickHouseSettings.load(url))
    sink.write({PAYOUTS: columns_of(rows)})
    sink.close()
    found = client.query(
        "SELECT currency, amount_minor, amount FROM payouts WHERE startsWith(seller_id, 'major-')"
    ).result_rows
    with localcontext(prec=38):
        expected = {
            (currency, amount, Decimal(amount).scaleb(-exponent))
            for currency, exponent in CURRENCY_EXPONENTS.items()
            for amount in AMOUNTS_TRIED
        }
    assert set(found) == expected
    assert len(found) == len(expected)
    sums = client.query(
        "SELECT currency, sum(amount) FROM payouts"
        " WHERE startsWith(seller_id, 'major-') GROUP BY currency"
    ).result_rows
    assert dict(sums) == {
        currency: Decimal(sum(AMOUNTS_TRIED)).scaleb(-exponent)
        for currency, exponent in CURRENCY_EXPONENTS.items()
    }
    client.command(
        "ALTER TABLE payouts_raw DELETE WHERE startsWith(seller_id, 'major-')",
        settings={"mutations_sync": 2},
    )


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: str(view.name))
def test_both_forms_of_every_amount_of_a_view_agree(client: Client, view: View) -> None:
    amounts = [content for content in view.contents if isinstance(content, Amount)]
    for amount in amounts:
        rows = client.query(
            f"SELECT currency, {amount.minor}, {amount.name} FROM {view.name}"
        ).result_rows
        assert rows
        for currency, minor, major in rows:
            assert major == Decimal(minor).scaleb(-CURRENCY_EXPONENTS[currency])


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
        "pending": Decimal("25.00"),
        "available_minor": 6_000 - 500 - 1_000 - 2_000,
        "available": Decimal("25.00"),
        "in_payout_minor": 1_000,
        "in_payout": Decimal("10.00"),
        "paid_out_minor": 2_000,
        "paid_out": Decimal("20.00"),
        # Two of the capture, the release and the refund each, one of each payout's way out or back.
        "entry_count": 2 + 2 + 2 + 4 + 2,
        "payout_event_count": 1 + 3 + 2 + 4,
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
        ("seller_revenue", "seller_id = 'x'", 2),
        ("payouts", "seller_id = 'x'", 1),
        ("dead_letters", "topic = 'x' AND partition = 1 AND kafka_offset = 2", 2),
        ("seller_balances", "seller_id = 'x'", 3),
        ("account_days", "account_type = 'bank' AND account_id = 'x'", 2),
        ("account_balances", "account_type = 'bank' AND account_id = 'x'", 2),
    ],
)
def test_a_condition_on_a_view_reaches_the_index(
    client: Client, url: str, view: str, condition: str, tables: int
) -> None:
    note_everything(client, url)  # so that views of totals read both totals and entries
    explained = client.query(f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE {condition}")
    plan = "\n".join(row[0] for row in explained.result_rows)
    conditions = re.findall(r"PrimaryKey.*?Condition: (.*?)$", plan, re.DOTALL | re.MULTILINE)
    assert len(conditions) >= tables, plan
    assert "true" not in conditions, plan
    if "'x'" in condition:
        assert all("'x'" in each for each in conditions), plan


def note_everything(client: Client, url: str) -> None:
    """Open all buckets again."""
    minutes = client.query("SELECT DISTINCT recorded_minute FROM ledger_entries").result_rows
    note(url, [minute.replace(tzinfo=UTC) for (minute,) in minutes])
