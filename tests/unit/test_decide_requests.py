"""Attempts, requests to the PSP and authorizations: decided as tables."""

from typing import Any

import pytest

from schemas.errors import Rejection
from schemas.lifecycle import EventType, Status
from schemas.rejections import RejectionCode as Code
from tests.builders import Step, a_payment, change, do, rows_of, state_after
from writer import commands as c
from writer.decide import AlreadyDone, decide
from writer.state import AttemptMade, PaymentState

PAYMENT = a_payment(payment_token="pm_card_visa", flow="direct")


def after(*steps: Step) -> PaymentState:
    return state_after([PAYMENT, *(built(step) for step in steps)])


def built(step: Step) -> c.Change:
    kind, fields = step
    return change(kind, PAYMENT.payment_id, **fields)


UNKNOWN = do(c.MarkUnknown)
AT_ADYEN = do(c.Attempt, psp="adyen", payment_token="tok_2", evidence="not_sent")
AUTHORIZED = do(c.Authorize)
PARTLY = do(c.Authorize, amount_minor=900)
REQUESTED = do(c.RequestCapture)
CANCELLING = do(c.RequestCancel)

# -- what happens: (before, command) -> {order: amount} -------------------------------------------

ACCEPTED: list[tuple[str, tuple[Step, ...], Step, dict[str, int]]] = [
    ("another attempt after nobody knew", (UNKNOWN,), AT_ADYEN, {"A": 0, "B": 0}),
    ("an attempt when the buyer has to act", (do(c.RequireAction),), AT_ADYEN, {"A": 0, "B": 0}),
    ("the attempt that confirms", (), do(c.Attempt, psp="stripe"), {"A": 0, "B": 0}),
    ("an order that is over takes no part in it", (do(c.Cancel, order_id="A"),), AT_ADYEN,
     {"B": 0}),
    ("an attempt after an authorization that is gone", (AUTHORIZED, UNKNOWN), AT_ADYEN,
     {"A": 0, "B": 0}),
    ("a part is authorized in proportion", (), PARTLY, {"A": 600, "B": 300}),
    ("an order without a part stays as it is", (), do(c.Authorize, amount_minor=1), {"A": 1}),
    ("a part of one order", (), do(c.Authorize, order_id="B", amount_minor=499), {"B": 499}),
    ("authorized again after nobody knew", (PARTLY, UNKNOWN), AUTHORIZED, {"A": 1000, "B": 500}),
    ("a capture is requested of all that is authorized", (PARTLY,), REQUESTED,
     {"A": 600, "B": 300}),
    ("a part of it is requested", (AUTHORIZED,), do(c.RequestCapture, amount_minor=150),
     {"A": 100, "B": 50}),
    ("after the capture of another order", (AUTHORIZED, do(c.RequestCapture, order_id="A"),
     do(c.Capture, order_id="A")), REQUESTED, {"B": 500}),
    ("again when it failed", (AUTHORIZED, REQUESTED, do(c.FailCapture)), REQUESTED,
     {"A": 1000, "B": 500}),
    ("what a partial capture left is requested", (AUTHORIZED, do(c.Capture, amount_minor=300)),
     REQUESTED, {"A": 800, "B": 400}),
    ("more of a captured order", (AUTHORIZED, do(c.Capture, order_id="B", amount_minor=100)),
     do(c.RequestCapture, order_id="B", amount_minor=399, final=True), {"B": 399}),
    ("a request for the rest fails",
     (AUTHORIZED, do(c.Capture, order_id="B", amount_minor=100), REQUESTED),
     do(c.FailCapture, order_id="B"), {"B": 0}),
    ("every open request fails", (AUTHORIZED, do(c.RequestCapture, order_id="B")),
     do(c.FailCapture, reason="amount_too_small"), {"B": 0}),
    ("a capture takes what is authorized", (PARTLY,), do(c.Capture), {"A": 600, "B": 300}),
    ("captured in spite of a request to cancel", (AUTHORIZED, CANCELLING), do(c.Capture),
     {"A": 1000, "B": 500}),
    ("another amount than was requested", (AUTHORIZED, REQUESTED), do(c.Capture, amount_minor=3),
     {"A": 2, "B": 1}),
    ("a cancellation is requested", (), CANCELLING, {"A": 0, "B": 0}),
    ("only where none is open", (do(c.RequestCancel, order_id="A"),), CANCELLING, {"B": 0}),
    ("a cancellation is requested while it is processed", (do(c.MarkProcessing),), CANCELLING,
     {"A": 0, "B": 0}),
    ("a request to cancel fails", (CANCELLING,), do(c.FailCancel, reason="too_late"),
     {"A": 0, "B": 0}),
    ("cancelled as requested", (CANCELLING,), do(c.Cancel), {"A": 0, "B": 0}),
    ("an attempt after a request to cancel failed", (CANCELLING, do(c.FailCancel)), AT_ADYEN,
     {"A": 0, "B": 0}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "command", "amounts"),
    [row[1:] for row in ACCEPTED],
    ids=[f"{row[0]}: {row[2][0].__name__}" for row in ACCEPTED],
)
def test_accepted(before: tuple[Step, ...], command: Step, amounts: dict[str, int]) -> None:
    rows = rows_of(after(*before), built(command))
    assert {row.event_type for row in rows} == {command[0].event_type}
    assert {row.order_id: row.amount_minor for row in rows} == amounts
    assert {row.suspense_minor for row in rows} == {0}


