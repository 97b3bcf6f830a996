"""Decisions about payouts, and about keys that come again, as tables."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from schemas.errors import Rejection
from schemas.lifecycle import EventType, Status
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
from writer.decide import AlreadyDone, decide
from writer.state import PaymentState

PAYMENT = a_payment(
    capture="manual",
    flow="direct",
    payment_token="pm_1",
    metadata={"cart": "7"},
    caller="shop",
    caller_key="k1",
)
PAYOUT = a_payout()
CAPTURED = do(c.Capture)


def built(step: Step, of: Any = PAYMENT) -> c.Change:
    return change(step[0], of.payment_id, **step[1])


def after(*steps: Step, of: Any = PAYMENT) -> PaymentState:
    return state_after([of, *(built(step, of) for step in steps)])


# -- payouts -------------------------------------------------------------------------------------

SUBMITTED, PAID = do(c.SubmitPayout), do(c.MarkPayoutPaid)

PAYOUTS: list[tuple[tuple[Step, ...], Step, Status | None, int]] = [
    ((), SUBMITTED, Status.SUBMITTED, 0),
    ((), PAID, None, 0),
    ((), do(c.CancelPayout), Status.CANCELLED, +400),
    ((), do(c.FailPayout, reason="no_account"), Status.FAILED, +400),
    ((SUBMITTED,), PAID, Status.PAID, 0),
    ((SUBMITTED,), do(c.FailPayout), Status.FAILED, +400),
    ((SUBMITTED, PAID), do(c.ReturnPayout), Status.RETURNED, +400),
    ((SUBMITTED, PAID), do(c.FailPayout), None, 0),
    ((SUBMITTED, PAID, do(c.ReturnPayout)), PAID, None, 0),
    ((do(c.CancelPayout),), SUBMITTED, None, 0),
]


@pytest.mark.parametrize(("before", "command", "status", "available"), PAYOUTS)
def test_payout(
    before: tuple[Step, ...], command: Step, status: Status | None, available: int
) -> None:
    decision = decide(after(*before, of=PAYOUT), built(command, PAYOUT))
    if status is None:
        assert isinstance(decision, Rejection)
        assert decision.code == Code.ILLEGAL_TRANSITION
    else:
        assert isinstance(decision, tuple)
        assert (decision[0].status, decision[0].available_delta_minor) == (status, available)
        assert decision[0].amount_minor == 400


@pytest.mark.parametrize(("available", "is_accepted"), [(400, True), (399, False), (-5, False)])
def test_payout_needs_the_balance(available: int, is_accepted: bool) -> None:
    decision = decide(None, PAYOUT, available_minor=available)
    if is_accepted:
        assert isinstance(decision, tuple)
        assert decision[0].available_delta_minor == -400
        assert decision[0].order_id == str(PAYOUT.payment_id)
    else:
        assert isinstance(decision, Rejection)
        assert decision.code == Code.PAYOUT_ABOVE_BALANCE


def test_payout_keeps_its_reference() -> None:
    state = after(do(c.SubmitPayout, psp_reference="po_1"), of=PAYOUT)
    (row,) = rows_of(state, change(c.MarkPayoutPaid, PAYOUT.payment_id))
    assert row.psp_reference == "po_1"


def test_capture_of_a_payout_is_refused() -> None:
    decision = decide(after(of=PAYOUT), change(c.Capture, PAYOUT.payment_id))
    assert isinstance(decision, Rejection)
    assert decision.code == Code.WRONG_DIRECTION


# -- idempotency ---------------------------------------------------------------------------------

KEYED = do(c.Capture, idempotency_key="k", amount_minor=300, psp_reference="pi_1")

AGAIN: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"occurred_at": NOON + timedelta(hours=1)}, None),
    ({"occurred_at": NOON.astimezone(timezone(timedelta(hours=9)))}, None),
    ({"amount_minor": 301}, "amount_minor"),
    ({"amount_minor": None}, "amount_minor"),
    ({"order_id": "A"}, "order_id"),
    ({"psp_reference": None}, "psp_reference"),
    ({"order_id": "A", "amount_minor": 1}, "order_id, amount_minor"),
]


@pytest.mark.parametrize(("fields", "differing"), AGAIN)
def test_key_again(fields: dict[str, Any], differing: str | None) -> None:
    state = after(KEYED, CAPTURED, do(c.RecordRefund))
    kind, first_fields = KEYED
    decision = decide(state, change(kind, PAYMENT.payment_id, **first_fields | fields))
    if differing is None:
        assert isinstance(decision, AlreadyDone)
        assert [(row.seq, row.amount_minor) for row in decision.events] == [(3, 200), (4, 100)]
    else:
        assert isinstance(decision, Rejection)
        assert decision.code == Code.IDEMPOTENCY_CONFLICT
        assert set(differing.split(", ")) == set(_named(decision.problem))


def _named(problem: str) -> list[str]:
    return problem.split("differs in ")[1].split(";")[0].split(", ")


def test_key_of_another_command_is_refused() -> None:
    command = change(c.RecordRefund, PAYMENT.payment_id, idempotency_key="k", amount_minor=300)
    decision = decide(after(KEYED), command)
    assert isinstance(decision, Rejection)
    assert _named(decision.problem) == ["command"]


@pytest.mark.parametrize(
    ("fields", "differing"),
    [
        ({}, None),
        ({"occurred_at": datetime(2025, 1, 1, tzinfo=NOON.tzinfo)}, None),
        ({"currency": "USD"}, ["currency"]),
        ({"metadata": {"cart": "7"}}, None),
        ({"metadata": {"cart": "8"}}, ["metadata"]),
        ({"metadata": None}, ["metadata"]),
        ({"capture": None, "flow": "hosted"}, ["capture", "flow"]),
        ({"payment_token": "pm_2", "return_url": "https://a", "device_fingerprint": "x"},
         ["payment_token", "return_url", "device_fingerprint"]),
        ({"caller": "other", "caller_key": "k2"}, ["caller", "caller_key"]),
        ({"buyer_id": "buyer-2", "method": "sepa"}, ["buyer_id", "method"]),
        ({"orders": (line("A"), line("B", 501, 0, logistics_fee_minor=0))},
         ["orders[1].amount_minor"]),
        ({"orders": (replace(PAYMENT.orders[0], seller_id="x"), PAYMENT.orders[1])},
         ["orders[0].seller_id"]),
    ],
)  # fmt: skip
def test_payment_again(fields: dict[str, Any], differing: list[str] | None) -> None:
    decision = decide(after(CAPTURED), replace(PAYMENT, **fields))
    if differing is None:
        assert isinstance(decision, AlreadyDone)
        assert [row.event_type for row in decision.events] == [EventType.CREATED] * 2
    else:
        assert isinstance(decision, Rejection)
        assert set(_named(decision.problem)) == set(differing)


def test_payment_again_with_another_order_names_orders() -> None:
    decision = decide(after(), replace(PAYMENT, orders=PAYMENT.orders[:1]))
    assert isinstance(decision, Rejection)
    assert "orders" in _named(decision.problem)


def test_payout_again_is_already_done_whatever_the_balance() -> None:
    assert isinstance(decide(after(of=PAYOUT), PAYOUT, available_minor=0), AlreadyDone)
    decision = decide(after(of=PAYOUT), replace(PAYOUT, amount_minor=401), available_minor=0)
    assert isinstance(decision, Rejection)
    assert _named(decision.problem) == ["amount_minor"]


@pytest.mark.parametrize(
    "step",
    [
        do(c.RequestRefund, refund_id="re9", amount_minor=7),
        do(c.RecordRefund, refund_id="re9"),
        do(c.RecordRefund),
        do(c.OpenDispute, order_id="B", reason="fraud"),
        do(c.Release),
        do(c.Deliver, order_id="A"),
    ],
)
def test_every_kind_of_request_is_known_again(step: Step) -> None:
    again = change(step[0], PAYMENT.payment_id, **step[1], idempotency_key="again")
    before = after(CAPTURED)
    state = with_rows(before, rows_of(before, again))
    assert isinstance(decide(state, again), AlreadyDone)
