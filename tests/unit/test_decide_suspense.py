"""Money that the rules have no place for: strays, honouring, disputes above what is left."""

from typing import Any

import pytest

from schemas.errors import Rejection
from schemas.lifecycle import EventType as E
from schemas.lifecycle import Status
from schemas.rejections import RejectionCode as Code
from tests.builders import Step, a_payment, change, do, rows_of, state_after
from writer import commands as c
from writer.decide import AlreadyDone, decide
from writer.state import PaymentState

PAYMENT = a_payment()


def after(*steps: Step) -> PaymentState:
    return state_after([PAYMENT, *(built(step) for step in steps)])


def built(step: Step) -> c.Change:
    kind, fields = step
    return change(kind, PAYMENT.payment_id, **fields)


EXPIRED, FAILED, CANCELLED = do(c.Expire), do(c.Fail), do(c.Cancel)
CAPTURED, REFUNDED = do(c.Capture), do(c.RecordRefund)
A_OVER = do(c.Cancel, order_id="A")
AT_ADYEN = do(c.Attempt, psp="adyen")
ELSEWHERE = do(c.Capture, psp="adyen")
DP: dict[str, Any] = {"psp_reference": "dp_1"}
RE: dict[str, Any] = {"psp_reference": "re_1"}
Rows = dict[str, tuple[int, int]]

