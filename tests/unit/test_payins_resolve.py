"""Pending payments resolved step by step, with the clock in the test's hand."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from connectors.charges import Charge, ChargeStatus, RefundStatus
from payins.policies import LONGEST_REQUEST, Question
from payins.work import Resolved, Visit
from schemas.errors import ProcessorRefused
from schemas.ids import PaymentId
from tests.builders import line
from tests.model_psp import Fault
from tests.payins_resolver import resolver_of
from tests.payins_world import World, books_agree, failing
from writer.commands import (
    Cancel,
    Capture,
    CreatePayment,
    Expire,
    RequestCancel,
    RequestCapture,
    RequestRefund,
)

HOUR, DAY = 3600.0, 86_400.0
TWO = (line("A"), line("B", 500, 0, logistics_fee_minor=0))


def created(world: World, token: str = "ok", **fields: Any) -> CreatePayment:
    payment = world.payment(token, **fields)
    asyncio.run(world.payins.create(payment, respond_async=True))
    return payment


def visit(world: World, payment_id: PaymentId, *, after: float = 0, repeats: int = 0) -> Resolved:
    """Resolve once, so many seconds later; nobody else has called for an hour."""
    world.clock.advance(after)
    last = Visit(last_sent_at=world.clock() - timedelta(hours=1), repeats=repeats)
    return asyncio.run(resolver_of(world).resolve(payment_id, last))


def captured(world: World, payment_id: PaymentId) -> dict[str, int]:
    """What was captured of each order."""
    orders = world.state(payment_id).orders.items()
    return {order_id: order.captured_minor for order_id, order in orders}


def test_a_recorded_intent_is_left_to_its_process_and_then_carried_out() -> None:
    world = World()
    payment = created(world)
    early = visit(world, payment.payment_id, after=1)
    assert (early.question, world.psp.calls) == (Question.ASKED, [])
    visit(world, payment.payment_id, after=1.1)
    assert world.types(payment.payment_id) == ["created", "captured"]


def test_a_lost_charge_is_found_and_not_made_again() -> None:
    world = World()
    world.psp.faults = failing(("charge", Fault.LOST_AFTER))
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    visit(world, payment.payment_id, after=5)
    assert world.types(payment.payment_id) == ["created", "unknown", "captured"]
    assert world.psp.calls.count("charge") == 1


def test_a_charge_that_was_lost_on_its_way_is_asked_for_again_under_its_key() -> None:
    world = World()
    world.psp.faults = failing(("charge", Fault.LOST_BEFORE))
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    visit(world, payment.payment_id, after=5)
    assert world.types(payment.payment_id) == ["created", "unknown", "captured"]
    assert list(world.psp.keys) == [f"purser-{payment.payment_id}-1"]


def lost(world: World) -> CreatePayment:
    world.psp.faults = failing(("charge", Fault.LOST_BEFORE))
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    return payment


def test_a_charge_that_is_absent_for_too_long_expires() -> None:
    world = World()
    payment = lost(world)
    visit(world, payment.payment_id, after=2 * HOUR)
    assert world.types(payment.payment_id)[-1] == "expired"
    assert "not_found" in world.events(payment.payment_id)[-1].details


@pytest.mark.parametrize(
    ("after", "ended"), [(5, "captured"), (2 * HOUR, "cancelled"), (2 * DAY, "cancelled")]
)
def test_a_charge_that_was_made_and_never_tried_is_tried_again_or_ended(
    after: float, ended: str
) -> None:
    world = World()
    payment = lost(world)
    world.psp.charges["pi_x"] = Charge(
        psp="stripe",
        reference="pi_x",
        payment_id=payment.payment_id,
        intent_seq=1,
        currency=payment.currency,
        amount_minor=sum(order.amount_minor for order in payment.orders),
        status=ChargeStatus.CREATED,
        authorized_minor=0,
        captured_minor=0,
        at=world.clock(),
    )
    visit(world, payment.payment_id, after=after)
    assert world.types(payment.payment_id)[-1] == ended
    assert books_agree(world, payment.payment_id)


def test_absence_without_proof_ends_nothing() -> None:
    world = World()
    payment = lost(world)
    world.clock.advance(2 * HOUR)
    just_called = Visit(last_sent_at=world.clock() - timedelta(seconds=5))
    found = asyncio.run(resolver_of(world).resolve(payment.payment_id, just_called))
    assert found.question is Question.UNKNOWN
    assert world.types(payment.payment_id)[-1] == "unknown"


def test_a_processor_that_cannot_be_asked_proves_nothing() -> None:
    world = World()
    payment = lost(world)
    world.psp.faults = lambda _operation: Fault.NOT_SENT
    found = visit(world, payment.payment_id, after=30 * DAY)
    assert found.error is not None
    assert world.types(payment.payment_id)[-1] == "unknown"


def test_a_buyer_who_never_acts_is_asked_to_be_cancelled_once_and_looked_at_ever_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    payment = world.payment("action")
    asyncio.run(world.payins.create(payment))

    async def refuses(reference: str, *, key: str) -> Charge:
        raise ProcessorRefused("stripe", "not_cancellable", "its page is complete")

    monkeypatch.setattr(world.psp, "cancel", refuses)
    for _ in range(3):
        visit(world, payment.payment_id, after=2 * DAY)
    assert world.types(payment.payment_id).count("cancel_requested") == 1
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    visit(world, payment.payment_id, after=2 * DAY)
    assert world.types(payment.payment_id)[-1] == "captured"


def test_what_is_provably_absent_and_keeps_failing_is_attempted_elsewhere() -> None:
    world = World(others=("adyen",))
    payment = lost(world)
    visit(world, payment.payment_id, after=300, repeats=2)
    assert world.types(payment.payment_id) == ["created", "unknown", "attempted", "captured"]
    assert world.state(payment.payment_id).psp == "adyen"
    assert "list_empty" in world.events(payment.payment_id)[2].details


def test_the_only_processor_is_attempted_anew_under_a_new_key() -> None:
    world = World()
    payment = lost(world)
    visit(world, payment.payment_id, after=300, repeats=2)
    assert list(world.psp.keys) == [f"purser-{payment.payment_id}-3"]
    assert world.types(payment.payment_id)[-1] == "captured"


def test_after_a_weeks_outage_everything_is_resolved() -> None:
    world = World()
    payment = created(world)
    world.psp.faults = failing(("charge", Fault.LOST_AFTER))
    visit(world, payment.payment_id, after=5)
    visit(world, payment.payment_id, after=7 * DAY)
    assert world.types(payment.payment_id) == ["created", "unknown", "captured"]
    assert world.psp.calls.count("charge") == 1


def test_a_buyer_who_does_not_act_is_cancelled_at_the_processor() -> None:
    world = World()
    payment = world.payment("action")
    asyncio.run(world.payins.create(payment))
    visit(world, payment.payment_id, after=DAY + 1)
    visit(world, payment.payment_id, after=5)
    assert world.types(payment.payment_id)[-2:] == ["cancel_requested", "cancelled"]
    assert world.psp.charges["pi_stripe_1"].status is ChargeStatus.CANCELLED


def test_a_payment_that_nobody_confirms_expires_without_a_call() -> None:
    world = World()
    payment = created(world, flow="confirm_later", payment_token=None)
    assert visit(world, payment.payment_id, after=6 * DAY).question is Question.UNCONFIRMED
    visit(world, payment.payment_id, after=DAY + 1)
    assert world.types(payment.payment_id) == ["created", "expired"]
    assert not world.psp.calls


@pytest.mark.parametrize("age", [5.0, 3 * DAY])
@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
def test_a_lost_refund_is_made_once(fault: Fault, age: float) -> None:
    world = World()
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    world.psp.faults = failing(("refund", fault))
    request = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=400)
    asyncio.run(world.payins.refund(request))
    assert visit(world, payment.payment_id, after=age).question is None
    assert len(world.psp.charges["pi_stripe_1"].refunds) == 1
    assert world.types(payment.payment_id)[-1] == "refunded"
    assert books_agree(world, payment.payment_id)


def test_a_refund_that_takes_days_is_not_made_again_when_its_key_is_forgotten() -> None:
    world = World()
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    request = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=400)
    asyncio.run(
        world.payins.refund(
            world.change(RequestRefund, payment.payment_id, refund_id="r-0", amount_minor=1)
        )
    )
    world.psp.refund_now("pi_stripe_1", 400, "r-1", RefundStatus.PENDING)
    world.psp.faults = failing(("refund", Fault.LOST_BEFORE))
    asyncio.run(world.payins.refund(request))
    found = visit(world, payment.payment_id, after=3 * DAY)
    assert found.question is Question.REQUEST
    assert len(world.psp.charges["pi_stripe_1"].refunds) == 2
    world.psp.settle_refund("pi_stripe_1", 1, RefundStatus.SUCCEEDED)
    assert visit(world, payment.payment_id, after=DAY).question is None
    assert world.types(payment.payment_id)[-1] == "refunded"


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
@pytest.mark.parametrize(
    ("kind", "event"), [(RequestCapture, "captured"), (RequestCancel, "cancelled")]
)
def test_a_lost_capture_or_cancellation_is_finished(
    fault: Fault, kind: type[Any], event: str
) -> None:
    world = World()
    payment = world.payment(capture="manual")
    asyncio.run(world.payins.create(payment))
    operation = "capture" if kind is RequestCapture else "cancel"
    world.psp.faults = failing((operation, fault))
    request = world.change(kind, payment.payment_id)
    ask = world.payins.capture if kind is RequestCapture else world.payins.cancel
    asyncio.run(ask(request))
    visit(world, payment.payment_id, after=5)
    assert world.types(payment.payment_id)[-1] == event
    assert books_agree(world, payment.payment_id)


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
def test_a_lost_capture_is_repeated_as_it_was_whatever_happened_to_another_order(
    fault: Fault,
) -> None:
    world = World()
    payment = world.payment(capture="manual", lines=TWO)
    asyncio.run(world.payins.create(payment))
    world.psp.faults = failing(("capture", fault))
    capture = world.change(RequestCapture, payment.payment_id, order_id="A")
    asyncio.run(world.payins.capture(capture))
    asyncio.run(world.ledger.handle(world.change(Cancel, payment.payment_id, order_id="B")))
    assert visit(world, payment.payment_id, after=5).error is None
    assert captured(world, payment.payment_id) == {"A": 1000, "B": 0}
    assert books_agree(world, payment.payment_id)


def test_a_capture_of_a_part_that_is_final_gives_back_the_rest() -> None:
    world = World()
    payment = world.payment(capture="manual", lines=TWO)
    asyncio.run(world.payins.create(payment))
    for order_id, amount_minor in (("A", 400), ("B", 300)):
        capture = world.change(
            RequestCapture,
            payment.payment_id,
            order_id=order_id,
            amount_minor=amount_minor,
            final=True if order_id == "B" else None,
        )
        asyncio.run(world.payins.capture(capture))
    assert captured(world, payment.payment_id) == {"A": 400, "B": 300}
    assert world.psp.charges["pi_stripe_1"].status is ChargeStatus.CAPTURED


def test_late_money_that_cannot_go_back_keeps_no_other_order_waiting() -> None:
    world = World()
    payment = world.payment(capture="manual", lines=TWO)
    asyncio.run(world.payins.create(payment))
    payment_id = payment.payment_id
    asyncio.run(world.payins.cancel(world.change(RequestCancel, payment_id, order_id="A")))
    gone = {"order_id": "A", "psp": "stripe", "psp_reference": "pi_gone"}
    asyncio.run(world.ledger.handle(world.change(Capture, payment_id, **gone)))
    capture = world.change(RequestCapture, payment_id, order_id="B")
    asyncio.run(world.payins.capture(capture, respond_async=True))
    found = visit(world, payment_id, after=5)
    assert captured(world, payment_id) == {"A": 0, "B": 500}
    assert found.error is not None
    assert found.error.code == "resource_missing"


def test_a_request_that_fails_keeps_no_other_one_waiting() -> None:
    world = World()
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    for refund_id in ("r-1", "r-2", "r-3"):
        request = world.change(
            RequestRefund, payment.payment_id, refund_id=refund_id, amount_minor=100
        )
        asyncio.run(world.payins.refund(request, respond_async=True))
    world.psp.faults = failing(("refund", Fault.BROKEN))
    found = visit(world, payment.payment_id, after=5)
    made = [refund.refund_id for refund in world.psp.charges["pi_stripe_1"].refunds]
    assert made == ["r-2", "r-3"]
    assert world.types(payment.payment_id)[-2:] == ["refunded", "refunded"]
    assert (found.question, found.step) == (Question.REQUEST, "carry")
    assert found.error is not None
    assert found.error.code == "http_500"


def test_a_cancellation_waits_for_a_charge_that_was_begun_just_before_it() -> None:
    """Who read the stream before the cancellation may send the charge up to a minute later."""
    world = World()
    payment = lost(world)
    world.clock.advance(300)
    cancel = world.change(RequestCancel, payment.payment_id)
    asyncio.run(world.payins.cancel(cancel, respond_async=True))
    settled = LONGEST_REQUEST + world.psp.terms.under_way_most
    visit(world, payment.payment_id, after=settled.total_seconds() - 1)
    assert world.types(payment.payment_id)[-1] == "cancel_requested"
    visit(world, payment.payment_id, after=2)
    assert world.types(payment.payment_id)[-1] == "cancelled"


def test_what_is_held_for_a_payment_that_is_over_is_let_go() -> None:
    world = World()
    payment = world.payment("action", capture="manual")
    asyncio.run(world.payins.create(payment))
    asyncio.run(world.ledger.handle(world.change(Expire, payment.payment_id)))
    world.psp.settle("pi_stripe_1", ChargeStatus.AUTHORIZED)
    asyncio.run(resolver_of(world).observe(world.psp.charges["pi_stripe_1"]))
    assert world.psp.charges["pi_stripe_1"].status is ChargeStatus.CANCELLED


def test_what_is_left_of_a_charge_that_nobody_can_capture_any_more_is_let_go() -> None:
    """The order was cancelled in the moment in which the capture of the other was requested."""
    world = World()
    payment = world.payment(capture="manual", lines=TWO)
    asyncio.run(world.payins.create(payment))
    capture = world.change(RequestCapture, payment.payment_id, order_id="A")
    asyncio.run(world.payins.capture(capture))
    asyncio.run(world.ledger.handle(world.change(Cancel, payment.payment_id, order_id="B")))
    asyncio.run(resolver_of(world).observe(world.psp.charges["pi_stripe_1"]))
    assert world.psp.charges["pi_stripe_1"].status is ChargeStatus.CAPTURED


def test_a_payment_that_was_made_elsewhere_is_nobodys_to_ask_about() -> None:
    world = World()
    foreign = world.payment(flow=None, capture=None, payment_token=None)
    asyncio.run(world.ledger.handle(foreign))
    assert visit(world, foreign.payment_id, after=DAY).question is None
    assert not world.psp.calls
