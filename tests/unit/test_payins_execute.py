"""Requests from their intent to their answer, on a store and processors in memory."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from connectors.charges import RefundStatus
from payins.answers import Answered, InFlight, NotFound
from payins.execute import PayIns, RequestLimits
from payins.intents import intents
from payins.policies import TAKE_OVER_AFTER
from payins.processors import Processors
from schemas.errors import Rejection
from schemas.ids import PaymentId
from schemas.lifecycle import EventType as E
from schemas.rejections import RejectionCode
from service.render import refund as shown_refund
from tests.builders import line
from tests.model_psp import Fault
from tests.payins_world import World, answered, books_agree, failing
from writer.commands import Attempt, CreatePayment, RequestCancel, RequestCapture, RequestRefund

TWO = (line("A"), line("B", 500, 0, logistics_fee_minor=0))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


@pytest.mark.parametrize(
    ("token", "fields", "expected"),
    [
        ("ok", {}, [E.CREATED, E.CAPTURED]),
        ("ok", {"capture": "manual"}, [E.CREATED, E.AUTHORIZED]),
        ("declined", {}, [E.CREATED, E.FAILED]),
        ("action", {}, [E.CREATED, E.ACTION_REQUIRED]),
        ("slow", {}, [E.CREATED, E.PROCESSING]),
        ("", {"flow": "hosted", "payment_token": None}, [E.CREATED, E.ACTION_REQUIRED]),
        ("", {"flow": "confirm_later", "payment_token": None}, [E.CREATED]),
        ("ok", {"lines": TWO}, [E.CREATED, E.CREATED, E.CAPTURED, E.CAPTURED]),
    ],
)
def test_a_payment_is_answered_with_its_first_outcome(
    token: str, fields: dict[str, Any], expected: list[E]
) -> None:
    world = World()
    command = world.payment(token, **fields)
    first = run(world.payins.create(command))
    assert answered(first) == expected
    assert not first.replayed
    again = run(world.payins.create(command))
    assert again == Answered(events=first.events, replayed=True)
    assert len(world.psp.charges) <= 1
    assert books_agree(world, command.payment_id)


def test_a_repeated_request_gets_the_first_answer_after_the_payment_moved_on() -> None:
    world = World()
    command = world.payment("action")
    first = run(world.payins.create(command))
    world.clock.advance(60)
    world.psp.settle("pi_stripe_1", world.psp.charges["pi_stripe_1"].status.CAPTURED)
    run(world.payins.observe(world.psp.charges["pi_stripe_1"]))
    assert world.types(command.payment_id)[-1] == "captured"
    again = run(world.payins.create(command))
    assert again.events == first.events


def test_the_same_key_with_another_request_is_refused() -> None:
    world = World()
    command = world.payment()
    run(world.payins.create(command))
    other = world.payment(idempotency_key=command.idempotency_key, buyer_id="buyer-2")
    refused = run(world.payins.create(other))
    assert isinstance(refused, Rejection)
    assert refused.code == RejectionCode.IDEMPOTENCY_CONFLICT
    assert "buyer_id" in str(refused)


def test_which_processor_comes_first_is_no_part_of_the_request() -> None:
    world = World(others=("adyen",))
    command = world.payment()
    first = run(world.payins.create(command))
    reordered = world.payment(
        idempotency_key=command.idempotency_key, psp="adyen", occurred_at=world.clock()
    )
    again = run(world.payins.create(reordered))
    assert again == Answered(events=first.events, replayed=True)


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
def test_a_lost_call_is_answered_as_unknown_and_charges_nobody_else(fault: Fault) -> None:
    world = World(others=("adyen",))
    world.psp.faults = failing(("charge", fault))
    command = world.payment()
    assert answered(run(world.payins.create(command))) == [E.CREATED, E.UNKNOWN]
    assert not world.psps["adyen"].charges


def test_a_call_that_was_not_sent_goes_on_to_the_next_processor() -> None:
    world = World(others=("adyen",))
    world.psp.faults = failing(("charge", Fault.NOT_SENT))
    command = world.payment()
    result = run(world.payins.create(command))
    assert answered(result) == [E.CREATED, E.ATTEMPTED, E.CAPTURED]
    assert [event.psp for event in result.events] == ["stripe", "adyen", "adyen"]
    assert books_agree(world, command.payment_id)


def test_a_call_that_was_not_sent_in_time_goes_to_no_other_processor() -> None:
    world = World(others=("adyen",), limits=RequestLimits(alone_seconds=1e-9))
    world.psp.faults = failing(("charge", Fault.NOT_SENT))
    command = world.payment()
    assert answered(run(world.payins.create(command))) == [E.CREATED, E.UNKNOWN]
    assert not world.psps["adyen"].charges


def test_an_attempt_that_is_recorded_too_late_is_left_to_the_worker() -> None:
    """It may have called at the first processor while this one waited for the database."""
    world = World(others=("adyen",))
    world.psp.faults = failing(("charge", Fault.NOT_SENT))
    handle = world.ledger.handle

    async def handle_slowly(command: Any, known: Any = None) -> Any:
        if isinstance(command, Attempt):
            world.clock.advance(TAKE_OVER_AFTER.total_seconds())
        return await handle(command, known)

    world.ledger.handle = handle_slowly  # type: ignore[method-assign]
    payment = world.payment()
    assert isinstance(run(world.payins.create(payment)), InFlight)
    assert world.types(payment.payment_id) == ["created", "attempted"]
    assert not world.psps["adyen"].calls


def test_who_begins_a_request_stops_well_before_the_worker_goes_on() -> None:
    """The two have clocks of their own, and the answer of the database takes its time."""
    assert RequestLimits().alone_seconds <= TAKE_OVER_AFTER.total_seconds() / 2


def test_without_another_processor_a_call_that_was_not_sent_is_unknown() -> None:
    world = World()
    world.psp.faults = failing(("charge", Fault.NOT_SENT))
    command = world.payment()
    assert answered(run(world.payins.create(command))) == [E.CREATED, E.UNKNOWN]


def test_an_asynchronous_request_only_records_its_intent() -> None:
    world = World()
    command = world.payment()
    result = run(world.payins.create(command, respond_async=True))
    assert isinstance(result, InFlight)
    assert not result.replayed
    assert world.types(command.payment_id) == ["created"]
    assert not world.psp.calls
    again = run(world.payins.create(command, respond_async=True))
    assert isinstance(again, InFlight)
    assert again.replayed


def authorized(world: World, **fields: Any) -> CreatePayment:
    command = world.payment(capture="manual", **fields)
    run(world.payins.create(command))
    return command


def test_a_capture_is_answered_once_it_is_made() -> None:
    world = World()
    payment = authorized(world)
    command = world.change(RequestCapture, payment.payment_id)
    first = run(world.payins.capture(command))
    assert answered(first)[-2:] == [E.CAPTURE_REQUESTED, E.CAPTURED]
    assert run(world.payins.capture(command)) == Answered(events=first.events, replayed=True)
    assert books_agree(world, payment.payment_id)


def test_the_capture_of_one_order_is_recorded_for_that_order() -> None:
    world = World()
    payment = authorized(world, lines=TWO)
    command = world.change(RequestCapture, payment.payment_id, order_id="B")
    assert answered(run(world.payins.capture(command)))[-1] == E.CAPTURED
    state = world.state(payment.payment_id)
    assert {key: order.captured_minor for key, order in state.orders.items()} == {"A": 0, "B": 500}
    rest = world.change(RequestCapture, payment.payment_id)
    assert answered(run(world.payins.capture(rest)))[-1] == E.CAPTURED
    assert world.psp.charges["pi_stripe_1"].captured_minor == 1500
    assert books_agree(world, payment.payment_id)


def test_two_captures_at_once_are_one_after_the_other() -> None:
    """The processor says how much it took of the charge, not for which order."""
    world = World()
    payment = authorized(world, lines=TWO)
    first = world.change(RequestCapture, payment.payment_id, order_id="A")
    second = world.change(RequestCapture, payment.payment_id, order_id="B")
    run(world.payins.capture(first, respond_async=True))
    refused = run(world.payins.capture(second))
    assert isinstance(refused, Rejection)
    assert refused.code is RejectionCode.CAPTURE_ALREADY_REQUESTED
    assert "capture" not in world.psp.calls


def captured(world: World, payment: CreatePayment, **fields: Any) -> list[E]:
    command = world.change(RequestCapture, payment.payment_id, **fields)
    return answered(run(world.payins.capture(command)))


def test_what_a_partial_capture_leaves_can_be_captured_later() -> None:
    world = World()
    payment = authorized(world)
    assert captured(world, payment, amount_minor=300)[-1] == E.CAPTURED
    assert world.psp.charges["pi_stripe_1"].status == "authorized"
    assert captured(world, payment, amount_minor=500)[-2:] == [E.CAPTURE_REQUESTED, E.CAPTURED]
    assert captured(world, payment)[-1] == E.CAPTURED
    assert world.psp.charges["pi_stripe_1"].status == "captured"
    assert world.psp.charges["pi_stripe_1"].captured_minor == 1000
    assert books_agree(world, payment.payment_id)
    again = run(world.payins.capture(world.change(RequestCapture, payment.payment_id)))
    assert isinstance(again, Rejection)
    assert again.code == RejectionCode.NOTHING_LEFT


@pytest.mark.parametrize(
    ("token", "final"), [("one_capture", None), ("one_capture", True), ("ok", True)]
)
def test_what_is_never_captured_is_released(token: str, final: bool | None) -> None:
    """Because the card allows one capture only, or because the shop wants no more."""
    world = World()
    payment = authorized(world, payment_token=token)
    assert captured(world, payment, amount_minor=300, final=final)[-1] == E.CAPTURED
    charge = world.psp.charges["pi_stripe_1"]
    assert (charge.status, charge.captured_minor) == ("captured", 300)
    more = captured(world, payment, amount_minor=1)
    assert more[-1] == E.CAPTURE_FAILED
    assert books_agree(world, payment.payment_id)


def test_a_final_capture_ends_the_orders_that_got_nothing() -> None:
    world = World()
    payment = authorized(world, lines=TWO)
    assert captured(world, payment, order_id="B", final=True)[-1] == E.CAPTURED
    state = world.state(payment.payment_id)
    assert {key: order.state.status for key, order in state.orders.items()} == {
        "A": "cancelled", "B": "captured",
    }  # fmt: skip
    assert world.psp.charges["pi_stripe_1"].captured_minor == 500


def test_the_first_of_several_orders_is_not_captured_finally() -> None:
    """The others are not given up because the card allows one capture: the shop is told."""
    world = World()
    payment = authorized(world, payment_token="one_capture", lines=TWO)
    assert captured(world, payment, order_id="B")[-1] == E.CAPTURE_FAILED
    assert captured(world, payment)[-1] == E.CAPTURED
    assert world.psp.charges["pi_stripe_1"].captured_minor == 1500


def test_a_capture_of_a_part_that_is_repeated_asks_the_same() -> None:
    world = World()
    payment = authorized(world, payment_token="one_capture")
    world.psp.faults = failing(("capture", Fault.LOST_AFTER))
    command = world.change(RequestCapture, payment.payment_id, amount_minor=300)
    assert isinstance(run(world.payins.capture(command)), InFlight)
    events = world.events(payment.payment_id)
    intent = intents(events)[-1]
    progress = run(world.carry_out.run(events, intent, is_alone=lambda: False))
    assert progress.events[-1].event_type == E.CAPTURED
    assert world.psp.charges["pi_stripe_1"].captured_minor == 300


def test_a_capture_whose_call_is_lost_stays_in_flight() -> None:
    world = World()
    payment = authorized(world)
    world.psp.faults = failing(("capture", Fault.LOST_AFTER))
    command = world.change(RequestCapture, payment.payment_id)
    assert isinstance(run(world.payins.capture(command)), InFlight)
    run(world.payins.observe(world.psp.charges["pi_stripe_1"]))
    again = run(world.payins.capture(command))
    assert answered(again)[-1] == E.CAPTURED
    assert again.replayed


def test_a_capture_that_the_processor_refuses_fails() -> None:
    world = World()
    payment = authorized(world)
    world.psp.charges["pi_stripe_1"] = _with(world, authorized_minor=10)
    command = world.change(RequestCapture, payment.payment_id)
    result = run(world.payins.capture(command))
    assert answered(result)[-1] == E.CAPTURE_FAILED
    assert "charge_not_capturable" in result.events[-1].details


def test_a_capture_that_expired_meanwhile_is_answered_with_that() -> None:
    world = World()
    payment = authorized(world)
    status = world.psp.charges["pi_stripe_1"].status
    world.psp.settle("pi_stripe_1", status.EXPIRED)
    command = world.change(RequestCapture, payment.payment_id)
    assert answered(run(world.payins.capture(command)))[-1] == E.EXPIRED


def _with(world: World, **fields: Any) -> Any:
    return replace(world.psp.charges["pi_stripe_1"], **fields)


def test_a_cancellation_ends_the_charge_at_the_processor() -> None:
    world = World()
    payment = authorized(world)
    command = world.change(RequestCancel, payment.payment_id)
    assert answered(run(world.payins.cancel(command)))[-1] == E.CANCELLED
    assert world.psp.charges["pi_stripe_1"].status == "cancelled"


def test_one_order_of_an_authorized_charge_is_cancelled_without_the_processor() -> None:
    world = World()
    payment = authorized(world, lines=TWO)
    command = world.change(RequestCancel, payment.payment_id, order_id="A")
    assert answered(run(world.payins.cancel(command)))[-1] == E.CANCELLED
    assert "cancel" not in world.psp.calls
    capture = world.change(RequestCapture, payment.payment_id)
    assert answered(run(world.payins.capture(capture)))[-1] == E.CAPTURED
    assert world.psp.charges["pi_stripe_1"].captured_minor == 500
    assert world.psp.charges["pi_stripe_1"].status == "captured"


def test_an_order_is_not_cancelled_before_the_capture_of_another_one_has_an_outcome() -> None:
    """Only after it is known whether the rest of the charge is still needed."""
    world = World()
    payment = authorized(world, lines=TWO)
    capture = world.change(RequestCapture, payment.payment_id, order_id="A")
    run(world.payins.capture(capture, respond_async=True))
    cancel = world.change(RequestCancel, payment.payment_id, order_id="B")
    assert isinstance(run(world.payins.cancel(cancel)), InFlight)
    assert "cancel" not in world.psp.calls


def test_the_last_order_that_is_not_captured_is_given_back_at_the_processor() -> None:
    """Nobody would capture it any more, and the buyer's money would be held for a week."""
    world = World()
    payment = authorized(world, lines=TWO)
    assert captured(world, payment, order_id="A")[-1] == E.CAPTURED
    command = world.change(RequestCancel, payment.payment_id, order_id="B")
    assert answered(run(world.payins.cancel(command)))[-1] == E.CANCELLED
    charge = world.psp.charges["pi_stripe_1"]
    assert (charge.status, charge.captured_minor) == ("captured", 1000)
    assert books_agree(world, payment.payment_id)


