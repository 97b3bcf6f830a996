"""Decisions as tables: what was before, the command, and what must come of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.details import MAX_DETAILS_BYTES
from schemas.effects import INSTEAD_OF
from schemas.errors import Rejection
from schemas.lifecycle import Dispute, EventType, Fulfilment, Status
from schemas.rejections import RejectionCode as Code
from tests.builders import (
    NOON,
    Step,
    a_payment,
    a_payout,
    change,
    do,
    line,
    rows_of,
    state_after,
    with_rows,
)
from writer import commands as c
from writer.commands import Change
from writer.decide import HANDLERS, decide
from writer.state import PaymentState
from writer.validate import validate

PAYMENT = a_payment()


def built(steps: tuple[Step, ...], of: Any = PAYMENT) -> list[Change]:
    return [change(kind, of.payment_id, **fields) for kind, fields in steps]


def after(*steps: Step, of: Any = PAYMENT) -> PaymentState:
    return state_after([of, *built(steps, of)])


CAPTURED = do(c.Capture)
CAPTURED_A = do(c.Capture, order_id="A")
REQUESTED_300 = do(c.RequestRefund, refund_id="re1", order_id="A", amount_minor=300)
DISPUTED_A = do(c.OpenDispute, order_id="A", amount_minor=400)
FAR = 10**15

# -- what happens: (before, command) -> (event type, {order: amount}) ---------------------------

ACCEPTED: list[tuple[str, tuple[Step, ...], Step, EventType, dict[str, int]]] = [
    ("action is required of all", (), do(c.RequireAction), EventType.ACTION_REQUIRED,
     {"A": 0, "B": 0}),
    ("one order processes", (), do(c.MarkProcessing, order_id="B"), EventType.PROCESSING,
     {"B": 0}),
    ("nobody knows", (), do(c.MarkUnknown), EventType.UNKNOWN, {"A": 0, "B": 0}),
    ("the unknown is resolved", (do(c.MarkUnknown),), do(c.Fail, reason="card_declined"),
     EventType.FAILED, {"A": 0, "B": 0}),
    ("authorized carries whole amounts", (), do(c.Authorize), EventType.AUTHORIZED,
     {"A": 1000, "B": 500}),
    ("what is over takes no part", (do(c.Cancel, order_id="A"),), do(c.Authorize),
     EventType.AUTHORIZED, {"B": 500}),
    ("expired", (do(c.Authorize),), do(c.Expire), EventType.EXPIRED, {"A": 0, "B": 0}),
    ("capture takes all that is left", (do(c.Capture, order_id="A", amount_minor=1),), CAPTURED,
     EventType.CAPTURED, {"A": 999, "B": 500}),
    ("a part is spread by what is left", (), do(c.Capture, amount_minor=150),
     EventType.CAPTURED, {"A": 100, "B": 50}),
    ("the largest remainder gets the odd unit", (), do(c.Capture, amount_minor=2),
     EventType.CAPTURED, {"A": 1, "B": 1}),
    ("an order whose part is zero has no row", (), do(c.Capture, amount_minor=1),
     EventType.CAPTURED, {"A": 1}),
    ("capture skips a cancelled order", (do(c.Cancel, order_id="A"),), CAPTURED,
     EventType.CAPTURED, {"B": 500}),
    ("shipped in parcels", (CAPTURED, do(c.Ship)), do(c.Ship, order_id="A"), EventType.SHIPPED,
     {"A": 0}),
    ("delivered", (CAPTURED,), do(c.Deliver), EventType.DELIVERED, {"A": 0, "B": 0}),
    ("released is the seller's share", (CAPTURED,), do(c.Release), EventType.RELEASED,
     {"A": 850, "B": 500}),
    ("a part is released", (CAPTURED,), do(c.Release, order_id="A", amount_minor=850),
     EventType.RELEASED, {"A": 850}),
    ("a disputed order is not released", (CAPTURED, DISPUTED_A), do(c.Release),
     EventType.RELEASED, {"B": 500}),
    ("a refund is requested", (CAPTURED,), REQUESTED_300, EventType.REFUND_REQUESTED,
     {"A": 300}),
    ("a request is settled as asked", (CAPTURED, REQUESTED_300),
     do(c.RecordRefund, refund_id="re1"), EventType.REFUNDED, {"A": 300}),
    ("a request settled with its amount", (CAPTURED, REQUESTED_300),
     do(c.RecordRefund, refund_id="re1", order_id="A", amount_minor=300), EventType.REFUNDED,
     {"A": 300}),
    ("a direct refund leaves the reserved alone", (CAPTURED, REQUESTED_300), do(c.RecordRefund),
     EventType.REFUNDED, {"A": 700, "B": 500}),
    ("a refund fails", (CAPTURED, REQUESTED_300), do(c.FailRefund, refund_id="re1"),
     EventType.REFUND_FAILED, {"A": 300}),
    ("a refund over all orders settles them all",
     (CAPTURED, do(c.RequestRefund, refund_id="re1", amount_minor=150)),
     do(c.RecordRefund, refund_id="re1"), EventType.REFUNDED, {"A": 100, "B": 50}),
    ("a dispute over everything left", (CAPTURED, REQUESTED_300), do(c.OpenDispute),
     EventType.DISPUTE_OPENED, {"A": 700, "B": 500}),
    ("won for the whole disputed amount", (CAPTURED, DISPUTED_A), do(c.WinDispute),
     EventType.DISPUTE_WON, {"A": 400}),
    ("lost for the whole disputed amount", (CAPTURED, DISPUTED_A), do(c.LoseDispute),
     EventType.DISPUTE_LOST, {"A": 400}),
    ("disputed again after it was lost", (CAPTURED, DISPUTED_A, do(c.LoseDispute)),
     do(c.OpenDispute, order_id="A"), EventType.DISPUTE_OPENED, {"A": 600}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "command", "event_type", "amounts"),
    [row[1:] for row in ACCEPTED],
    ids=[row[0] for row in ACCEPTED],
)
def test_accepted(
    before: tuple[Step, ...], command: Step, event_type: EventType, amounts: dict[str, int]
) -> None:
    rows = rows_of(after(*before), built((command,))[0])
    assert {row.event_type for row in rows} == {event_type}
    assert {row.order_id: row.amount_minor for row in rows} == amounts


# -- what is refused: (before, command) -> (code, field) ----------------------------------------

REFUSED: list[tuple[tuple[Step, ...], Step, Code, str]] = [
    ((), do(c.Ship, order_id="naïve"), Code.INVALID_IDENTIFIER, "order_id"),
    ((), do(c.Ship, order_id=""), Code.INVALID_IDENTIFIER, "order_id"),
    ((), do(c.Ship, psp_reference="a b"), Code.INVALID_IDENTIFIER, "psp_reference"),
    ((), do(c.Ship, idempotency_key="x" * 256), Code.INVALID_IDENTIFIER, "idempotency_key"),
    ((), do(c.Fail, reason="card declined"), Code.INVALID_IDENTIFIER, "reason"),
    ((), do(c.RequestRefund, refund_id="\0"), Code.INVALID_IDENTIFIER, "refund_id"),
    ((), do(c.Ship, occurred_at=NOON.replace(tzinfo=None)), Code.TIME_WITHOUT_ZONE, "occurred_at"),
    ((), do(c.Ship, occurred_at=NOON.replace(year=1969)), Code.TIME_OUT_OF_RANGE, "occurred_at"),
    ((), do(c.Ship, occurred_at=NOON.replace(year=2100)), Code.TIME_OUT_OF_RANGE, "occurred_at"),
    ((), do(c.Capture, amount_minor=0), Code.AMOUNT_NOT_POSITIVE, "amount_minor"),
    ((), do(c.Capture, amount_minor=-1), Code.AMOUNT_NOT_POSITIVE, "amount_minor"),
    ((), do(c.Capture, amount_minor=FAR + 1), Code.AMOUNT_TOO_LARGE, "amount_minor"),
    ((), do(c.SubmitPayout), Code.WRONG_DIRECTION, "command"),
    ((), do(c.Capture, order_id="C"), Code.UNKNOWN_ORDER, "order_id"),
    ((), do(c.RecordRefund, order_id="C"), Code.UNKNOWN_ORDER, "order_id"),
    ((CAPTURED,), do(c.FailRefund, refund_id="re1"), Code.UNKNOWN_REFUND, "refund_id"),
    ((CAPTURED, REQUESTED_300), REQUESTED_300, Code.REFUND_ALREADY_DECIDED, "refund_id"),
    ((CAPTURED, REQUESTED_300, do(c.RecordRefund, refund_id="re1")),
     do(c.RecordRefund, refund_id="re1"), Code.REFUND_ALREADY_DECIDED, "refund_id"),
    ((CAPTURED, REQUESTED_300, do(c.FailRefund, refund_id="re1")),
     do(c.FailRefund, refund_id="re1"), Code.REFUND_ALREADY_DECIDED, "refund_id"),
    ((CAPTURED, do(c.RecordRefund, refund_id="re1", amount_minor=5)),
     do(c.RequestRefund, refund_id="re1"), Code.REFUND_ALREADY_DECIDED, "refund_id"),
    ((), do(c.Release), Code.ILLEGAL_TRANSITION, "command"),
    ((), do(c.RecordRefund), Code.ILLEGAL_TRANSITION, "command"),
    ((), do(c.WinDispute), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED,), do(c.Authorize), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED,), do(c.Cancel), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED_A,), do(c.Authorize), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED,), do(c.LoseDispute), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED, do(c.Deliver)), do(c.Ship), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED, DISPUTED_A), DISPUTED_A, Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED, DISPUTED_A), do(c.Release, order_id="A"), Code.DISPUTE_OPEN, "order_id"),
    ((CAPTURED,), CAPTURED, Code.NOTHING_LEFT, "amount_minor"),
    ((CAPTURED, do(c.RecordRefund)), do(c.RecordRefund), Code.NOTHING_LEFT, "amount_minor"),
    ((CAPTURED, do(c.Release)), do(c.Release), Code.NOTHING_LEFT, "amount_minor"),
    ((), do(c.Capture, amount_minor=1501), Code.CAPTURE_ABOVE_AMOUNT, "amount_minor"),
    ((), do(c.Capture, order_id="A", amount_minor=1001), Code.CAPTURE_ABOVE_AMOUNT,
     "amount_minor"),
    ((CAPTURED,), do(c.Release, order_id="A", amount_minor=851), Code.RELEASE_ABOVE_PENDING,
     "amount_minor"),
    ((CAPTURED_A,), do(c.RecordRefund, amount_minor=1001), Code.REFUND_ABOVE_CAPTURED,
     "amount_minor"),
    ((CAPTURED, REQUESTED_300), do(c.RecordRefund, order_id="A", amount_minor=701),
     Code.REFUND_ABOVE_CAPTURED, "amount_minor"),
    ((CAPTURED, DISPUTED_A), do(c.RequestRefund, refund_id="re1", order_id="A", amount_minor=601),
     Code.REFUND_ABOVE_CAPTURED, "amount_minor"),
    ((CAPTURED, REQUESTED_300), do(c.RecordRefund, refund_id="re1", amount_minor=299),
     Code.AMOUNT_DIFFERS, "amount_minor"),
    ((CAPTURED, REQUESTED_300), do(c.RecordRefund, refund_id="re1", order_id="B"),
     Code.AMOUNT_DIFFERS, "order_id"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "command", "code", "field"),
    REFUSED,
    ids=[f"{row[1][0].__name__}-{row[2]}-{index}" for index, row in enumerate(REFUSED)],
)
def test_refused(before: tuple[Step, ...], command: Step, code: Code, field: str) -> None:
    decision = decide(after(*before), built((command,))[0])
    assert isinstance(decision, Rejection), decision
    assert (decision.code, decision.field) == (code, field)


CREATIONS_REFUSED: list[tuple[dict[str, Any], Code, str]] = [
    ({"idempotency_key": "ключ"}, Code.INVALID_IDENTIFIER, "idempotency_key"),
    ({"buyer_id": "a\0b"}, Code.INVALID_IDENTIFIER, "buyer_id"),
    ({"psp": "p" * 65}, Code.INVALID_IDENTIFIER, "psp"),
    ({"orders": (line("A" * 129),)}, Code.INVALID_IDENTIFIER, "orders[0].order_id"),
    ({"payment_token": "p m"}, Code.INVALID_IDENTIFIER, "payment_token"),
    ({"return_url": "https://shop.example/a b"}, Code.INVALID_IDENTIFIER, "return_url"),
    ({"return_url": "x" * 4097}, Code.INVALID_IDENTIFIER, "return_url"),
    ({"device_fingerprint": "x" * 129}, Code.INVALID_IDENTIFIER, "device_fingerprint"),
    ({"caller": "a\tb"}, Code.INVALID_TEXT, "caller"),
    ({"caller_key": "k" * 256}, Code.INVALID_TEXT, "caller_key"),
    ({"capture": "later"}, Code.UNKNOWN_CHOICE, "capture"),
    ({"flow": "sideways"}, Code.UNKNOWN_CHOICE, "flow"),
    ({"metadata": {str(n): "" for n in range(21)}}, Code.TOO_MUCH_METADATA, "metadata"),
    ({"metadata": {"": "x"}}, Code.INVALID_TEXT, "metadata[0]"),
    ({"metadata": {"a": "1", "n" * 41: "x"}}, Code.INVALID_TEXT, "metadata[1]"),
    ({"metadata": {"cart": "x" * 501}}, Code.INVALID_TEXT, "metadata.cart"),
    ({"metadata": {"cart": "a\0b"}}, Code.INVALID_TEXT, "metadata.cart"),
    ({"metadata": {"cart": 7}}, Code.INVALID_TEXT, "metadata.cart"),
    ({"metadata": {"cart": "\ud800"}}, Code.INVALID_TEXT, "metadata.cart"),
    ({"currency": "eur"}, Code.UNKNOWN_CURRENCY, "currency"),
    ({"currency": "XXX"}, Code.UNKNOWN_CURRENCY, "currency"),
    ({"currency": "HRK"}, Code.UNKNOWN_CURRENCY, "currency"),
    ({"orders": ()}, Code.NO_ORDERS, "orders"),
    ({"orders": tuple(line(f"o{n}") for n in range(1001))}, Code.TOO_MANY_ORDERS, "orders"),
    ({"orders": (line("A"), line("B"), line("A"))}, Code.DUPLICATE_ORDER, "orders[2].order_id"),
    ({"orders": (line("A"), line("B", 0, 0))}, Code.AMOUNT_NOT_POSITIVE, "orders[1].amount_minor"),
    ({"orders": (line("A", 2**63),)}, Code.AMOUNT_TOO_LARGE, "orders[0].amount_minor"),
    ({"orders": (line("A", 10**15), line("B", 10**15))}, Code.AMOUNT_TOO_LARGE, "orders"),
    ({"orders": (line("A", 100, -1),)}, Code.SHARE_NEGATIVE, "orders[0].commission_minor"),
    ({"orders": (line("A", 100, 51),)}, Code.SHARES_ABOVE_AMOUNT, "orders[0].commission_minor"),
]


@pytest.mark.parametrize(("fields", "code", "field"), CREATIONS_REFUSED)
def test_payment_refused(fields: dict[str, Any], code: Code, field: str) -> None:
    decision = decide(None, a_payment(**fields))
    assert isinstance(decision, Rejection), decision
    assert (decision.code, decision.field) == (code, field)


def test_withdrawn_currency_is_for_payments_of_its_time() -> None:
    in_time = a_payment(currency="HRK", occurred_at=datetime(2022, 5, 31, tzinfo=UTC))
    refund = built((do(c.RecordRefund, amount_minor=1, occurred_at=NOON),), in_time)[0]
    refunded = decide(after(CAPTURED, of=in_time), refund)
    assert isinstance(refunded, tuple)
    assert {row.currency for row in refunded} == {"HRK"}
    with pytest.raises(Rejection, match="HRK was withdrawn in 2023-01"):
        validate(a_payout(currency="HRK"))


def test_unknown_payment_is_refused() -> None:
    decision = decide(None, change(c.Capture, PAYMENT.payment_id))
    assert isinstance(decision, Rejection)
    assert decision.code == Code.UNKNOWN_PAYMENT


def test_created_carries_amounts_and_planned_shares() -> None:
    rows = rows_of(None, PAYMENT)
    assert [row.seq for row in rows] == [1, 2]
    assert [(row.amount_minor, row.commission_minor, row.logistics_fee_minor) for row in rows] == [
        (1000, 100, 50),
        (500, 0, 0),
    ]
    assert {(row.status, row.fulfilment, row.dispute) for row in rows} == {
        (Status.CREATED, Fulfilment.OPEN, Dispute.NONE)
    }


# -- shares --------------------------------------------------------------------------------------


def test_partial_captures_take_exactly_the_planned_shares() -> None:
    payment = a_payment(line("A", 1001, 333, logistics_fee_minor=77))
    state = state_after([payment])
    taken = [0, 0]
    for amount in (1, 7, 500, 333, 160):
        (row,) = rows_of(state, change(c.Capture, payment.payment_id, amount_minor=amount))
        taken = [taken[0] + row.commission_minor, taken[1] + row.logistics_fee_minor]
        state = with_rows(state, [row])
    assert taken == [333, 77]
    assert state.orders["A"].pending_minor == 1001 - 333 - 77


def test_refunds_give_back_exactly_what_was_taken() -> None:
    state = after(do(c.Capture, order_id="A", amount_minor=999))
    order = state.orders["A"]
    given = [0, 0]
    for amount in (1, 332, 333, 333):
        command = change(c.RecordRefund, PAYMENT.payment_id, order_id="A", amount_minor=amount)
        rows = rows_of(state, command)
        given = [given[0] + rows[0].commission_minor, given[1] + rows[0].logistics_fee_minor]
        state = with_rows(state, rows)
    assert given == [order.taken.commission_minor, order.taken.logistics_fee_minor]
    assert state.orders["A"].pending_minor == 0


@pytest.mark.parametrize("reversal", [do(c.RecordRefund, order_id="A"), do(c.LoseDispute)])
def test_reversal_comes_out_of_pending_first_and_then_out_of_available(reversal: Step) -> None:
    disputed = do(c.OpenDispute, order_id="A")
    before = [CAPTURED, do(c.Release, order_id="A", amount_minor=600)]
    if reversal[0] is c.LoseDispute:
        before.append(disputed)
    (row,) = rows_of(after(*before), built((reversal,))[0])
    assert (row.commission_minor, row.logistics_fee_minor) == (100, 50)
    assert (row.pending_minor, row.available_delta_minor) == (0, -600)
    assert (row.refunded_minor, row.reserved_minor) == (1000, 0)


def test_settling_a_refund_frees_its_reservation() -> None:
    settle = do(c.RecordRefund, refund_id="re1")
    (row,) = rows_of(after(CAPTURED, REQUESTED_300), built((settle,))[0])
    assert (row.refunded_minor, row.reserved_minor) == (300, 0)


def test_winning_a_dispute_frees_its_reservation() -> None:
    (row,) = rows_of(after(CAPTURED, DISPUTED_A), built((do(c.WinDispute),))[0])
    assert (row.refunded_minor, row.reserved_minor, row.dispute) == (0, 0, Dispute.WON)


def test_every_command_has_a_handler() -> None:
    abstract = {c.Change, c.OrderChange, c.AmountChange, c.PayoutChange}
    kinds = {kind for kind in vars(c).values() if isinstance(kind, type)}
    assert set(HANDLERS) == {kind for kind in kinds if issubclass(kind, Change)} - abstract
    handled = {kind.event_type for kind in HANDLERS} | {c.CreatePayment.event_type}
    assert handled | {c.RequestPayout.event_type, *INSTEAD_OF} == set(EventType)


def test_the_longest_wishes_are_accepted_and_fit_into_details() -> None:
    wishes: dict[str, Any] = {
        "payment_token": "~" * 255,
        "return_url": '"' * 4096,
        "device_fingerprint": "~" * 128,
        "caller": "\U00010348" * 255,
        "caller_key": '"' * 255,
        "metadata": {f"{n:02}" + "\U00010348" * 38: "\U00010348" * 500 for n in range(20)},
    }
    row = rows_of(None, a_payment(**wishes))[0]
    assert len(row.details.encode()) <= MAX_DETAILS_BYTES
