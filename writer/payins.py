"""Pay-in handlers: what each command does to the orders of a payment. Pure.

Each handler raises `Rejection` or returns the rows to append, in the order in which the orders were
created. `writer.intents` has the handlers of requests to a PSP, `writer.suspense` those of money
that the rules may have no place for.
"""

from schemas.details import NO_DETAILS
from schemas.effects import Amount, effect_of
from schemas.events import NewEvent
from schemas.lifecycle import Direction, Dispute, EventType, next_state
from schemas.rejections import RejectionCode
from writer import suspense
from writer.commands import (
    AmountChange,
    Authorize,
    Capture,
    CreatePayment,
    FailRefund,
    OrderChange,
    RecordRefund,
    Release,
    RequestRefund,
)
from writer.parts import Part, concerned, movable, named_order, parts_of
from writer.pay_in_rows import pay_in_rows
from writer.rows import created_details, empty_state, make_row
from writer.state import OrderState, PaymentState, Refund, Shares
from writer.sums import NO_SUMS
from writer.validate import refusal


def create(command: CreatePayment) -> tuple[NewEvent, ...]:
    """Return the first row of each order, with its whole amount and the planned shares."""
    state = empty_state(command)
    start = next_state(Direction.IN, None, command.event_type)
    assert start is not None
    return tuple(
        make_row(
            state,
            command,
            seq=seq,
            order=OrderState(
                order_id=line.order_id,
                seller_id=line.seller_id,
                state=start,
                amount_minor=line.amount_minor,
            ),
            after=start,
            amount_minor=line.amount_minor,
            shares=Shares(line.commission_minor, line.logistics_fee_minor),
            sums=NO_SUMS,
            details=created_details(command) if seq == 1 else NO_DETAILS,
            psp_reference=command.psp_reference,
        )
        for seq, line in enumerate(command.orders, start=1)
    )


def change_state(state: PaymentState, command: OrderChange) -> tuple[NewEvent, ...]:
    """An event without an amount, for one order or all that are not over."""
    assert effect_of(command).amount is Amount.NONE, command
    orders = movable(state, command.event_type, command.order_id)
    return pay_in_rows(state, command, map(Part, orders))


def authorize(state: PaymentState, command: Authorize) -> tuple[NewEvent, ...]:
    """Record what the buyer's bank holds; a part is split over all orders that are not over."""
    orders = movable(state, command.event_type, command.order_id)
    return pay_in_rows(state, command, parts_of(orders, command))


def capture(state: PaymentState, command: Capture) -> tuple[NewEvent, ...]:
    """Take money from the buyer, for the orders or into suspense."""
    if suspense.is_stray(state, command):
        return suspense.stray_capture(state, command)
    return move_amount(state, command)


def move_amount(state: PaymentState, command: AmountChange) -> tuple[NewEvent, ...]:
    """An event of part of the amount, up to what the order has left for this event."""
    return pay_in_rows(state, command, parts_of(concerned(state, command), command))


def release(state: PaymentState, command: Release) -> tuple[NewEvent, ...]:
    """Make up to the seller's pending share available; not while a dispute is open."""
    named = named_order(state, command.order_id)
    orders = [named] if named else state.orders.values()
    if all(order.state.dispute is Dispute.OPEN for order in orders):
        raise refusal(
            RejectionCode.DISPUTE_OPEN,
            "order_id",
            "a dispute is open; release when the bank has decided",
        )
    return move_amount(state, command)


def request_refund(state: PaymentState, command: RequestRefund) -> tuple[NewEvent, ...]:
    """Reserve what is to be refunded to the buyer."""
    named_order(state, command.order_id)
    _refuse_known_refund(state, command.refund_id)
    return move_amount(state, command)


def record_refund(state: PaymentState, command: RecordRefund) -> tuple[NewEvent, ...]:
    """Settle an open request, or record a refund that was made at the PSP."""
    named_order(state, command.order_id)
    refund = state.refunds.get(command.refund_id) if command.refund_id is not None else None
    if refund is not None and refund.is_open:
        _check_same_refund(state, command, refund)
        return pay_in_rows(state, command, _requested_amounts(state, refund), settles=True)
    if command.refund_id is not None:
        _refuse_known_refund(state, command.refund_id)
    if suspense.is_stray(state, command):
        return suspense.take_out(state, command, EventType.STRAY_REFUNDED)
    return move_amount(state, command)


def fail_refund(state: PaymentState, command: FailRefund) -> tuple[NewEvent, ...]:
    """Free what an open request had reserved."""
    refund = state.refunds.get(command.refund_id)
    if refund is None:
        raise refusal(
            RejectionCode.UNKNOWN_REFUND,
            "refund_id",
            f"{command.refund_id} was never requested for this payment",
        )
    if not refund.is_open:
        _refuse_known_refund(state, command.refund_id)
    return pay_in_rows(state, command, _requested_amounts(state, refund))


def _refuse_known_refund(state: PaymentState, refund_id: str) -> None:
    if refund_id in state.refunds:
        how = "is open" if state.refunds[refund_id].is_open else "was decided"
        raise refusal(
            RejectionCode.REFUND_ALREADY_DECIDED,
            "refund_id",
            f"{refund_id} {how} already; a new refund needs a new id",
        )


def _check_same_refund(state: PaymentState, command: RecordRefund, refund: Refund) -> None:
    """Check that the refund equals its request: it settles exactly that, or nothing."""
    if command.order_id is not None and [*refund.amounts] != [command.order_id]:
        raise refusal(
            RejectionCode.AMOUNT_DIFFERS,
            "order_id",
            f"refund {command.refund_id} was requested for {', '.join(refund.amounts)}",
        )
    if command.psp not in (None, state.psp):
        raise refusal(
            RejectionCode.AMOUNT_DIFFERS,
            "psp",
            f"is {command.psp}, but refund {command.refund_id} was requested at {state.psp}; "
            "record a refund of its own",
        )
    requested = sum(refund.amounts.values())
    if command.amount_minor is not None and command.amount_minor != requested:
        raise refusal(
            RejectionCode.AMOUNT_DIFFERS,
            "amount_minor",
            f"is {command.amount_minor}, but refund {command.refund_id} was requested "
            f"for {requested}; record its failure, then the refund that was really made",
        )


def _requested_amounts(state: PaymentState, refund: Refund) -> list[Part]:
    return [Part(state.orders[order_id], amount) for order_id, amount in refund.amounts.items()]
