"""Sums of money in every view are those of Python's integers, however large.

The views come from the catalogue: one with a new amount fails here until its sum is stated.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, get_type_hints
from uuid import UUID

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.accounts import SELLER_ACCOUNTS
from schemas.clickhouse.catalogue import VIEWS
from schemas.clickhouse.view import Amount
from schemas.money import CURRENCY_EXPONENTS, MAX_AMOUNT_MINOR
from schemas.views import (
    LEDGER_ENTRIES,
    PAYOUTS,
    RECENT_ENTRIES,
    RECONCILIATION_LOG,
    SELLER_REVENUE,
    TABLES,
    TOTALS,
    RevenueKey,
    Table,
    columns_of,
)
from sinks import queries
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.memory import totals_of
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from tests.clickhouse_server import database
from tests.totals import note, roll_up, settle

pytestmark = pytest.mark.integration

NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)
KEY = RevenueKey("seller", "IRR", NOON.date())
DIGITS = CURRENCY_EXPONENTS[KEY.currency]
# Each in turn, so that every total has its part of the amounts.
EVENTS = ("captured", "refunded", "dispute_lost", "released")
STATUSES = ("requested", "paid")
ACCOUNT_TYPES = sorted(SELLER_ACCOUNTS)
MANY = 10_000 * len(EVENTS)
"""So many rows that even a total of one kind of event has more than 64 bits hold."""

OF_MONEY = [
    table for table in TABLES.values() if any(name.endswith("_minor") for name in table.columns)
]
Rows = Mapping[Table, list[Any]]


@dataclass(frozen=True, slots=True)
class Own:
    """A database that the tests of this module fill and empty."""

    url: str
    client: Client
    sink: ClickHouseSink

    def empty(self) -> None:
        """Leave no row that a view adds up."""
        for name in (*(table.raw for table in OF_MONEY), RECENT_ENTRIES, TOTALS):
            self.client.command(f"TRUNCATE TABLE {name}")


@pytest.fixture(scope="module")
def own(clickhouse_server_url: str) -> Iterator[Own]:
    with database(clickhouse_server_url) as url:
        migrate(url)
        client = connect(ClickHouseSettings.load(url))
        sink = ClickHouseSink(ClickHouseSettings.load(url))
        yield Own(url, client, sink)
        sink.close()
        client.close()


def rows_with(table: Table, amounts: Sequence[int]) -> list[Any]:
    """One row for each amount; its columns of money begin with that amount and take turns."""
    hints = get_type_hints(table.row_type)
    money = [name for name in table.columns if name.endswith("_minor")]
    by_type: Mapping[Any, Any] = {str: "", datetime: NOON, date: KEY.day}

    def value(name: str, number: int) -> Any:
        if name in money:
            return amounts[(number + money.index(name)) % len(amounts)]
        match name:
            case "seller_id" | "account_id":
                return KEY.seller_id
            case "currency":
                return KEY.currency
            case "account_type":
                return ACCOUNT_TYPES[number % len(ACCOUNT_TYPES)]
            case "event_type":
                return EVENTS[number // len(ACCOUNT_TYPES) % len(EVENTS)]
            case "status":
                return STATUSES[number % len(STATUSES)]
            case "case_id" | "order_id":
                return str(number)
        if name.endswith("_id"):
            return UUID(int=number + 1) if hints[name] is not str else str(number)
        return by_type.get(hints[name], 1)

    return [
        table.row_type(*(value(name, number) for name in table.columns))
        for number in range(len(amounts))
    ]


def sums_of(rows: Rows) -> dict[tuple[str, str], int]:
    """(view, amount) -> the sum over all rows, by Python's integers."""
    sums = {
        (table.name, name.removesuffix("_minor")): sum(getattr(row, name) for row in rows[table])
        for table in rows
        for name in table.columns
        if name.endswith("_minor")
    }
    case = RECONCILIATION_LOG.name
    sums[case, "difference"] = sums[case, "actual"] - sums[case, "expected"]
    totals = totals_of(KEY, rows[LEDGER_ENTRIES])._asdict()
    for name, total in totals.items():
        if name.endswith("_minor"):
            sums[SELLER_REVENUE.name, name.removesuffix("_minor")] = total
    of_entries = sums[LEDGER_ENTRIES.name, "amount"]
    sums["account_days", "amount"] = sums["account_balances", "balance"] = of_entries
    sums["seller_balances", "pending"] = totals["pending_delta_minor"]
    sums["seller_balances", "available"] = totals["available_delta_minor"]
    for name, status in (("in_payout", "requested"), ("paid_out", "paid")):
        sums["seller_balances", name] = sum(
            row.amount_minor for row in rows[PAYOUTS] if row.status == status
        )
    return sums


def both_forms(minor: int) -> tuple[int, Decimal]:
    """An amount in minor and in major units."""
    with localcontext(prec=38):
        return minor, Decimal(minor).scaleb(-DIGITS)