def test_an_order_is_cancelled_without_the_processor_while_another_has_something_left() -> None:
    world = World()
    payment = authorized(world, lines=TWO)
    assert captured(world, payment, order_id="A", amount_minor=400)[-1] == E.CAPTURED
    command = world.change(RequestCancel, payment.payment_id, order_id="B")
    assert answered(run(world.payins.cancel(command)))[-1] == E.CANCELLED
    assert captured(world, payment)[-1] == E.CAPTURED
    charge = world.psp.charges["pi_stripe_1"]
    assert (charge.status, charge.captured_minor) == ("captured", 1000)


def test_a_payment_that_was_never_asked_for_is_cancelled_without_the_processor() -> None:
    world = World()
    payment = world.payment(flow="confirm_later", payment_token=None)
    run(world.payins.create(payment))
    command = world.change(RequestCancel, payment.payment_id)
    assert answered(run(world.payins.cancel(command)))[-1] == E.CANCELLED
    assert not world.psp.calls


def test_a_cancellation_that_comes_too_late_is_answered_with_the_capture() -> None:
    world = World()
    payment = world.payment("action")
    run(world.payins.create(payment))
    status = world.psp.charges["pi_stripe_1"].status
    world.psp.settle("pi_stripe_1", status.CAPTURED)
    command = world.change(RequestCancel, payment.payment_id)
    assert answered(run(world.payins.cancel(command)))[-1] == E.CAPTURED
    assert books_agree(world, payment.payment_id)


