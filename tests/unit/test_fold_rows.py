"""Rows of the views, column by column, under their names."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, get_type_hints
from uuid import UUID

import pytest

from schemas.accounts import AccountType, Posting
from schemas.events import COLUMNS
from schemas.lifecycle import Direction, Dispute, Fulfilment, Status
from schemas.lifecycle import EventType as E
from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    PIPELINE_PROGRESS,
    Table,
    rows_of,
)
from streams.decode import Record
from streams.fold import POSTING_RULES, FoldedBatch, fold, fold_batch
from tests.events import COMMITTED_AT_MS, NOON, PAYMENT_ID, decoded, pay_in, payout, record

PARKED_AT = datetime(2026, 2, 1, tzinfo=UTC)
COMMITTED_AT = datetime(2026, 1, 5, 12, 0, 0, 123_000, tzinfo=UTC)
CAPTURE = pay_in(
    E.CAPTURED,
    seq=7,
    dispute=Dispute.WON,
    fulfilment=Fulfilment.SHIPPED,
    amount_minor=101,
    commission_minor=3,
    logistics_fee_minor=4,
    order_amount_minor=205,
    captured_minor=206,
    refunded_minor=107,
    released_minor=108,
    reserved_minor=9,
    pending_minor=10,
    details='{"a": 1}',
    recorded_at=datetime(2026, 1, 5, 12, 0, 5, tzinfo=UTC),
)


def named(table: Table, batch: Any) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in rows_of(table, batch[table])]


def folded(*records: Record) -> FoldedBatch:
    return fold_batch(records, consumer="views", parked_at=PARKED_AT)


def test_payment_events_has_the_event_whole_and_its_place() -> None:
    [row] = named(PAYMENT_EVENTS, fold(decoded(CAPTURE, partition=3, offset=42)))
    assert row == {
        **{column: getattr(CAPTURE, column) for column in COLUMNS},
        "kafka_partition": 3,
        "kafka_offset": 42,
        "txid": 4711,
        "lsn": 987_654,
        "op": "c",
        "committed_at": COMMITTED_AT,
    }


def test_absent_texts_are_empty() -> None:
    [row] = named(
        PAYMENT_EVENTS, fold(decoded(payout(E.SUBMITTED, amount_minor=5, psp_reference=None)))
    )
    assert (row["buyer_id"], row["psp_reference"]) == ("", "")


def test_every_row_fits_its_row_type() -> None:
    batch = folded(
        record(CAPTURE, offset=1),
        record(payout(E.REQUESTED, amount_minor=4, available_delta_minor=-4), offset=2),
        record(CAPTURE, offset=3)._replace(value=b"{"),
    )
    for table in (
        PAYMENT_EVENTS,
        LEDGER_ENTRIES,
        BUYER_ORDERS,
        PAYOUTS,
        PIPELINE_PROGRESS,
        DEAD_LETTERS,
    ):
        hints = get_type_hints(table.row_type)
        assert named(table, batch.columns)
        for row in named(table, batch.columns):
            for column, value in row.items():
                assert isinstance(value, hints[column]), (table.name, column)


def test_ledger_entries_number_their_legs_and_bear_the_utc_day() -> None:
    late = pay_in(
        E.CAPTURED,
        seq=2,
        amount_minor=100,
        commission_minor=10,
        occurred_at=datetime.fromisoformat("2026-01-01T00:30:00+02:00"),
    )
    rows = named(LEDGER_ENTRIES, fold(decoded(late)))
    assert [(row["leg"], row["account_type"], row["amount_minor"]) for row in rows] == [
        (0, "psp_receivable", 100),
        (1, "seller_pending", -90),
        (2, "platform_commission", -10),
    ]
    for row in rows:
        assert row["day"] == date(2025, 12, 31)
        assert row["event_type"] == "captured"
        assert (row["payment_id"], row["seq"], row["currency"]) == (PAYMENT_ID, 2, "EUR")


def test_a_buyer_order_is_the_state_after_the_event() -> None:
    [row] = named(BUYER_ORDERS, fold(decoded(CAPTURE)))
    assert row == {
        "buyer_id": "buyer-1",
        "order_id": "order-1",
        "payment_id": PAYMENT_ID,
        "seq": 7,
        "seller_id": "seller-1",
        "currency": "EUR",
        "status": Status.CAPTURED,
        "fulfilment": Fulfilment.SHIPPED,
        "dispute": Dispute.WON,
        "amount_minor": 205,
        "captured_minor": 206,
        "refunded_minor": 107,
        "reserved_minor": 9,
        "psp": "stripe",
        "method": "card",
        "updated_at": NOON,
    }
    assert not named(PAYOUTS, fold(decoded(CAPTURE)))


def test_a_payout_is_the_state_after_the_event() -> None:
    paid = fold(decoded(payout(E.PAID, seq=3, amount_minor=900)))
    assert named(PAYOUTS, paid) == [
        {
            "seller_id": "seller-1",
            "payout_id": PAYMENT_ID,
            "seq": 3,
            "currency": "EUR",
            "amount_minor": 900,
            "status": Status.PAID,
            "provider": "tipalti",
            "provider_reference": "po_1",
            "method": "bank_transfer",
            "updated_at": NOON,
        }
    ]
    assert not named(BUYER_ORDERS, paid)


def test_of_an_orders_states_a_batch_keeps_the_latest_whatever_the_order_of_arrival() -> None:
    early = record(pay_in(E.CREATED, seq=1, amount_minor=5), offset=1)
    late = record(pay_in(E.AUTHORIZED, seq=2, amount_minor=5), offset=2)
    other = record(pay_in(E.CREATED, seq=3, order_id="order-2", amount_minor=5), offset=3)
    for arrival in ((early, late, other), (late, early, other), (other, late, late, early)):
        rows = named(BUYER_ORDERS, folded(*arrival).columns)
        assert sorted((row["order_id"], row["seq"]) for row in rows) == [
            ("order-1", 2),
            ("order-2", 3),
        ]


def test_minutes_are_those_in_which_entries_were_recorded() -> None:
    paid = payout(
        E.PAID,
        payment_id=UUID(int=8),
        amount_minor=1,
        occurred_at=NOON - timedelta(days=3),
        recorded_at=datetime(2026, 1, 6, 0, 0, 59, 999_999, tzinfo=UTC),
    )
    moves_no_money = pay_in(E.SHIPPED, seq=9, recorded_at=NOON + timedelta(hours=1))
    batch = folded(
        record(CAPTURE), record(CAPTURE), record(paid, offset=2), record(moves_no_money, offset=3)
    )
    assert batch.minutes == {
        datetime(2026, 1, 5, 12, 0, tzinfo=UTC),
        datetime(2026, 1, 6, 0, 0, tzinfo=UTC),
    }


@pytest.mark.parametrize(
    ("recorded_at", "minute"),
    [
        ("2026-01-05T12:34:00+00:00", "2026-01-05T12:34:00+00:00"),
        ("2026-01-05T12:34:59.999999+00:00", "2026-01-05T12:34:00+00:00"),
        ("2026-01-01T00:30:10+02:00", "2025-12-31T22:30:00+00:00"),
    ],
)
def test_every_entry_bears_the_utc_minute_in_which_its_event_was_recorded(
    recorded_at: str, minute: str
) -> None:
    event = pay_in(
        E.CAPTURED,
        amount_minor=100,
        commission_minor=10,
        recorded_at=datetime.fromisoformat(recorded_at),
    )
    rows = named(LEDGER_ENTRIES, fold(decoded(event)))
    assert [row["recorded_minute"] for row in rows] == [datetime.fromisoformat(minute)] * 3
    assert {row["day"] for row in rows} == {NOON.date()}, "the day is the event's own"


def test_progress_is_the_last_offset_and_its_commit_time_by_partition() -> None:
    source = {"ts_ms": COMMITTED_AT_MS + 1_000}
    batch = folded(
        record(CAPTURE, partition=1, offset=5),
        record(CAPTURE, partition=1, offset=8, source=source),
        record(CAPTURE, partition=2, offset=1),
        record(CAPTURE, partition=1, offset=7),
    )
    rows = named(PIPELINE_PROGRESS, batch.columns)
    assert [(row["partition"], row["last_offset"], row["committed_at"]) for row in rows] == [
        (1, 8, datetime(2026, 1, 5, 12, 0, 1, 123_000, tzinfo=UTC)),
        (2, 1, COMMITTED_AT),
    ]
    assert {(row["consumer"], row["topic"]) for row in rows} == {
        ("views", "purser.public.payments")
    }


def test_a_record_that_cannot_be_folded_is_kept_whole_with_place_and_reason() -> None:
    bad = record(CAPTURE, partition=4, offset=11)._replace(value=b'{"op": \xff\x00')
    batch = folded(bad, record(CAPTURE, partition=4, offset=12))
    assert batch.event_count == 1
    [row] = named(DEAD_LETTERS, batch.columns)
    error = row.pop("error")
    assert error and "\n" not in error
    assert row == {
        "topic": "purser.public.payments",
        "partition": 4,
        "kafka_offset": 11,
        "reason": "malformed_record",
        "raw_key": bad.key,
        "raw_value": bad.value,
        "is_null": False,
        "recorded_at": datetime(2026, 1, 5, 12, 0, 0, 130_000, tzinfo=UTC),
        "consumer": "views",
        "parked_at": PARKED_AT,
    }
    assert rows_of(DEAD_LETTERS, batch.columns[DEAD_LETTERS]) == list(batch.dead_letters)


def test_a_record_without_a_value_or_a_time_is_a_dead_letter_too() -> None:
    tombstone = Record("topic", 0, 3, -1, None, None)
    [row] = named(DEAD_LETTERS, folded(tombstone).columns)
    assert (row["reason"], row["is_null"], row["raw_key"], row["raw_value"]) == (
        "null_record",
        True,
        b"",
        b"",
    )
    assert row["recorded_at"] == datetime(1970, 1, 1, tzinfo=UTC)
    assert named(PIPELINE_PROGRESS, folded(tombstone).columns)[0]["last_offset"] == 3


def test_an_event_whose_postings_do_not_balance_is_parked_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_leg = (Posting(AccountType.PSP_RECEIVABLE, "stripe", 1),)
    rules = {**POSTING_RULES[Direction.IN], E.CAPTURED: lambda _event: one_leg}
    monkeypatch.setitem(POSTING_RULES, Direction.IN, rules)
    released = pay_in(E.RELEASED, seq=2, amount_minor=1, available_delta_minor=1)
    batch = folded(record(CAPTURE), record(released, offset=1))
    [dead] = batch.dead_letters
    assert dead.reason == "broken_invariant"
    assert dead.error.startswith("postings of captured: sum to 1 minor units instead of 0")
    assert batch.event_count == 1
    assert {row["event_type"] for row in named(LEDGER_ENTRIES, batch.columns)} == {"released"}


def test_an_empty_batch_has_no_rows() -> None:
    batch = folded()
    assert batch.row_count == 0
    assert not batch.minutes
    assert all(not named(table, batch.columns) for table in batch.columns)


def test_directions_decide_what_failed_means() -> None:
    assert decoded(pay_in(E.FAILED)).event.direction is Direction.IN
    assert named(BUYER_ORDERS, fold(decoded(pay_in(E.FAILED))))
    failed = payout(E.FAILED, amount_minor=3, available_delta_minor=3)
    assert named(PAYOUTS, fold(decoded(failed)))