AMOUNTS = st.one_of(
    st.sampled_from([2**63 - 1, -(2**63), MAX_AMOUNT_MINOR, -MAX_AMOUNT_MINOR]),
    st.integers(-(2**63), 2**63 - 1),
)


@settings(max_examples=6)
@example(amounts=[MAX_AMOUNT_MINOR] * MANY)
@given(amounts=st.lists(AMOUNTS, min_size=1, max_size=50))
def test_a_sum_of_any_amounts_is_exact_in_every_view(own: Own, amounts: list[int]) -> None:
    own.empty()
    rows = {table: rows_with(table, amounts) for table in OF_MONEY}
    own.sink.write({table: columns_of(of_table) for table, of_table in rows.items()})
    own.sink.note_minutes([NOON])
    assert_exact(own.client, rows)
    assert roll_up(own.url).days == 1
    assert_exact(own.client, rows)


def assert_exact(client: Client, rows: Rows) -> None:
    """All sums, in both forms."""
    expected = sums_of(rows)
    for view in VIEWS.values():
        amounts_of_view = [content for content in view.contents if isinstance(content, Amount)]
        if amounts_of_view:
            sums = ", ".join(f"sum({each.minor}), sum({each.name})" for each in amounts_of_view)
            [found] = client.query(f"SELECT {sums} FROM {view.name}").result_rows
            totals = [expected[view.name, each.name] for each in amounts_of_view]
            assert list(found) == [form for total in totals for form in both_forms(total)], view

    balances = dict.fromkeys(ACCOUNT_TYPES, 0)
    for entry in rows[LEDGER_ENTRIES]:
        balances[entry.account_type] += entry.amount_minor
    found_balances = {
        balance.account_type: balance.balance_minor for balance in queries.trial_balance(client)
    }
    assert balances == dict.fromkeys(balances, 0) | found_balances
    [top] = queries.top_sellers(client, limit=1)
    assert top.net_minor == expected[SELLER_REVENUE.name, "net"]


DAYS = 5 * 365


def test_five_years_of_a_currency_of_10_to_the_8_a_dollar_fit_with_room(own: Own) -> None:
    """A million payments a day of a hundred dollars each, in rials, all of one seller."""
    day = 10**6 * 100 * 10**8
    total = DAYS * day
    assert total > 2**63
    # The smallest room is in the decimals of four digits: ten thousand million times as much fits.
    assert total * 10**10 * 10**4 < 10**38
    own.empty()
    first = datetime(2020, 1, 1, tzinfo=UTC)
    own.client.command(
        f"INSERT INTO {TOTALS} (kind, level, account_id, currency, day, bucket, gross_minor,"
        " seller_pending_minor, seller_entry_count, version)"
        " SELECT 'total', 'day', 'seller', 'IRR', toDate(bucket),"
        f" toDateTime('{first:%F}', 'UTC') + INTERVAL number DAY AS bucket,"
        f" toInt128({day}), -toInt128({day}), 2000000, 2000000 FROM numbers({DAYS})"
    )
    # As after the roll-up of each day, when its month is not rolled up yet.
    note(own.url, [first + timedelta(days=number) for number in range(DAYS)])
    own.client.command(
        f"INSERT INTO {TOTALS} (kind, level, bucket, version)"
        " SELECT note.1, note.2, note.3, note.4 FROM"
        " (SELECT arrayJoin([('rolled_late', level, bucket, written_late),"
        " ('written', 'month', toDateTime(toStartOfMonth(bucket), 'UTC'), 1)]) AS note"
        " FROM totals_unrolled)"
    )
    settle(own.client)
    for of_days in (True, False):
        if not of_days:
            assert roll_up(own.url).months == 60
        for shown in (
            "SELECT sum(gross_minor), sum(gross) FROM seller_revenue",
            "SELECT pending_minor, pending FROM seller_balances",
            "SELECT -sum(amount_minor), -sum(amount) FROM account_days",
            "SELECT -balance_minor, -balance FROM account_balances",
        ):
            assert own.client.query(shown).result_rows == [both_forms(total)]


def test_wide_numbers_in_json_and_arrow_are_as_the_page_says(reader: Client) -> None:
    query = "SELECT toInt128('9500000000000000000') AS net_minor"
    as_number, as_text = (
        json.loads(reader.raw_query(query, settings=quoted, fmt="JSONEachRow"))["net_minor"]
        for quoted in ({}, {"output_format_json_quote_64bit_integers": 1})
    )
    assert (as_number, as_text) == (9_500_000_000_000_000_000, "9500000000000000000")
    table = reader.query_arrow("SELECT net_minor, net FROM seller_revenue LIMIT 1")
    assert [str(field.type) for field in table.schema] == [
        "fixed_size_binary[16]",
        "decimal128(38, 4)",
    ]