def paid(world: World, **fields: Any) -> CreatePayment:
    payment = world.payment(**fields)
    run(world.payins.create(payment))
    return payment


def test_a_refund_is_answered_once_its_amount_is_reserved() -> None:
    world = World()
    payment = paid(world)
    command = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=400)
    first = run(world.payins.refund(command))
    assert answered(first) == [E.CREATED, E.CAPTURED, E.REFUND_REQUESTED]
    assert world.types(payment.payment_id)[-1] == "refunded"
    assert run(world.payins.refund(command)) == Answered(events=first.events, replayed=True)
    assert books_agree(world, payment.payment_id)


def test_a_refund_that_the_processor_refuses_fails_and_frees_its_amount() -> None:
    world = World()
    payment = paid(world)
    world.psp.refund_now("pi_stripe_1", 700, None)
    command = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=400)
    run(world.payins.refund(command))
    assert world.types(payment.payment_id)[-3:] == ["refund_requested", "refund_failed", "refunded"]
    order = world.state(payment.payment_id).orders["A"]
    assert (order.refunded_minor, order.reserved_minor) == (700, 0)
    assert books_agree(world, payment.payment_id)


def test_a_payment_is_confirmed_once() -> None:
    world = World()
    payment = world.payment(flow="confirm_later", payment_token=None)
    run(world.payins.create(payment))
    first = run(world.payins.confirm(payment.payment_id, payment_token="ok"))
    assert answered(first) == [E.CREATED, E.ATTEMPTED, E.CAPTURED]
    again = run(world.payins.confirm(payment.payment_id, payment_token="ok"))
    assert again == Answered(events=first.events, replayed=True)
    other = run(world.payins.confirm(payment.payment_id, payment_token="another"))
    assert isinstance(other, Rejection)
    assert other.code == RejectionCode.IDEMPOTENCY_CONFLICT
    assert len(world.psp.charges) == 1


