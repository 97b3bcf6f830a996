"""What every sink promises about the totals of what was written to it."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from schemas.events import Event
from schemas.lifecycle import EventType as E
from schemas.views import (
    LEDGER_ENTRIES,
    SELLER_REVENUE,
    LedgerEntryRow,
    SellerRevenueRow,
    columns_of,
)
from sinks.protocol import ViewSink
from tests.contract.sinks.conftest import AGES, NASTY, Store, recorded, write
from tests.events import NOON, pay_in, payout

DAY = NOON.date()
EARNINGS = [
    pay_in(E.CAPTURED, seq=1, amount_minor=10_000, commission_minor=1_000, logistics_fee_minor=500),
    pay_in(E.CAPTURED, seq=2, amount_minor=2_000, commission_minor=200),
    pay_in(E.RELEASED, seq=3, amount_minor=9_000, available_delta_minor=9_000),
    pay_in(
        E.REFUNDED,
        seq=4,
        amount_minor=3_000,
        commission_minor=300,
        logistics_fee_minor=150,
        available_delta_minor=-1_000,
    ),
    pay_in(E.DISPUTE_LOST, seq=5, amount_minor=400, commission_minor=40),
    payout(E.REQUESTED, payment_id=UUID(int=5), amount_minor=7_000, available_delta_minor=-7_000),
    payout(E.PAID, payment_id=UUID(int=5), seq=2, amount_minor=7_000),
]
EARNED = SellerRevenueRow(
    seller_id="seller-1",
    currency="EUR",
    day=DAY,
    gross_minor=12_000,
    refunds_minor=3_000,
    chargebacks_minor=400,
    commission_minor=1_000 + 200 - 300 - 40,
    logistics_fee_minor=500 - 150,
    net_minor=12_000 - 3_000 - 400 - 860 - 350,
    pending_delta_minor=8_500 + 1_800 - 9_000 - 1_550 - 360,
    available_delta_minor=9_000 - 1_000 - 7_000,
    capture_count=2,
    refund_count=1,
    chargeback_count=1,
    entry_count=3 + 2 + 2 + 4 + 2 + 1,
)


EVERY_AGE = pytest.mark.parametrize("age", AGES.values(), ids=list(AGES))


@EVERY_AGE
def test_revenue_of_a_day_worked_out_by_hand(store: Store, age: timedelta) -> None:
    batch = write(store.sink, *recorded(EARNINGS, age))
    store.sink.note_minutes(batch.minutes)
    assert store.rows(SELLER_REVENUE) == [EARNED]


def test_entries_recorded_now_are_in_the_totals_before_they_are_noted(store: Store) -> None:
    noted = write(store.sink, *recorded(EARNINGS[:3], timedelta(minutes=2)))
    store.sink.note_minutes(noted.minutes)
    write(store.sink, *recorded(EARNINGS[3:], timedelta()))
    assert store.rows(SELLER_REVENUE) == [EARNED]


@EVERY_AGE
def test_revenue_counts_entries_once_that_were_written_twice(store: Store, age: timedelta) -> None:
    earnings = recorded(EARNINGS, age)
    for events in (earnings[:3], earnings, earnings[2:]):
        store.sink.note_minutes(write(store.sink, *events).minutes)
    assert store.rows(SELLER_REVENUE) == [EARNED]


def test_minutes_that_are_noted_again_count_nothing_twice(store: Store) -> None:
    batch = write(store.sink, *EARNINGS)
    for sink in (store.sink, store.sink, store.another()):
        sink.note_minutes(batch.minutes)
        assert store.rows(SELLER_REVENUE) == [EARNED]


def test_revenue_is_the_sum_of_what_was_recorded_at_different_times(store: Store) -> None:
    for event, age in zip(EARNINGS, itertools.cycle(AGES.values()), strict=False):
        store.sink.note_minutes(write(store.sink, *recorded([event], age)).minutes)
    assert store.rows(SELLER_REVENUE) == [EARNED]


def test_minutes_without_entries_change_nothing(store: Store) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = [now - age for age in AGES.values()]
    store.sink.note_minutes(minutes)
    assert store.rows(SELLER_REVENUE) == []
    store.sink.note_minutes(write(store.sink, *EARNINGS).minutes)
    store.sink.note_minutes(minutes)
    assert store.rows(SELLER_REVENUE) == [EARNED]


@EVERY_AGE
def test_revenue_is_kept_by_seller_currency_and_utc_day(store: Store, age: timedelta) -> None:
    capture = {"amount_minor": 100, "commission_minor": 10}
    events = [
        pay_in(E.CAPTURED, seq=1, **capture),
        pay_in(E.CAPTURED, seq=2, seller_id="seller-2", **capture),
        pay_in(E.CAPTURED, seq=3, currency="JPY", **capture),
        pay_in(E.CAPTURED, seq=4, occurred_at=NOON + timedelta(hours=12), **capture),
    ]
    store.sink.note_minutes(write(store.sink, *recorded(events, age)).minutes)
    found = [SellerRevenueRow(*row) for row in store.rows(SELLER_REVENUE)]
    assert [(row.seller_id, row.currency, row.day, row.net_minor) for row in found] == [
        ("seller-1", "EUR", DAY, 90),
        ("seller-1", "EUR", DAY + timedelta(days=1), 90),
        ("seller-1", "JPY", DAY, 90),
        ("seller-2", "EUR", DAY, 90),
    ]


@EVERY_AGE
def test_ids_are_data_whatever_is_in_them(store: Store, age: timedelta) -> None:
    ids = [NASTY, "' OR 1=1 --", "a\tb", "\\N", "", "x" * 128, "{}", "%(a)s", "é", "e\u0301"]
    minute = (datetime.now(UTC) - age).replace(second=0, microsecond=0)
    entries = [
        LedgerEntryRow(
            "seller_pending", text, "EUR", DAY, UUID(int=n), 1, 1, "captured", -n, minute
        )
        for n, text in enumerate(ids, start=1)
    ]
    store.sink.write({LEDGER_ENTRIES: columns_of(entries)})
    store.sink.note_minutes([minute])
    found = {
        row[0]: row[SellerRevenueRow._fields.index("gross_minor")]
        for row in store.rows(SELLER_REVENUE)
    }
    assert found == {text: n for n, text in enumerate(ids, start=1)}


@EVERY_AGE
def test_workers_that_write_at_once_end_with_all_entries(store: Store, age: timedelta) -> None:
    start = threading.Barrier(2)

    def work(sink: ViewSink, events: list[Event]) -> None:
        start.wait()
        for event in events:
            sink.note_minutes(write(sink, event).minutes)

    captures = [
        pay_in(E.CAPTURED, seq=seq, amount_minor=seq, commission_minor=1) for seq in range(1, 13)
    ]
    captures = recorded(captures, age)
    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(work, sink, events)
            for sink, events in ((store.sink, captures[::2]), (store.another(), captures[1::2]))
        ]
        for one in running:
            one.result()
    [row] = (SellerRevenueRow(*row) for row in store.rows(SELLER_REVENUE))
    assert (row.capture_count, row.gross_minor) == (12, sum(range(1, 13)))