# (before, command) -> (event type, {order: (amount, suspense)})
ACCEPTED: list[tuple[str, tuple[Step, ...], Step, E, Rows]] = [
    ("captured after expired", (EXPIRED,), CAPTURED, E.STRAY_CAPTURED,
     {"A": (1000, 1000), "B": (500, 500)}),
    ("captured after failed, a part", (FAILED,), do(c.Capture, amount_minor=300),
     E.STRAY_CAPTURED, {"A": (200, 200), "B": (100, 100)}),
    ("captured after cancelled, more than the order", (CANCELLED,),
     do(c.Capture, order_id="B", amount_minor=700), E.STRAY_CAPTURED, {"B": (700, 700)}),
    ("captured again after expired: what is still due", (EXPIRED, do(c.Capture, amount_minor=300)),
     CAPTURED, E.STRAY_CAPTURED, {"A": (800, 800), "B": (400, 400)}),
    ("only the order that is over is a stray", (A_OVER,), do(c.Capture, order_id="A"),
     E.STRAY_CAPTURED, {"A": (1000, 1000)}),
    ("orders that are over are passed by", (A_OVER,), CAPTURED, E.CAPTURED, {"B": (500, 0)}),
    ("captured at another PSP", (), ELSEWHERE, E.STRAY_CAPTURED,
     {"A": (1000, 1000), "B": (500, 500)}),
    ("captured at another PSP, after here", (CAPTURED,), ELSEWHERE, E.STRAY_CAPTURED,
     {"A": (1000, 1000), "B": (500, 500)}),
    ("captured where the payment is", (), do(c.Capture, psp="stripe"), E.CAPTURED,
     {"A": (1000, 0), "B": (500, 0)}),
    ("captured by the attempt before", (AT_ADYEN, CAPTURED), do(c.Capture, psp="stripe"),
     E.STRAY_CAPTURED, {"A": (1000, 1000), "B": (500, 500)}),
    ("a stray goes back", (EXPIRED, CAPTURED), REFUNDED, E.STRAY_REFUNDED,
     {"A": (1000, -1000), "B": (500, -500)}),
    ("a part of it goes back", (EXPIRED, CAPTURED), do(c.RecordRefund, amount_minor=3),
     E.STRAY_REFUNDED, {"A": (2, -2), "B": (1, -1)}),
    ("more goes back than came", (EXPIRED,), do(c.RecordRefund, order_id="A", amount_minor=7),
     E.STRAY_REFUNDED, {"A": (7, -7)}),
    ("it goes back where it came", (CAPTURED, ELSEWHERE), do(c.RecordRefund, psp="adyen"),
     E.STRAY_REFUNDED, {"A": (1000, -1000), "B": (500, -500)}),
    ("a refund here leaves it there", (CAPTURED, ELSEWHERE), REFUNDED, E.REFUNDED,
     {"A": (1000, 0), "B": (500, 0)}),
    ("honoured", (EXPIRED, CAPTURED), do(c.Honour), E.HONOURED,
     {"A": (1000, -1000), "B": (500, -500)}),
    ("honoured with a part", (FAILED, do(c.Capture, order_id="A", amount_minor=300)), do(c.Honour),
     E.HONOURED, {"A": (300, -300)}),
    ("honoured with what the order is", (FAILED, do(c.Capture, order_id="B", amount_minor=700)),
     do(c.Honour), E.HONOURED, {"B": (500, -500)}),
    ("honoured above what was authorized",
     (do(c.Authorize, amount_minor=3), EXPIRED, do(c.Capture, order_id="A")), do(c.Honour),
     E.HONOURED, {"A": (1000, -1000)}),
    ("a dispute above what is left", (CAPTURED,),
     do(c.OpenDispute, order_id="A", amount_minor=1050), E.DISPUTE_OPENED, {"A": (1000, -50)}),
    ("a dispute of what was refunded", (CAPTURED, REFUNDED),
     do(c.OpenDispute, order_id="A", amount_minor=1000), E.DISPUTE_OPENED, {"A": (0, -1000)}),
    ("a dispute of what is reserved",
     (CAPTURED, do(c.RequestRefund, refund_id="r", order_id="A", amount_minor=900)),
     do(c.OpenDispute, order_id="A", amount_minor=1000), E.DISPUTE_OPENED, {"A": (100, -900)}),
    ("a dispute above all orders: the rest by what was captured", (CAPTURED,),
     do(c.OpenDispute, amount_minor=1530), E.DISPUTE_OPENED, {"A": (1000, -20), "B": (500, -10)}),
    ("a dispute of a stray", (EXPIRED, CAPTURED), do(c.OpenDispute), E.DISPUTE_OPENED,
     {"A": (0, -1000), "B": (0, -500)}),
    ("a dispute without an amount leaves what is in suspense beside the order",
     (EXPIRED, do(c.Capture, order_id="A", amount_minor=1200), do(c.Honour)), do(c.OpenDispute),
     E.DISPUTE_OPENED, {"A": (1000, 0)}),
    ("a dispute of an order that nothing came for", (FAILED,),
     do(c.OpenDispute, order_id="A", amount_minor=9), E.DISPUTE_OPENED, {"A": (0, -9)}),
    ("a dispute passes by what is over", (A_OVER, CAPTURED), do(c.OpenDispute, amount_minor=510),
     E.DISPUTE_OPENED, {"B": (500, -10)}),
    ("won: all of it comes back",
     (CAPTURED, do(c.OpenDispute, order_id="A", amount_minor=1050)), do(c.WinDispute),
     E.DISPUTE_WON, {"A": (1000, 50)}),
    ("lost: what was in excess stays in suspense",
     (CAPTURED, do(c.OpenDispute, order_id="A", amount_minor=1050)), do(c.LoseDispute),
     E.DISPUTE_LOST, {"A": (1000, 0)}),
    ("lost and won after all: the loss is undone, also in suspense",
     (CAPTURED, do(c.OpenDispute, order_id="A", amount_minor=1050, **DP), do(c.LoseDispute, **DP)),
     do(c.WinDispute, **DP), E.DISPUTE_REVERSED, {"A": (1000, 50)}),
    ("lost and won after all, of every order",
     (CAPTURED, do(c.OpenDispute, **DP), do(c.LoseDispute, **DP)), do(c.WinDispute, **DP),
     E.DISPUTE_REVERSED, {"A": (1000, 0), "B": (500, 0)}),
    ("lost and won after all, while another is open",
     (CAPTURED, do(c.OpenDispute, amount_minor=300, order_id="A", **DP), do(c.LoseDispute, **DP),
      do(c.OpenDispute, order_id="A", psp_reference="dp_2")), do(c.WinDispute, **DP),
     E.DISPUTE_REVERSED, {"A": (300, 0)}),
    ("won, that is the open one and not the lost one",
     (CAPTURED, do(c.OpenDispute, amount_minor=300, order_id="A", **DP), do(c.LoseDispute, **DP),
      do(c.OpenDispute, order_id="A", psp_reference="dp_2")),
     do(c.WinDispute, psp_reference="dp_2"), E.DISPUTE_WON, {"A": (700, 0)}),
    ("a second charge", (CAPTURED,), do(c.Capture, amount_minor=1500, is_stray=True),
     E.STRAY_CAPTURED, {"A": (1000, 1000), "B": (500, 500)}),
    ("and it goes back", (CAPTURED, do(c.Capture, amount_minor=1500, is_stray=True)),
     do(c.RecordRefund, is_stray=True), E.STRAY_REFUNDED, {"A": (1000, -1000), "B": (500, -500)}),
    ("a dispute of the second charge", (CAPTURED, do(c.Capture, amount_minor=900, is_stray=True)),
     do(c.OpenDispute, amount_minor=900, is_stray=True), E.STRAY_DISPUTED,
     {"A": (600, -600), "B": (300, -300)}),
    ("a dispute at another PSP", (CAPTURED, ELSEWHERE), do(c.OpenDispute, psp="adyen", **DP),
     E.STRAY_DISPUTED, {"A": (1000, -1000), "B": (500, -500)}),
    ("and won there", (CAPTURED, ELSEWHERE, do(c.OpenDispute, psp="adyen", **DP)),
     do(c.WinDispute, **DP), E.STRAY_DISPUTE_WON, {"A": (1000, 1000), "B": (500, 500)}),
    ("a refund came back", (CAPTURED, do(c.RecordRefund, amount_minor=300, **RE)),
     do(c.ReturnRefund, **RE), E.REFUND_RETURNED, {"A": (200, 200), "B": (100, 100)}),
    ("a refund of a stray came back", (EXPIRED, CAPTURED, do(c.RecordRefund, **RE)),
     do(c.ReturnRefund, **RE), E.REFUND_RETURNED, {"A": (1000, 1000), "B": (500, 500)}),
    ("lost when all of it was in excess",
     (CAPTURED, REFUNDED, do(c.OpenDispute, order_id="A", amount_minor=1000)), do(c.LoseDispute),
     E.DISPUTE_LOST, {"A": (0, 0)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "command", "event_type", "expected"),
    [row[1:] for row in ACCEPTED],
    ids=[row[0] for row in ACCEPTED],
)
def test_accepted(before: tuple[Step, ...], command: Step, event_type: E, expected: Rows) -> None:
    rows = rows_of(after(*before), built(command))
    assert {row.event_type for row in rows} == {event_type}
    assert {row.order_id: (row.amount_minor, row.suspense_minor) for row in rows} == expected


REFUSED: list[tuple[tuple[Step, ...], Step, Code, str]] = [
    ((), do(c.Capture, psp="a b"), Code.INVALID_IDENTIFIER, "psp"),
    ((), do(c.RecordRefund, psp=""), Code.INVALID_IDENTIFIER, "psp"),
    ((EXPIRED,), do(c.Capture, order_id="C"), Code.UNKNOWN_ORDER, "order_id"),
    ((), do(c.Honour), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED,), do(c.Honour), Code.ILLEGAL_TRANSITION, "command"),
    ((CANCELLED, CAPTURED), do(c.Honour), Code.ILLEGAL_TRANSITION, "command"),
    ((EXPIRED,), do(c.Honour), Code.NOTHING_LEFT, "amount_minor"),
    ((EXPIRED, CAPTURED, REFUNDED), do(c.Honour), Code.NOTHING_LEFT, "amount_minor"),
    ((EXPIRED, ELSEWHERE), do(c.Honour), Code.NOTHING_LEFT, "amount_minor"),
    ((EXPIRED, CAPTURED), CAPTURED, Code.NOTHING_LEFT, "amount_minor"),
    ((EXPIRED,), REFUNDED, Code.NOTHING_LEFT, "amount_minor"),
    ((FAILED,), do(c.OpenDispute), Code.NOTHING_LEFT, "amount_minor"),
    ((do(c.Authorize),), do(c.OpenDispute, amount_minor=1), Code.ILLEGAL_TRANSITION, "command"),
    ((EXPIRED, CAPTURED), do(c.RequestRefund, refund_id="r"), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED, do(c.RequestRefund, refund_id="r")), do(c.RecordRefund, refund_id="r", psp="adyen"),
     Code.AMOUNT_DIFFERS, "psp"),
    ((CAPTURED, do(c.OpenDispute, **DP), do(c.LoseDispute, **DP), do(c.WinDispute, **DP)),
     do(c.WinDispute, **DP), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED, do(c.OpenDispute, **DP), do(c.LoseDispute, **DP)),
     do(c.WinDispute, psp_reference="dp_2"), Code.ILLEGAL_TRANSITION, "command"),
    ((CAPTURED,), do(c.ReturnRefund, **RE), Code.UNKNOWN_REFUND, "psp_reference"),
    ((CAPTURED, REFUNDED), do(c.ReturnRefund), Code.UNKNOWN_REFUND, "psp_reference"),
    ((CAPTURED, do(c.RecordRefund, **RE), do(c.ReturnRefund, **RE)), do(c.ReturnRefund, **RE),
     Code.UNKNOWN_REFUND, "psp_reference"),
    ((CAPTURED, do(c.RecordRefund, **RE)), do(c.ReturnRefund, psp="adyen", **RE),
     Code.UNKNOWN_REFUND, "psp_reference"),
    ((CAPTURED,), do(c.RecordRefund, amount_minor=1501), Code.REFUND_ABOVE_CAPTURED,
     "amount_minor"),
    ((EXPIRED, CAPTURED, do(c.RecordRefund, refund_id="r", amount_minor=1)),
     do(c.RecordRefund, refund_id="r", amount_minor=1), Code.REFUND_ALREADY_DECIDED, "refund_id"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "command", "code", "field"),
    REFUSED,
    ids=[f"{row[1][0].__name__}-{row[2]}-{index}" for index, row in enumerate(REFUSED)],
)
def test_refused(before: tuple[Step, ...], command: Step, code: Code, field: str) -> None:
    decision = decide(after(*before), built(command))
    assert isinstance(decision, Rejection), decision
    assert (decision.code, decision.field) == (code, field)