def test_two_confirmations_at_once_charge_once() -> None:
    world = World()
    payment = world.payment(flow="confirm_later", payment_token=None)
    run(world.payins.create(payment))

    async def both() -> None:
        confirm = world.payins.confirm
        await asyncio.gather(
            confirm(payment.payment_id, payment_token="ok"),
            confirm(payment.payment_id, payment_token="ok"),
        )

    run(both())
    assert len(world.psp.charges) == 1


def test_whoever_created_a_payment_a_moment_ago_does_not_read_it_to_confirm_it() -> None:
    world = World()
    reads: list[PaymentId] = []
    load, load_stored = world.ledger.load, world.store.load

    async def counted(payment_id: PaymentId) -> Any:
        reads.append(payment_id)
        return await load(payment_id)

    def counted_stored(payment_id: PaymentId) -> Any:
        reads.append(payment_id)
        return load_stored(payment_id)

    world.ledger.load, world.store.load = counted, counted_stored  # type: ignore[method-assign]
    payment = world.payment(flow="confirm_later", payment_token=None)
    run(world.payins.create(payment))
    first = run(world.payins.confirm(payment.payment_id, payment_token="ok"))
    assert answered(first) == [E.CREATED, E.ATTEMPTED, E.CAPTURED]
    assert reads == []


