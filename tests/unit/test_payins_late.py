"""Late money as a table: why the order was over, when the money came, and what becomes of it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from connectors.charges import ChargeStatus, DisputeStatus, RefundStatus
from payins.late import HONOUR_WITHIN, HonourLate, RefundLate, late_steps
from payins.pending import PendingMemory
from payins.work import Visit
from schemas.lifecycle import Status
from tests.model_psp import Fault
from tests.payins_resolver import resolver_of
from tests.payins_world import World, books_agree, failing
from writer.commands import Cancel, CreatePayment, Expire, Fail, RequestRefund

SOON, LATE = timedelta(minutes=1), HONOUR_WITHIN + timedelta(seconds=1)


def over(world: World, end: type[Any]) -> CreatePayment:
    """A payment that is over, whose charge is still open at the processor."""
    payment = world.payment("action")
    asyncio.run(world.payins.create(payment))
    asyncio.run(world.ledger.handle(world.change(end, payment.payment_id)))
    return payment


def paid_late(world: World, payment: CreatePayment, after: timedelta) -> None:
    world.clock.advance(after.total_seconds())
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_1"]))
    assert world.types(payment.payment_id)[-1] == "stray_captured"


@pytest.mark.parametrize(
    ("end", "after", "claimed", "expected"),
    [
        (Fail, SOON, (), HonourLate),
        (Expire, SOON, (), HonourLate),
        (Fail, LATE, (), RefundLate),
        (Expire, LATE, (), RefundLate),
        (Fail, SOON, ("A",), RefundLate),
        (Cancel, SOON, (), RefundLate),
    ],
)
def test_late_money_is_honoured_or_goes_back(
    end: type[Any], after: timedelta, claimed: tuple[str, ...], expected: type[Any]
) -> None:
    world = World()
    payment = over(world, end)
    paid_late(world, payment, after)
    [step] = late_steps(world.events(payment.payment_id), claimed)
    assert type(step) is expected
    resolver = resolver_of(world, claimed)
    asyncio.run(resolver.resolve(payment.payment_id, Visit(last_sent_at=world.clock())))
    assert late_steps(world.events(payment.payment_id), claimed) == []
    assert books_agree(world, payment.payment_id)
    honoured = expected is HonourLate
    assert (world.state(payment.payment_id).orders["A"].state.status is Status.CAPTURED) is honoured
    assert bool(world.psp.charges["pi_stripe_1"].refunds) is not honoured


def test_money_at_a_processor_that_was_given_up_goes_back_once() -> None:
    world = World(others=("adyen",))
    payment = world.payment("action")
    asyncio.run(world.payins.create(payment))
    asyncio.run(world.carry_out.attempt_at(world.events(payment.payment_id), "adyen", "list_empty"))
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_1"]))
    resolver = resolver_of(world)
    for _ in range(3):
        world.clock.advance(3600)
        asyncio.run(resolver.resolve(payment.payment_id, Visit(last_sent_at=world.clock())))
    [refund] = world.psp.charges["pi_stripe_1"].refunds
    assert refund.amount_minor == 1000
    assert world.state(payment.payment_id).psp == "adyen"
    assert books_agree(world, payment.payment_id)


def test_a_refund_of_late_money_is_made_once_also_when_its_key_is_forgotten() -> None:
    world = World()
    payment = over(world, Cancel)
    paid_late(world, payment, SOON)
    [step] = late_steps(world.events(payment.payment_id), ())
    assert isinstance(step, RefundLate)
    world.psp.refund_now("pi_stripe_1", 1000, step.refund_id, RefundStatus.PENDING)
    world.clock.advance(timedelta(days=3).total_seconds())
    resolver = resolver_of(world)
    found = asyncio.run(resolver.resolve(payment.payment_id, Visit(last_sent_at=world.clock())))
    assert found.question == "late"
    assert len(world.psp.charges["pi_stripe_1"].refunds) == 1


def test_late_money_under_dispute_waits_for_the_bank() -> None:
    world = World()
    payment = over(world, Cancel)
    paid_late(world, payment, SOON)
    world.psp.dispute("pi_stripe_1", 300)
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_1"]))
    assert late_steps(world.events(payment.payment_id), ()) == []


def paid(world: World) -> CreatePayment:
    """A payment that is captured, whose money the processor takes once more."""
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    world.psp.charge_again("pi_stripe_1")
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_2"]))
    assert world.types(payment.payment_id)[-1] == "stray_captured"
    return payment


def resolve(world: World, payment: CreatePayment) -> None:
    resolver = resolver_of(world)
    asyncio.run(resolver.resolve(payment.payment_id, Visit(last_sent_at=world.clock())))


def test_a_second_charge_goes_back_and_the_order_stays_paid() -> None:
    world = World()
    payment = paid(world)
    resolve(world, payment)
    assert [each.amount_minor for each in world.psp.charges["pi_stripe_2"].refunds] == [1000]
    assert not world.psp.charges["pi_stripe_1"].refunds
    order = world.state(payment.payment_id).orders["A"]
    assert (order.captured_minor, order.refunded_minor) == (1000, 0)
    assert dict(order.suspense_minor) == {"stripe": 0}
    assert books_agree(world, payment.payment_id)


def test_a_refund_of_the_order_is_of_the_charge_that_paid_it() -> None:
    world = World()
    payment = paid(world)
    refund = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=300)
    asyncio.run(world.payins.refund(refund))
    assert [each.refund_id for each in world.psp.charges["pi_stripe_1"].refunds] == ["r-1"]
    assert not world.psp.charges["pi_stripe_2"].refunds


def test_what_came_back_of_a_refund_does_not_go_back_by_rule() -> None:
    world = World()
    payment = paid(world)
    resolve(world, payment)
    world.psp.settle_refund("pi_stripe_2", 0, RefundStatus.FAILED)
    observed = asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_2"]))
    assert [each.reason for each in observed.unrecordable] == ["refund_failed_after_success"]
    assert world.types(payment.payment_id)[-1] == "refund_returned"
    assert late_steps(world.events(payment.payment_id), ()) == []
    assert books_agree(world, payment.payment_id)


def test_late_money_that_cannot_go_back_keeps_no_request_waiting() -> None:
    world = World()
    payment = paid(world)
    world.psp.dispute("pi_stripe_2", 250)  # so the processor refuses to refund the rest
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_2"]))
    refund = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=300)
    world.psp.faults = failing(("refund", Fault.LOST_BEFORE))
    asyncio.run(world.payins.refund(refund))
    assert world.types(payment.payment_id)[-1] == "refund_requested"
    world.clock.advance(3600)
    resolve(world, payment)
    assert world.types(payment.payment_id)[-1] == "refunded"
    assert books_agree(world, payment.payment_id)


def test_late_money_is_looked_at_again_when_the_bank_has_decided() -> None:
    world = World()
    payment = paid(world)
    world.psp.dispute("pi_stripe_2", 1000)
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_2"]))
    resolve(world, payment)
    memory = PendingMemory(10)
    assert late_steps(world.events(payment.payment_id), ()) == []
    world.psp.decide("pi_stripe_2", 0, DisputeStatus.WON)
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_2"]))
    memory.apply(world.events(payment.payment_id)[-1], 0)
    assert memory.get(payment.payment_id) is not None
    resolve(world, payment)
    assert world.types(payment.payment_id)[-2:] == ["stray_dispute_won", "stray_refunded"]
    assert books_agree(world, payment.payment_id)
