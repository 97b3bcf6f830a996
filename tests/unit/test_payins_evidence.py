"""Evidence as a table: what was recorded, what the books say, and what must come of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.charges import (
    Charge,
    ChargeStatus,
    Dispute,
    DisputeStatus,
    Failure,
    Refund,
    RefundStatus,
)
from payins.evidence import commands, unrecordable
from tests.builders import a_payment, change, line
from writer import commands as c
from writer.decide import AlreadyDone, decide
from writer.state import PaymentState, apply

T = datetime(2026, 1, 1, tzinfo=UTC)
S = ChargeStatus
PAYMENT = a_payment(line("A"), line("B", 500, 0), flow="direct", capture="automatic")
WHOLE = 1500


def charge(status: ChargeStatus, **fields: Any) -> Charge:
    """A charge of the payment; what it holds follows from its status."""
    held = WHOLE if status in (S.AUTHORIZED, S.CAPTURED) else 0
    defaults: dict[str, Any] = {
        "psp": "stripe",
        "reference": "pi_1",
        "payment_id": PAYMENT.payment_id,
        "intent_seq": 1,
        "currency": "EUR",
        "amount_minor": WHOLE,
        "authorized_minor": held,
        "captured_minor": held if status is S.CAPTURED else 0,
        "at": T,
    }
    return Charge(status=status, **defaults | fields)


def refund(status: RefundStatus = RefundStatus.SUCCEEDED, **fields: Any) -> Refund:
    defaults: dict[str, Any] = {
        "reference": "re_1",
        "refund_id": None,
        "amount_minor": 400,
        "reason": None,
        "at": T,
    }
    return Refund(status=status, **defaults | fields)


def dispute(status: DisputeStatus = DisputeStatus.OPEN, **fields: Any) -> Dispute:
    defaults: dict[str, Any] = {
        "reference": "dp_1",
        "amount_minor": 1500,
        "reason": "fraudulent",
        "opened_at": T,
        "decided_at": None if status is DisputeStatus.OPEN else T + timedelta(days=1),
    }
    return Dispute(status=status, **defaults | fields)


def recorded(state: PaymentState | None, command: Any) -> PaymentState:
    decision = decide(state, command)
    if isinstance(decision, AlreadyDone):
        assert state is not None
        return state
    assert isinstance(decision, tuple), decision
    return apply(state, decision)


Before = Charge | tuple[type[c.Change], dict[str, Any]]


def after(*steps: Before, of: Any = PAYMENT) -> PaymentState:
    """The state after charges were observed and commands carried out, in this order."""
    state = recorded(None, of)
    for step in steps:
        if isinstance(step, Charge):
            state = observed(state, step)
        else:
            state = recorded(state, change(step[0], of.payment_id, **step[1]))
    return state


def observed(state: PaymentState, seen: Charge) -> PaymentState:
    for _ in range(10):
        missing = commands(state, seen)
        progress = False
        for command in missing:
            decision = decide(state, command)
            if isinstance(decision, tuple):
                state, progress = apply(state, decision), True
        if not progress:
            return state
    raise AssertionError("it does not end")


def do(kind: type[c.Change], **fields: Any) -> tuple[type[c.Change], dict[str, Any]]:
    return kind, fields


def said(state: PaymentState, seen: Charge) -> list[tuple[str, str | None, int | None]]:
    """What evidence asks for: the kind of command, the order, the amount."""
    return [
        (
            type(each).__name__,
            getattr(each, "order_id", None),
            getattr(each, "amount_minor", None),
        )
        for each in commands(state, seen)
    ]


AUTHORIZED = charge(S.AUTHORIZED)
CAPTURED = charge(S.CAPTURED)
REQUEST_REFUND = do(c.RequestRefund, refund_id="r-1", amount_minor=400)
LATER, LATEST = T + timedelta(days=2), T + timedelta(days=3)
AGAIN = charge(S.CAPTURED, reference="pi_2")

CASES: list[tuple[str, Sequence[Before], Charge, list[tuple[str, str | None, int | None]]]] = [
    ("nothing asked yet", (), charge(S.CREATED), []),
    ("the buyer must act", (), charge(S.ACTION_REQUIRED), [("RequireAction", None, None)]),
    ("in progress", (), charge(S.PROCESSING), [("MarkProcessing", None, None)]),
    ("authorized", (), AUTHORIZED, [("Authorize", None, None)]),
    (
        "partly authorized",
        (),
        replace(AUTHORIZED, authorized_minor=900),
        [("Authorize", None, 900)],
    ),
    ("captured", (), CAPTURED, [("Capture", None, 1500)]),
    ("declined", (), charge(S.FAILED), [("Fail", None, None)]),
    ("cancelled", (), charge(S.CANCELLED), [("Cancel", None, None)]),
    ("expired", (), charge(S.EXPIRED), [("Expire", None, None)]),
    # doubled, stale, out of order
    ("doubled", (CAPTURED,), CAPTURED, []),
    ("action, stale", (charge(S.PROCESSING),), charge(S.ACTION_REQUIRED), []),
    ("progress, stale", (AUTHORIZED,), charge(S.PROCESSING), []),
    ("authorization, stale", (CAPTURED,), AUTHORIZED, []),
    ("an earlier try failed", (AUTHORIZED,), charge(S.FAILED), []),
    ("it failed after all", (AUTHORIZED,), charge(S.FAILED, at=LATER), [("Fail", None, None)]),
    ("failed, captured before", (CAPTURED,), charge(S.FAILED, at=LATER), []),
    # from unknown
    (
        "unknown, action",
        (do(c.MarkUnknown),),
        charge(S.ACTION_REQUIRED),
        [("RequireAction", None, None)],
    ),
    (
        "known, lost, known again",
        (charge(S.ACTION_REQUIRED), do(c.MarkUnknown)),
        charge(S.ACTION_REQUIRED),
        [("RequireAction", None, None)],
    ),
    ("unknown, captured", (do(c.MarkUnknown),), CAPTURED, [("Capture", None, 1500)]),
    (
        "lost after authorization",
        (AUTHORIZED, do(c.MarkUnknown)),
        AUTHORIZED,
        [("Authorize", None, None)],
    ),
    # captures
    (
        "one order's capture was requested",
        (AUTHORIZED, do(c.RequestCapture, order_id="B")),
        replace(AUTHORIZED, captured_minor=500),
        [("Capture", "B", 500)],
    ),
    (
        "more was captured than requested",
        (AUTHORIZED, do(c.RequestCapture, order_id="B")),
        CAPTURED,
        [("Capture", "B", 500), ("Capture", None, 1000)],
    ),
    (
        "less was captured than requested",
        (AUTHORIZED, do(c.RequestCapture, order_id="A")),
        replace(AUTHORIZED, captured_minor=300),
        [("Capture", "A", 300)],
    ),
    (
        "all was requested",
        (AUTHORIZED, do(c.RequestCapture)),
        CAPTURED,
        [("Capture", None, 1500)],
    ),
    (
        "the next partial capture",
        (AUTHORIZED, replace(AUTHORIZED, captured_minor=500)),
        replace(AUTHORIZED, captured_minor=800),
        [("Capture", None, 300)],
    ),
    (
        "the rest of a finished charge is released",
        (AUTHORIZED, do(c.RequestCapture, order_id="B"), replace(AUTHORIZED, captured_minor=500)),
        charge(S.CAPTURED, captured_minor=500),
        [("Cancel", "A", None)],
    ),
    # late and foreign money
    ("captured after a failure", (charge(S.FAILED),), CAPTURED, [("Capture", None, 1500)]),
    ("captured after a cancellation", (charge(S.CANCELLED),), CAPTURED, [("Capture", None, 1500)]),
    (
        "captured where we gave up",
        (do(c.Attempt, psp="adyen", evidence="not_sent"),),
        CAPTURED,
        [("Capture", None, 1500)],
    ),
    (
        "held where we gave up",
        (do(c.Attempt, psp="adyen", evidence="not_sent"),),
        AUTHORIZED,
        [],
    ),
    # refunds
    (
        "refund in progress",
        (CAPTURED,),
        replace(CAPTURED, refunds=(refund(RefundStatus.PENDING),)),
        [],
    ),
    (
        "refund from the processor's pages",
        (CAPTURED,),
        replace(CAPTURED, refunds=(refund(),)),
        [("RecordRefund", None, 400)],
    ),
    (
        "refund that was requested",
        (CAPTURED, REQUEST_REFUND),
        replace(CAPTURED, refunds=(refund(refund_id="r-1"),)),
        [("RecordRefund", None, None)],
    ),
    (
        "refund with another amount than requested",
        (CAPTURED, REQUEST_REFUND),
        replace(CAPTURED, refunds=(refund(refund_id="r-1", amount_minor=300),)),
        [("FailRefund", None, None), ("RecordRefund", None, 300)],
    ),
    (
        "refund that failed",
        (CAPTURED, REQUEST_REFUND),
        replace(CAPTURED, refunds=(refund(RefundStatus.FAILED, refund_id="r-1"),)),
        [("FailRefund", None, None)],
    ),
    (
        "failed once, made once",
        (CAPTURED, REQUEST_REFUND),
        replace(
            CAPTURED,
            refunds=(
                refund(RefundStatus.FAILED, refund_id="r-1"),
                refund(refund_id="r-1", reference="re_2"),
            ),
        ),
        [("RecordRefund", None, None)],
    ),
    (
        "refund doubled",
        (CAPTURED, replace(CAPTURED, refunds=(refund(),))),
        replace(CAPTURED, refunds=(refund(),)),
        [],
    ),
    (
        "late money went back",
        (charge(S.FAILED), CAPTURED),
        replace(CAPTURED, refunds=(refund(amount_minor=1500),)),
        [("RecordRefund", None, 1500)],
    ),
    # disputes
    (
        "dispute",
        (CAPTURED,),
        replace(CAPTURED, disputes=(dispute(),)),
        [("OpenDispute", None, 1500)],
    ),
    (
        "dispute won at once",
        (CAPTURED,),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.WON),)),
        [("OpenDispute", None, 1500), ("WinDispute", None, None)],
    ),
    (
        "dispute lost",
        (CAPTURED, replace(CAPTURED, disputes=(dispute(),))),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST),)),
        [("LoseDispute", None, None)],
    ),
    (
        "dispute decided, an old look",
        (CAPTURED, replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST),))),
        replace(CAPTURED, disputes=(dispute(),)),
        [],
    ),
    (
        "decided the other way, later",
        (CAPTURED, replace(CAPTURED, disputes=(dispute(DisputeStatus.WON),))),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST, decided_at=LATER),)),
        [("OpenDispute", None, 1500), ("LoseDispute", None, None)],
    ),
    (
        "decided the other way, before",
        (CAPTURED, replace(CAPTURED, disputes=(dispute(DisputeStatus.WON),))),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST, decided_at=T),)),
        [],
    ),
    (
        "dispute lost, won on appeal",
        (CAPTURED, replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST),))),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.WON, decided_at=LATER),)),
        [("WinDispute", None, None)],
    ),
    (
        "dispute lost, asked again: nothing has moved",
        (CAPTURED, replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST),))),
        replace(CAPTURED, disputes=(dispute(decided_at=LATER),)),
        [],
    ),
    (
        "dispute lost, won, and lost once more",
        (
            CAPTURED,
            replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST),)),
            replace(CAPTURED, disputes=(dispute(DisputeStatus.WON, decided_at=LATER),)),
        ),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST, decided_at=LATEST),)),
        [("OpenDispute", None, 1500), ("LoseDispute", None, None)],
    ),
    # money beside the payment's charge
    (
        "a refund that was made has failed",
        (CAPTURED, replace(CAPTURED, refunds=(refund(),))),
        replace(CAPTURED, refunds=(refund(RefundStatus.FAILED),)),
        [("ReturnRefund", None, None)],
    ),
    (
        "a refund that failed was never made",
        (CAPTURED,),
        replace(CAPTURED, refunds=(refund(RefundStatus.FAILED),)),
        [],
    ),
    ("a second charge at the processor", (CAPTURED,), AGAIN, [("Capture", None, 1500)]),
    (
        "beyond what the orders are",
        (),
        charge(S.CAPTURED, captured_minor=1600),
        [("Capture", None, 1500), ("Capture", None, 100)],
    ),
    (
        "a refund above what the orders have",
        (CAPTURED,),
        replace(CAPTURED, refunds=(refund(amount_minor=1600),)),
        [("RecordRefund", None, 100)],
    ),
    (
        "a dispute of the second charge",
        (CAPTURED, AGAIN),
        replace(AGAIN, disputes=(dispute(),)),
        [("OpenDispute", None, 1500)],
    ),
    (
        "a dispute at a processor that was given up",
        (do(c.Attempt, psp="adyen", evidence="x"), CAPTURED),
        replace(CAPTURED, disputes=(dispute(),)),
        [("OpenDispute", None, 1500)],
    ),
    # intents that the books finish
    (
        "cancelled as requested",
        (AUTHORIZED, do(c.RequestCancel)),
        charge(S.CANCELLED),
        [("Cancel", None, None)],
    ),
    (
        "captured although a cancellation was requested",
        (charge(S.ACTION_REQUIRED), do(c.RequestCancel)),
        CAPTURED,
        [("Capture", None, 1500)],
    ),
]


@pytest.mark.parametrize(
    ("before", "seen", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_missing_is_asked_for(
    before: Sequence[Before],
    seen: Charge,
    expected: list[tuple[str, str | None, int | None]],
) -> None:
    state = after(*before)
    assert said(state, seen) == expected
    once = observed(state, seen)
    assert said(once, seen) == []


@pytest.mark.parametrize(
    ("before", "seen", "event_type"),
    [
        ((charge(S.FAILED),), CAPTURED, "stray_captured"),
        ((do(c.Attempt, psp="adyen", evidence="x"),), CAPTURED, "stray_captured"),
        ((), CAPTURED, "captured"),
    ],
)
def test_money_without_a_place_is_in_suspense(
    before: Sequence[Before], seen: Charge, event_type: str
) -> None:
    state = observed(after(*before), seen)
    assert [row.event_type for row in state.answers["stripe:pi_1:captured:1500"]] == [
        event_type
    ] * 2


LOST = replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST),))
APPEALED = replace(CAPTURED, disputes=(dispute(DisputeStatus.WON, decided_at=LATER),))
GIVEN_BACK = replace(CAPTURED, refunds=(refund(),))
RETURNED = replace(CAPTURED, refunds=(refund(RefundStatus.FAILED),))
BY_HAND = replace(CAPTURED, refunds=(*RETURNED.refunds, refund(reference="re_2")))
TWO_DISPUTES = (dispute(amount_minor=900), dispute(reference="dp_2", amount_minor=200))


@pytest.mark.parametrize(
    ("before", "event_types", "refunded", "in_suspense", "disputed"),
    [
        ((CAPTURED, LOST), ["dispute_opened", "dispute_lost"], 1500, 0, 0),
        ((CAPTURED, LOST, APPEALED), ["dispute_lost", "dispute_reversed"], 0, 0, 0),
        (
            (CAPTURED, LOST, APPEALED, replace(LOST, disputes=(dispute(
                DisputeStatus.LOST, decided_at=LATEST),))),
            ["dispute_reversed", "dispute_opened", "dispute_lost"], 1500, 0, 0,
        ),
        ((CAPTURED, GIVEN_BACK, RETURNED), ["refunded", "refund_returned"], 400, 400, 0),
        ((CAPTURED, GIVEN_BACK, RETURNED, BY_HAND), ["refund_returned", "stray_refunded"],
         400, 0, 0),
        ((CAPTURED, AGAIN), ["captured", "stray_captured"], 0, 1500, 0),
        ((CAPTURED, AGAIN, replace(AGAIN, refunds=(refund(amount_minor=1500),))),
         ["stray_captured", "stray_refunded"], 0, 0, 0),
        ((CAPTURED, AGAIN, replace(AGAIN, disputes=(dispute(),))),
         ["stray_captured", "stray_disputed"], 0, 0, 0),
        ((CAPTURED, replace(CAPTURED, disputes=TWO_DISPUTES)),
         ["captured", "dispute_opened", "stray_disputed"], 0, -200, 900),
        ((charge(S.CAPTURED, captured_minor=1600),), ["captured", "stray_captured"], 0, 100, 0),
        ((CAPTURED, replace(CAPTURED, refunds=(refund(amount_minor=1600),))),
         ["captured", "stray_refunded", "refunded"], 1500, -100, 0),
    ],
)  # fmt: skip
def test_what_moved_at_the_processor_is_recorded_as_what_it_was(
    before: Sequence[Charge],
    event_types: list[str],
    refunded: int,
    in_suspense: int,
    disputed: int,
) -> None:
    state = after(*before)
    rows = sorted((r for rows in state.answers.values() for r in rows), key=lambda row: row.seq)
    happened = [kind for kind, _ in groupby(row.event_type.value for row in rows)]
    assert happened[-len(event_types) :] == event_types
    orders = state.orders.values()
    assert sum(order.refunded_minor for order in orders) == refunded
    assert sum(sum(order.suspense_minor.values()) for order in orders) == in_suspense
    assert sum(order.disputed_minor for order in orders) == disputed


def test_evidence_of_an_attempt_that_is_over_does_not_end_the_next() -> None:
    state = after(do(c.MarkUnknown))
    late = commands(state, charge(S.FAILED))
    state = recorded(state, change(c.Attempt, PAYMENT.payment_id, psp="adyen", evidence="empty"))
    for command in late:
        assert not isinstance(decide(state, command), tuple)


@pytest.mark.parametrize(
    ("before", "seen", "reason"),
    [
        ((CAPTURED,), charge(S.FAILED, at=LATER), "failed_after_capture"),
        (
            (
                CAPTURED,
                replace(CAPTURED, refunds=(refund(),)),
                replace(CAPTURED, refunds=(refund(RefundStatus.FAILED),)),
            ),
            replace(CAPTURED, refunds=(refund(RefundStatus.FAILED),)),
            "refund_failed_after_success",
        ),
        ((), charge(S.CAPTURED, currency="USD"), "currency_differs"),
    ],
)
def test_what_a_person_must_look_at_is_named(
    before: Sequence[Before], seen: Charge, reason: str
) -> None:
    state = after(*before)
    assert said(state, seen) == []
    assert [each.reason for each in unrecordable(state, seen)] == [reason]


def test_a_failure_has_the_processors_reason() -> None:
    seen = charge(S.FAILED, failure=Failure(code="insufficient_funds", retryable=True))
    [command] = commands(after(), seen)
    assert isinstance(command, c.Fail)
    assert command.reason == "insufficient_funds"


# -- properties ---------------------------------------------------------------------------------

_LIVES: Sequence[Sequence[Charge]] = (
    (charge(S.PROCESSING), CAPTURED),
    (charge(S.ACTION_REQUIRED), charge(S.PROCESSING), CAPTURED),
    (AUTHORIZED, replace(AUTHORIZED, captured_minor=700), CAPTURED),
    (AUTHORIZED, charge(S.EXPIRED)),
    (charge(S.ACTION_REQUIRED), charge(S.FAILED)),
    (
        CAPTURED,
        replace(CAPTURED, refunds=(refund(),)),
        replace(CAPTURED, refunds=(refund(), refund(reference="re_2", amount_minor=100))),
    ),
    (
        CAPTURED,
        replace(CAPTURED, disputes=(dispute(),)),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.LOST),)),
        replace(CAPTURED, disputes=(dispute(DisputeStatus.WON, decided_at=LATER),)),
    ),
)


@given(life=st.sampled_from(_LIVES), data=st.data())
def test_looks_in_any_order_lead_to_the_money_of_the_last(
    life: Sequence[Charge], data: st.DataObject
) -> None:
    looks = data.draw(st.lists(st.sampled_from(life), max_size=8))
    state = after()
    for seen in looks:
        state = observed(state, seen)
    final = observed(state, life[-1])
    straight = observed(after(), life[-1])
    assert {key: _sums(each) for key, each in final.orders.items()} == {
        key: _sums(each) for key, each in straight.orders.items()
    }
    for seen in life:
        assert commands(final, seen) == []


def _sums(order: Any) -> tuple[int, ...]:
    return (
        order.captured_minor,
        order.refunded_minor,
        order.reserved_minor,
        sum(order.suspense_minor.values()),
    )