def test_long_streams_are_not_remembered() -> None:
    world = World()
    lines = tuple(line(f"o{number}", 10, 0, logistics_fee_minor=0) for number in range(11))
    payment = world.payment(flow="confirm_later", payment_token=None, lines=lines)
    run(world.payins.create(payment))
    assert not world.payins._to_confirm
    first = run(world.payins.confirm(payment.payment_id, payment_token="ok"))
    assert isinstance(first, Answered)


@pytest.mark.parametrize("token", ["ok", "another"])
def test_a_confirmation_at_another_process_counts(token: str) -> None:
    """The one that created the payment remembers it as it was, and prefers another processor."""
    world = World(others=("adyen",))
    payment = world.payment(flow="confirm_later", payment_token=None)
    run(world.payins.create(payment))
    processors = Processors([world.psps["adyen"], world.psp], world.metrics)
    other = PayIns(world.ledger, processors, world.metrics, clock=world.clock)
    first = run(other.confirm(payment.payment_id, payment_token="ok"))
    again = run(world.payins.confirm(payment.payment_id, payment_token=token))
    if token == "ok":
        assert again == replace(first, replayed=True)
    else:
        assert isinstance(again, Rejection)
        assert again.code == RejectionCode.IDEMPOTENCY_CONFLICT
    assert (len(world.psp.charges), len(world.psps["adyen"].charges)) == (0, 1)


