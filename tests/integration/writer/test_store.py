"""What every event store must do, whatever it is made of."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from schemas.errors import Rejection
from schemas.events import NewEvent
from schemas.ids import payment_id
from schemas.rejections import RejectionCode
from tests.builders import a_payment, a_payout, change, fresh_key, line, rows_of, state_after
from writer import commands as c
from writer.store import EventStore, StreamMoved


def unique(**fields: Any) -> c.CreatePayment:
    """A payment whose key and sellers nobody else uses, in whatever database."""
    key = f"{fresh_key()}-{datetime.now(UTC).timestamp()}"
    lines = (line("A", seller_id=key), line("B", seller_id=f"{key}-b"))
    return a_payment(*lines, idempotency_key=key, **fields)


def released(payment: c.CreatePayment) -> list[NewEvent]:
    """A payment's rows up to the release: its seller has 850 available for each order."""
    commands: list[c.AnyCommand] = [
        payment,
        change(c.Capture, payment.payment_id),
        change(c.Release, payment.payment_id),
    ]
    rows: list[NewEvent] = []
    for number, command in enumerate(commands):
        rows += rows_of(state_after(commands[:number]) if number else None, command)
    return rows


def test_nothing_is_there_at_first(store: EventStore) -> None:
    assert store.load(payment_id("payment", fresh_key())) == ()
    assert store.load_many([payment_id("payment", fresh_key())]) == {}
    assert store.available_minor(fresh_key() + "-nobody", "EUR") == 0


@pytest.mark.parametrize("at_once", [True, False])
def test_what_was_appended_is_loaded_as_it_was(store: EventStore, at_once: bool) -> None:
    payment = unique(psp_reference="pi_\\1'\"%s")
    details = change(c.RequestRefund, payment.payment_id, refund_id="re\\1", amount_minor=3)
    rows = [*rows_of(None, payment)]
    rows += rows_of(state_after([payment]), change(c.Capture, payment.payment_id))
    state = state_after([payment, change(c.Capture, payment.payment_id)])
    rows += rows_of(state, details)
    if at_once:
        store.append_many(rows)
    else:
        appended = store.append(rows)
        assert appended == store.load(payment.payment_id)
    loaded = store.load(payment.payment_id)
    assert [msgspec.structs.astuple(event)[:-1] for event in loaded] == [
        msgspec.structs.astuple(row) for row in rows
    ]
    assert [type(event.status) for event in loaded] == [type(row.status) for row in rows]
    age = datetime.now(UTC) - loaded[0].recorded_at
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert store.load_many([payment.payment_id]) == {payment.payment_id: loaded}


@pytest.mark.parametrize("append", ["append", "append_many"])
def test_a_taken_position_is_refused_and_nothing_is_appended(
    store: EventStore, append: str
) -> None:
    payment = unique()
    state = state_after([payment])
    first = rows_of(state, change(c.Capture, payment.payment_id, order_id="A"))
    second = rows_of(state, change(c.Capture, payment.payment_id))
    other = unique()
    store.append(rows_of(None, payment))
    store.append(first)
    with pytest.raises(StreamMoved):
        getattr(store, append)([*rows_of(None, other), *second])
    assert len(store.load(payment.payment_id)) == 3
    assert store.load(other.payment_id) == ()


def test_a_gap_is_refused(store: EventStore) -> None:
    payment = unique()
    rows = rows_of(None, payment)
    with pytest.raises(StreamMoved):
        store.append(rows[1:])


def test_available_is_the_sum_of_its_changes(store: EventStore) -> None:
    payment = unique()
    store.append_many(released(payment))
    seller = payment.orders[0].seller_id
    assert store.available_minor(seller, "EUR") == 850
    assert store.available_minor(seller, "USD") == 0


@pytest.mark.parametrize(("amount", "is_covered"), [(850, True), (851, False)])
def test_a_payout_above_the_balance_is_refused(
    store: EventStore, amount: int, is_covered: bool
) -> None:
    payment = unique()
    store.append_many(released(payment))
    seller = payment.orders[0].seller_id
    payout = a_payout(idempotency_key=f"{seller}-out", seller_id=seller, amount_minor=amount)
    rows = rows_of(None, payout)
    if is_covered:
        store.append(rows)
        assert store.available_minor(seller, "EUR") == 0
    else:
        with pytest.raises(Rejection) as refused:
            store.append(rows)
        assert refused.value.code == RejectionCode.PAYOUT_ABOVE_BALANCE
        assert refused.value.field == "amount_minor"
        assert store.load(payout.payment_id) == ()


def test_balances_of_many_sellers_are_read_at_once(store: EventStore) -> None:
    payment = unique()
    store.append_many(released(payment))
    first, second = (order.seller_id for order in payment.orders)
    accounts = [(first, "EUR"), (second, "EUR"), (first, "USD"), ("nobody-at-all", "EUR")]
    assert store.available_many_minor(accounts) == {
        (first, "EUR"): 850,
        (second, "EUR"): 850,
        (first, "USD"): 0,
        ("nobody-at-all", "EUR"): 0,
    }


def test_rows_of_several_payments_come_back_in_their_order(store: EventStore) -> None:
    payments = sorted((unique() for _ in range(9)), key=lambda payment: payment.payment_id)
    rows = [row for payment in payments for row in rows_of(None, payment)]
    appended = store.append(rows)
    assert [msgspec.structs.astuple(event)[:-1] for event in appended] == [
        msgspec.structs.astuple(row) for row in rows
    ]
    assert appended == tuple(
        event for payment in payments for event in store.load(payment.payment_id)
    )


def test_the_second_payout_of_one_append_sees_the_first(store: EventStore) -> None:
    payment = unique()
    store.append_many(released(payment))
    seller = payment.orders[0].seller_id
    payouts = [
        a_payout(idempotency_key=f"{seller}-{number}", seller_id=seller, amount_minor=425)
        for number in range(3)
    ]
    rows = [row for payout in payouts for row in rows_of(None, payout)]
    with pytest.raises(Rejection) as refused:
        store.append(rows)
    assert refused.value.code == RejectionCode.PAYOUT_ABOVE_BALANCE
    assert store.available_minor(seller, "EUR") == 850
    store.append(rows[:2])
    assert store.available_minor(seller, "EUR") == 0
