"""Sums above 64 bits: right where they are shown, and no wrapped figure is proven equal."""

from collections.abc import Callable

import psycopg
import pytest

from operations.verify import Report, Verdict
from schemas.clickhouse.catalogue import SELLER_BALANCES, SELLER_REVENUE
from schemas.clickhouse.generate import view_sql
from schemas.clickhouse.view import View
from schemas.lifecycle import Direction
from schemas.money import MAX_AMOUNT_MINOR
from schemas.views import RevenueKey
from sinks import revenue
from tests.integration.postgres.database import insert
from tests.integration.postgres.rows import Book
from tests.integration.verify.world import DAY, LARGEST_ORDERS, SELLERS, World, finding
from writer.postgres import open_store

pytestmark = pytest.mark.integration

TOTAL = LARGEST_ORDERS * MAX_AMOUNT_MINOR
WRAPPED = TOTAL - 2**64
KEY = RevenueKey(SELLERS[0], "IRR", DAY.date())


def _verdicts(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is Verdict.DIVERGED}


def test_a_total_above_64_bits_is_right_everywhere_and_equal(largest_world: World) -> None:
    world = largest_world
    with psycopg.connect(world.database.reader) as session:
        [(captured,)] = session.execute(
            "SELECT sum(amount_minor) FROM payments WHERE event_type = 'captured'"
        ).fetchall()
    assert captured == TOTAL > 2**63
    for shown in (
        "SELECT gross_minor FROM seller_revenue",
        "SELECT net_minor FROM seller_revenue",
        "SELECT available_minor FROM seller_balances",
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


def _store_a_wrapped_total(world: World, _: pytest.MonkeyPatch) -> None:
    world.replace("seller_revenue", "toInt128(toInt64(gross_minor)) AS gross_minor", "1")


def _add_up_in_64_bits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = revenue.REFRESH.replace("toInt128(any(", "toInt64(any(")
    assert narrow != revenue.REFRESH
    monkeypatch.setattr(revenue, "REFRESH", narrow)
    world.pump.sink.refresh_revenue([KEY])


def _narrow_the_view(view: View) -> Callable[[World, pytest.MonkeyPatch], None]:
    def narrow(world: World, _: pytest.MonkeyPatch) -> None:
        world.run(view_sql(view).replace("Int128", "Int64"))

    return narrow


@pytest.mark.parametrize(
    ("wrap", "check", "column"),
    [
        (_store_a_wrapped_total, "seller_revenue", "gross_minor"),
        (_add_up_in_64_bits, "seller_revenue", "net_minor"),
        (_narrow_the_view(SELLER_REVENUE), "seller_revenue", "available_delta_minor"),
        (_narrow_the_view(SELLER_BALANCES), "seller_balances", "available_minor"),
    ],
    ids=["stored", "added up", "seller_revenue", "seller_balances"],
)
def test_a_wrapped_figure_is_no_equal_one(
    largest_world: World,
    monkeypatch: pytest.MonkeyPatch,
    wrap: Callable[[World, pytest.MonkeyPatch], None],
    check: str,
    column: str,
) -> None:
    world = largest_world
    try:
        wrap(world, monkeypatch)
        report = world.verify()
    finally:
        monkeypatch.undo()
        for view in (SELLER_REVENUE, SELLER_BALANCES):
            world.run(view_sql(view))
        world.pump.sink.refresh_revenue([KEY])
    assert report.exit_status == 1, report.to_json()
    found = finding(report, check)
    assert found.problem == "different"
    assert found.columns[column] == (TOTAL, WRAPPED)
    assert _verdicts(report) == {check}


def test_postings_that_only_a_wrap_would_balance_are_seen(world: World) -> None:
    world.run(
        "INSERT INTO ledger_entries_raw SELECT 'bank', 'wrap', 'EUR', '2024-03-01',"
        " toUUID('00000000-0000-4000-8000-000000000003'), 1, toUInt8(number), 'paid',"
        f" toInt64({2**62}) FROM numbers(4)"
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