def test_a_payment_that_another_process_has_cancelled_is_not_confirmed() -> None:
    world = World()
    payment = world.payment(flow="confirm_later", payment_token=None)
    run(world.payins.create(payment))
    other = PayIns(world.ledger, world.processors, world.metrics, clock=world.clock)
    run(other.cancel(world.change(RequestCancel, payment.payment_id)))
    refused = run(world.payins.confirm(payment.payment_id, payment_token="ok"))
    assert isinstance(refused, Rejection)
    assert world.types(payment.payment_id)[-1] == "cancelled"
    assert not world.psp.charges


def test_only_a_payment_to_be_confirmed_later_can_be_confirmed() -> None:
    world = World()
    payment = world.payment("action")
    run(world.payins.create(payment))
    refused = run(world.payins.confirm(payment.payment_id))
    assert isinstance(refused, Rejection)


def test_a_payment_that_was_made_elsewhere_is_not_changed_at_a_processor() -> None:
    world = World()
    foreign = world.payment(flow=None, capture=None, payment_token=None)
    run(world.ledger.handle(foreign))
    refused = run(world.payins.cancel(world.change(RequestCancel, foreign.payment_id)))
    assert isinstance(refused, Rejection)
    assert not world.psp.calls


def test_an_answer_can_be_asked_for() -> None:
    world = World()
    payment = paid(world)
    found = run(world.payins.answer(payment.payment_id, payment.idempotency_key))
    assert answered(found) == [E.CREATED, E.CAPTURED]
    assert run(world.payins.answer(payment.payment_id, "another")) == NotFound()


def test_a_refund_that_fails_after_it_was_made_is_shown_as_failed() -> None:
    world = World()
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    asked = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=300)
    asyncio.run(world.payins.refund(asked))
    assert shown_refund(world.events(payment.payment_id), "r-1")["status"] == "succeeded"
    world.psp.settle_refund("pi_stripe_1", 0, RefundStatus.FAILED)
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_1"]))
    shown = shown_refund(world.events(payment.payment_id), "r-1")
    assert (shown["status"], shown["amount_minor"]) == ("failed", 300)
    assert books_agree(world, payment.payment_id)
