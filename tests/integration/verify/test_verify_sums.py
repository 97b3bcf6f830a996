"""Sums above 64 bits: right where they are shown, and no wrapped figure is proven equal."""

from collections.abc import Callable

import psycopg
import pytest

from operations.verify import Report, Verdict
from schemas.clickhouse.generate import view_sql
from schemas.clickhouse.totals_views import (
    ACCOUNT_BALANCES,
    ACCOUNT_DAYS,
    SELLER_BALANCES,
    SELLER_REVENUE,
)
from schemas.clickhouse.view import View
from schemas.lifecycle import Direction
from schemas.money import MAX_AMOUNT_MINOR
from schemas.views import TOTALS, RevenueKey
from sinks import roll_up
from tests.integration.postgres.database import insert
from tests.integration.postgres.rows import Book
from tests.integration.verify.world import (
    DAY,
    LARGEST_ORDERS,
    LONG_AGO,
    SELLERS,
    World,
    finding,
)
from tests.totals import note
from writer.postgres import open_store

pytestmark = pytest.mark.integration

TOTAL = LARGEST_ORDERS * MAX_AMOUNT_MINOR
WRAPPED = TOTAL - 2**64
KEY = RevenueKey(SELLERS[0], "IRR", DAY.date())


def _verdicts(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is Verdict.DIVERGED}


@pytest.mark.parametrize("is_rolled_up", [False, True])
def test_a_total_above_64_bits_is_right_everywhere_and_equal(
    largest_world: World, is_rolled_up: bool
) -> None:
    world = largest_world
    note_again(world)
    if is_rolled_up:
        world.roll_up()
    with psycopg.connect(world.database.reader) as session:
        [(captured,)] = session.execute(
            "SELECT sum(amount_minor) FROM payments WHERE event_type = 'captured'"
        ).fetchall()
    assert captured == TOTAL > 2**63
    for shown in (
        "SELECT gross_minor FROM seller_revenue",
        "SELECT net_minor FROM seller_revenue",
        "SELECT available_minor FROM seller_balances",
        "SELECT -amount_minor FROM account_days WHERE account_type = 'seller_available'",
        "SELECT balance_minor FROM account_balances WHERE account_type = 'psp_receivable'",
        "SELECT -sum(amount_minor) FROM ledger_entries WHERE account_type = 'seller_available'",
        "SELECT sum(amount_minor) FROM payment_events WHERE event_type = 'captured'",
        "SELECT sum(captured_minor) FROM buyer_orders",
    ):
        assert world.one(shown) == TOTAL, shown
    report = world.verify()
    assert report.exit_status == 0, report.to_json()


def test_a_payout_from_a_balance_above_64_bits_is_accepted(largest_world: World) -> None:
    database = largest_world.database
    with open_store(database.writer) as store:
        assert store.available_minor(KEY.seller_id, KEY.currency) == TOTAL
    book = Book(direction=Direction.OUT, currency=KEY.currency)
    with psycopg.connect(database.writer) as session:
        insert(session, book.request(amount=MAX_AMOUNT_MINOR, seller_id=KEY.seller_id))
        session.rollback()


def note_again(world: World) -> None:
    """As if a batch came again: all is read from the entries until it is rolled up."""
    note(world.clickhouse_url, [LONG_AGO])


def _store_a_wrapped_total(world: World, _: pytest.MonkeyPatch) -> None:
    world.replace(
        "totals",
        "toInt128(toInt64(gross_minor)) AS gross_minor",
        "kind = 'total' AND level = 'day'",
    )


def _add_up_in_64_bits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = roll_up._LATE_DAYS.replace("toInt128(amount_minor)", "amount_minor")
    assert narrow != roll_up._LATE_DAYS
    monkeypatch.setattr(roll_up, "_LATE_DAYS", narrow)
    note_again(world)
    world.roll_up()


def _narrow_the_view(view: View) -> Callable[[World, pytest.MonkeyPatch], None]:
    def narrow(world: World, _: pytest.MonkeyPatch) -> None:
        world.run(view_sql(view).replace("Int128", "Int64"))

    return narrow


OF_TOTALS = (SELLER_REVENUE, SELLER_BALANCES, ACCOUNT_DAYS, ACCOUNT_BALANCES)


@pytest.mark.parametrize(
    ("wrap", "check", "column", "others"),
    [
        (_store_a_wrapped_total, "seller_revenue", "gross_minor", set()),
        (
            _add_up_in_64_bits,
            "seller_revenue",
            "net_minor",
            # The balances add up the same totals, wrong as they are.
            {"account_days", "account_balances"},
        ),
        (
            _narrow_the_view(SELLER_REVENUE),
            "seller_revenue",
            "available_delta_minor",
            {"seller_balances"},
        ),
        (_narrow_the_view(SELLER_BALANCES), "seller_balances", "available_minor", set()),
        (_narrow_the_view(ACCOUNT_DAYS), "account_days", "psp_receivable_minor", set()),
        (_narrow_the_view(ACCOUNT_BALANCES), "account_balances", "psp_receivable_minor", set()),
    ],
    ids=["stored", "added up", *(view.name for view in OF_TOTALS)],
)
def test_a_wrapped_figure_is_no_equal_one(
    largest_world: World,
    monkeypatch: pytest.MonkeyPatch,
    wrap: Callable[[World, pytest.MonkeyPatch], None],
    check: str,
    column: str,
    others: set[str],
) -> None:
    world = largest_world
    note_again(world)
    world.roll_up()
    try:
        wrap(world, monkeypatch)
        report = world.verify()
    finally:
        monkeypatch.undo()
        for view in OF_TOTALS:
            world.run(view_sql(view))
        world.run(f"TRUNCATE TABLE {TOTALS}")
        note_again(world)
    assert report.exit_status == 1, report.to_json()
    [result] = [result for result in report.checks if result.name == check]
    [found] = [found for found in result.findings if column in found.columns]
    assert found.problem == "different"
    assert found.columns[column] == (TOTAL, WRAPPED)
    assert _verdicts(report) == {check, *others}


def test_postings_that_only_a_wrap_would_balance_are_seen(world: World) -> None:
    world.run(
        "INSERT INTO ledger_entries_raw SELECT 'bank', 'wrap', 'EUR', '2024-03-01',"
        " toUUID('00000000-0000-4000-8000-000000000003'), 1, toUInt8(number), 'paid',"
        f" toInt64({2**62}), toDateTime(0, 'UTC') FROM numbers(4)"
    )
    found = finding(world.verify(), "postings_balance")
    assert found.columns == {"sum_minor": (0, 2**64)}


def test_captures_that_only_a_wrap_would_make_the_running_sum_are_seen(world: World) -> None:
    """Two more captures of -2^63 leave the sum of all as it was, in 64 bits."""
    world.run(
        "INSERT INTO payment_events_raw SELECT events.* REPLACE"
        f" (toUInt32(1000 + number) AS seq, toInt64({-(2**63)}) AS amount_minor)"
        " FROM (SELECT * FROM payment_events_raw FINAL WHERE event_type = 'captured'"
        " ORDER BY payment_id, seq LIMIT 1) AS events CROSS JOIN numbers(2) AS twice"
    )
    found = finding(world.verify(), "refunds_within_captures")
    expected, after = (int(str(value)) for value in found.columns["captured_minor"])
    assert expected == after - 2**64