def test_a_stray_changes_nothing_but_what_is_in_suspense() -> None:
    before, state = after(EXPIRED), after(EXPIRED, CAPTURED)
    for order_id, order in state.orders.items():
        assert order.state == before.orders[order_id].state
        assert order.captured_minor == 0
        assert dict(order.suspense_minor) == {"stripe": order.amount_minor}


def test_suspense_is_kept_by_psp() -> None:
    state = after(
        AT_ADYEN, CAPTURED, do(c.Capture, psp="stripe", order_id="A"),
        do(c.RecordRefund, psp="stripe", order_id="A", amount_minor=400),
        do(c.OpenDispute, order_id="A", amount_minor=1050),
    )  # fmt: skip
    assert dict(state.orders["A"].suspense_minor) == {"stripe": 600, "adyen": -50}
    assert dict(state.orders["B"].suspense_minor) == {}


def test_a_stray_has_the_method_of_its_own_attempt_and_the_payment_keeps_its_own() -> None:
    moved = do(c.Attempt, psp="adyen", method="wallet")
    (row, _) = rows_of(after(moved, CAPTURED), built(do(c.Capture, psp="stripe")))
    assert (row.psp, row.method) == ("stripe", "card")
    state = after(moved, CAPTURED, do(c.Capture, psp="stripe"))
    assert (state.psp, state.method) == ("adyen", "wallet")
    (row, _) = rows_of(state, built(REFUNDED))
    assert (row.event_type, row.psp, row.method) == (E.REFUNDED, "adyen", "wallet")