REFUSED: list[tuple[tuple[Step, ...], Step, Code, str]] = [
    ((), do(c.Attempt, psp="a b"), Code.INVALID_IDENTIFIER, "psp"),
    ((), do(c.Attempt, psp="adyen", method="x" * 65), Code.INVALID_IDENTIFIER, "method"),
    ((), do(c.Attempt, psp="adyen", evidence="no charge"), Code.INVALID_IDENTIFIER, "evidence"),
    ((), do(c.Attempt, psp="adyen", payment_token=""), Code.INVALID_IDENTIFIER, "payment_token"),
    ((), do(c.RequireAction, url="https://a b"), Code.INVALID_IDENTIFIER, "url"),
    ((), do(c.RequireAction, url="x" * 4097), Code.INVALID_IDENTIFIER, "url"),
    ((do(c.MarkProcessing),), AT_ADYEN, Code.ILLEGAL_TRANSITION, "command"),
    ((AUTHORIZED,), AT_ADYEN, Code.ILLEGAL_TRANSITION, "command"),
    ((do(c.Capture, order_id="A"),), AT_ADYEN, Code.ILLEGAL_TRANSITION, "command"),
    ((do(c.Fail),), AT_ADYEN, Code.ILLEGAL_TRANSITION, "command"),
    ((), REQUESTED, Code.ILLEGAL_TRANSITION, "command"),
    ((do(c.Fail),), REQUESTED, Code.ILLEGAL_TRANSITION, "command"),
    ((do(c.Capture),), REQUESTED, Code.NOTHING_LEFT, "amount_minor"),
    ((do(c.Capture),), CANCELLING, Code.ILLEGAL_TRANSITION, "command"),
    ((do(c.Capture, order_id="A"),), CANCELLING, Code.ILLEGAL_TRANSITION, "command"),
    ((CANCELLING,), AT_ADYEN, Code.CANCEL_ALREADY_REQUESTED, "order_id"),
    ((AUTHORIZED, REQUESTED, UNKNOWN), AT_ADYEN, Code.CAPTURE_ALREADY_REQUESTED, "order_id"),
    ((AUTHORIZED, REQUESTED), REQUESTED, Code.CAPTURE_ALREADY_REQUESTED, "order_id"),
    ((AUTHORIZED, REQUESTED), CANCELLING, Code.CAPTURE_ALREADY_REQUESTED, "order_id"),
    ((CANCELLING, AUTHORIZED), REQUESTED, Code.CANCEL_ALREADY_REQUESTED, "order_id"),
    ((CANCELLING,), CANCELLING, Code.CANCEL_ALREADY_REQUESTED, "order_id"),
    ((AUTHORIZED, do(c.RequestCapture, order_id="A")), do(c.RequestCapture, order_id="A"),
     Code.CAPTURE_ALREADY_REQUESTED, "order_id"),
    ((AUTHORIZED, do(c.RequestCapture, order_id="A")), do(c.RequestCapture, order_id="B"),
     Code.CAPTURE_ALREADY_REQUESTED, "order_id"),
    ((AUTHORIZED, do(c.RequestCapture, order_id="A")), REQUESTED,
     Code.CAPTURE_ALREADY_REQUESTED, "order_id"),
    ((AUTHORIZED,), do(c.FailCapture), Code.NOTHING_REQUESTED, "order_id"),
    ((AUTHORIZED, REQUESTED, do(c.FailCapture)), do(c.FailCapture), Code.NOTHING_REQUESTED,
     "order_id"),
    ((), do(c.FailCancel), Code.NOTHING_REQUESTED, "order_id"),
    ((AUTHORIZED, CANCELLING), do(c.FailCapture), Code.NOTHING_REQUESTED, "order_id"),
    ((), do(c.Authorize, amount_minor=1501), Code.AUTHORIZATION_ABOVE_AMOUNT, "amount_minor"),
    ((), do(c.Authorize, order_id="B", amount_minor=501), Code.AUTHORIZATION_ABOVE_AMOUNT,
     "amount_minor"),
    ((PARTLY,), do(c.Capture, amount_minor=901), Code.CAPTURE_ABOVE_AUTHORIZATION, "amount_minor"),
    ((PARTLY,), do(c.Capture, amount_minor=1501), Code.CAPTURE_ABOVE_AMOUNT, "amount_minor"),
    ((PARTLY,), do(c.RequestCapture, amount_minor=901), Code.CAPTURE_ABOVE_AUTHORIZATION,
     "amount_minor"),
    ((PARTLY, do(c.Capture)), do(c.Capture), Code.NOTHING_LEFT, "amount_minor"),
    ((PARTLY, do(c.Capture, amount_minor=300)), do(c.RequestCapture, amount_minor=601),
     Code.CAPTURE_ABOVE_AUTHORIZATION, "amount_minor"),
    ((AUTHORIZED, do(c.Capture, amount_minor=300), REQUESTED), REQUESTED,
     Code.CAPTURE_ALREADY_REQUESTED, "order_id"),
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


def test_who_asks_for_a_second_capture_is_told_which_one_to_wait_for() -> None:
    state = after(AUTHORIZED, do(c.RequestCapture, order_id="A"))
    refused = decide(state, built(do(c.RequestCapture, order_id="B")))
    assert isinstance(refused, Rejection)
    assert refused.problem == (
        "a capture of order A was requested (seq 5) and has no outcome yet; "
        "wait for it and ask again then"
    )


# -- what the state shows -------------------------------------------------------------------------


def test_an_attempt_moves_the_payment() -> None:
    state = after(UNKNOWN, do(c.Attempt, psp="adyen", method="wallet"))
    assert (state.psp, state.method) == ("adyen", "wallet")
    rows = rows_of(state, built(do(c.Capture, psp_reference="psp_9")))
    assert {(row.psp, row.method) for row in rows} == {("adyen", "wallet")}
    assert {row.event_type for row in rows} == {EventType.CAPTURED}


def test_the_attempts_are_told_with_what_proves_that_the_one_before_has_no_charge() -> None:
    state = after(
        do(c.MarkUnknown, psp_reference="pi_1"), AT_ADYEN,
        do(c.RequireAction, psp_reference="pi_2"), do(c.Authorize, psp_reference="pi_3"),
        do(c.Capture), do(c.RecordRefund, psp_reference="re_1", amount_minor=1),
    )  # fmt: skip
    first, second = state.attempts
    assert first == AttemptMade(
        number=1, seq=1, psp="stripe", method="card", payment_token="pm_card_visa", reference="pi_1"
    )
    assert second == AttemptMade(
        number=2, seq=5, psp="adyen", method="card", payment_token="tok_2", evidence="not_sent",
        reference="pi_3",
    )  # fmt: skip


def test_attempts_are_numbered() -> None:
    state = after(UNKNOWN, AT_ADYEN, UNKNOWN, do(c.Attempt, psp="stripe"))
    assert [(made.number, made.psp) for made in state.attempts] == [
        (1, "stripe"),
        (2, "adyen"),
        (3, "stripe"),
    ]


def test_an_attempt_begins_without_an_authorization() -> None:
    state = after(PARTLY, UNKNOWN, AT_ADYEN)
    assert {order.authorized_minor for order in state.orders.values()} == {0}
    assert {order.state.status for order in state.orders.values()} == {Status.CREATED}


OPEN_REQUESTS: list[tuple[tuple[Step, ...], tuple[int, int, bool]]] = [
    ((AUTHORIZED,), (0, 0, False)),
    ((AUTHORIZED, do(c.RequestCapture, amount_minor=300)), (200, 5, False)),
    ((AUTHORIZED, REQUESTED, UNKNOWN), (1000, 5, False)),
    ((AUTHORIZED, REQUESTED, do(c.Capture, order_id="A", amount_minor=1)), (0, 0, False)),
    ((AUTHORIZED, REQUESTED, do(c.FailCapture)), (0, 0, False)),
    ((AUTHORIZED, REQUESTED, do(c.Expire)), (0, 0, False)),
    ((AUTHORIZED, CANCELLING), (0, 0, True)),
    ((AUTHORIZED, CANCELLING, UNKNOWN), (0, 0, True)),
    ((AUTHORIZED, CANCELLING, do(c.Cancel)), (0, 0, False)),
    ((AUTHORIZED, CANCELLING, do(c.FailCancel)), (0, 0, False)),
    ((AUTHORIZED, CANCELLING, do(c.Capture)), (0, 0, False)),
    ((CANCELLING, do(c.Fail)), (0, 0, False)),
]


@pytest.mark.parametrize(("before", "expected"), OPEN_REQUESTS)
def test_a_request_is_open_until_an_outcome(
    before: tuple[Step, ...], expected: tuple[int, int, bool]
) -> None:
    order = after(*before).orders["A"]
    found = (order.capture_requested_minor, order.capture_requested_seq, order.cancel_requested)
    assert found == expected


# -- sent again -----------------------------------------------------------------------------------

AGAIN: list[tuple[tuple[Step, ...], Step, dict[str, Any], str]] = [
    ((UNKNOWN,), AT_ADYEN, {"evidence": "search_empty"}, "evidence"),
    ((UNKNOWN,), AT_ADYEN, {"method": "card"}, "method"),
    ((UNKNOWN,), AT_ADYEN, {"psp": "stripe"}, "psp"),
    ((UNKNOWN,), AT_ADYEN, {"payment_token": None}, "payment_token"),
    ((), do(c.RequireAction, url="https://psp/1"), {"url": "https://psp/2"}, "url"),
    ((), PARTLY, {"amount_minor": None}, "amount_minor"),
    ((AUTHORIZED,), REQUESTED, {"amount_minor": 1500}, "amount_minor"),
    ((AUTHORIZED, REQUESTED), do(c.FailCapture, reason="x"), {"reason": None}, "reason"),
    ((), do(c.RequestCancel, reason="x"), {"reason": "y"}, "reason"),
    ((CANCELLING,), do(c.FailCancel), {"order_id": "A"}, "order_id"),
    ((), do(c.Capture, psp="stripe"), {"psp": None}, "psp"),
    ((do(c.Capture),), do(c.RecordRefund, psp="stripe"), {"psp": "adyen"}, "psp"),
]


@pytest.mark.parametrize(("before", "command", "fields", "differing"), AGAIN)
def test_sent_again(
    before: tuple[Step, ...], command: Step, fields: dict[str, Any], differing: str
) -> None:
    first = change(command[0], PAYMENT.payment_id, **command[1], idempotency_key="again")
    state = state_after([PAYMENT, *(built(step) for step in before), first])
    assert isinstance(decide(state, first), AlreadyDone)
    other = change(command[0], PAYMENT.payment_id, **command[1] | fields, idempotency_key="again")
    decision = decide(state, other)
    assert isinstance(decision, Rejection)
    assert decision.code == Code.IDEMPOTENCY_CONFLICT
    assert f"differs in {differing};" in decision.problem