def test_honouring_takes_the_planned_shares_and_ends_the_authorization() -> None:
    state = after(do(c.Authorize, amount_minor=3), EXPIRED, do(c.Capture, order_id="A"))
    (row,) = rows_of(state, built(do(c.Honour)))
    assert (row.commission_minor, row.logistics_fee_minor) == (100, 50)
    assert (row.status, row.captured_minor, row.pending_minor) == (Status.CAPTURED, 1000, 850)
    assert row.authorized_minor == 0


def test_what_is_honoured_can_be_refunded_and_disputed() -> None:
    honoured = (EXPIRED, CAPTURED, do(c.Honour))
    refunded = rows_of(after(*honoured), built(REFUNDED))
    assert {row.event_type for row in refunded} == {E.REFUNDED}
    lost = after(*honoured, do(c.OpenDispute), do(c.LoseDispute))
    assert {order.refunded_minor for order in lost.orders.values()} == {1000, 500}


def test_a_reversed_loss_is_as_if_the_dispute_had_been_won() -> None:
    taken = (CAPTURED, do(c.Release, order_id="A"), do(c.OpenDispute, amount_minor=1530, **DP))
    won = after(*taken, do(c.WinDispute, **DP))
    reversed_ = after(*taken, do(c.LoseDispute, **DP), do(c.WinDispute, **DP))
    for order_id, order in reversed_.orders.items():
        before = won.orders[order_id]
        assert order.state == before.state
        assert (order.refunded_minor, order.reserved_minor, dict(order.lost)) == (0, 0, {})
        assert (order.taken, order.given_back) == (before.taken, before.given_back)
        assert order.suspense_minor == before.suspense_minor
        assert order.pending_minor == before.pending_minor


def test_a_won_dispute_leaves_nothing_in_suspense() -> None:
    state = after(CAPTURED, do(c.OpenDispute, order_id="A", amount_minor=1050), do(c.WinDispute))
    order = state.orders["A"]
    assert dict(order.suspense_minor) == {"stripe": 0}
    assert (order.disputed_minor, order.disputed_suspense_minor, order.reserved_minor) == (0, 0, 0)


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ((EXPIRED,), do(c.Capture, amount_minor=7, psp_reference="pi_1")),
        ((), ELSEWHERE),
        ((EXPIRED, CAPTURED), do(c.RecordRefund, refund_id="r", amount_minor=5)),
        ((EXPIRED, CAPTURED), do(c.Honour)),
        ((CAPTURED,), do(c.OpenDispute, amount_minor=2000, reason="fraud")),
    ],
)
def test_the_same_fact_again_changes_nothing(before: tuple[Step, ...], step: Step) -> None:
    again = change(step[0], PAYMENT.payment_id, **step[1], idempotency_key="again")
    state = state_after([PAYMENT, *(built(one) for one in before), again])
    assert isinstance(decide(state, again), AlreadyDone)
