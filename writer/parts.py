"""Which orders of a payment a command is about, and how much of each. Pure.

Every function raises `Rejection` if the command cannot be carried out. An order that failed, was
cancelled or expired is over: unless a command names it, it is about the others.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.effects import Authorization, Claim, Effect, Move, effect_of
from schemas.errors import Rejection
from schemas.lifecycle import Direction, Dispute, EventType, allowed_events, next_state
from schemas.money import allocate
from schemas.rejections import RejectionCode
from writer.commands import AmountChange, OrderChange
from writer.state import LostDispute, OrderState, PaymentState
from writer.validate import refusal


class Part(NamedTuple):
    """One order's part of an event; `excess_minor` is what a dispute takes beyond the amount.

    `lost` is what a dispute that comes back had taken, as it took it.
    """

    order: OrderState
    amount_minor: int = 0
    excess_minor: int = 0
    lost: LostDispute | None = None


# -- which orders -------------------------------------------------------------------------------


def named_order(state: PaymentState, order_id: str | None) -> OrderState | None:
    """Return the order that a command names, None if it names none."""
    if order_id is None:
        return None
    if (order := state.orders.get(order_id)) is None:
        raise refusal(
            RejectionCode.UNKNOWN_ORDER,
            "order_id",
            f"payment {state.payment_id} has no order {order_id}",
        )
    return order


def meant(state: PaymentState, order_id: str | None) -> Sequence[OrderState]:
    """Return the named order, or all that are not over, or, if all are over, all."""
    named = named_order(state, order_id)
    if named:
        return [named]
    orders = list(state.orders.values())
    return [order for order in orders if not order.is_over] or orders


def movable(
    state: PaymentState, event_type: EventType, order_id: str | None = None
) -> Sequence[OrderState]:
    """Return the orders that are meant; every one of them must allow the event."""
    orders = meant(state, order_id)
    for order in orders:
        if not _can(order, event_type):
            raise _illegal(order, event_type)
    return orders


def concerned(state: PaymentState, command: OrderChange) -> Sequence[OrderState]:
    """Return the named order, or all that allow the event; at least one must."""
    named = named_order(state, command.order_id)
    orders = [named] if named else list(state.orders.values())
    able = [order for order in orders if _can(order, command.event_type)]
    if not able:
        raise _illegal(orders[0], command.event_type)
    return able


def _can(order: OrderState, event_type: EventType) -> bool:
    return next_state(Direction.IN, order.state, event_type) is not None


def _illegal(order: OrderState, event_type: EventType) -> Rejection:
    allowed = ", ".join(allowed_events(Direction.IN, order.state))
    status, fulfilment, dispute = order.state
    return refusal(
        RejectionCode.ILLEGAL_TRANSITION,
        "command",
        f"{event_type} cannot happen to order {order.order_id}, which is {status} "
        f"(fulfilment {fulfilment}, dispute {dispute}); possible: {allowed}",
    )


# -- how much -----------------------------------------------------------------------------------


def parts_of(orders: Sequence[OrderState], command: AmountChange) -> list[Part]:
    """Return each order with its positive part of the command's amount, in proportion."""
    effect = effect_of(command)
    lefts = [_left(order, effect) for order in orders]
    left = sum(lefts)
    if left == 0:
        raise nothing_left(command.event_type)
    if command.amount_minor is not None and command.amount_minor > left:
        raise refusal(
            _too_much(orders, effect, command.amount_minor),
            "amount_minor",
            f"is {command.amount_minor}, but only {left} of it can be {command.event_type}",
        )
    parts = lefts if command.amount_minor is None else allocate(command.amount_minor, lefts)
    return positive(orders, parts)


def positive(orders: Sequence[OrderState], amounts: Sequence[int]) -> list[Part]:
    """Return the orders whose amount is above zero, each with it."""
    return [
        Part(order, amount) for order, amount in zip(orders, amounts, strict=True) if amount > 0
    ]


def nothing_left(event_type: EventType) -> Rejection:
    """Return the rejection of a command for which no order has anything left."""
    return refusal(
        RejectionCode.NOTHING_LEFT,
        "amount_minor",
        f"nothing is left that could be {event_type}",
    )


def _left(order: OrderState, effect: Effect) -> int:
    """Return how much of an order an event of part of its amount may take."""
    match effect:
        case Effect(authorization=Authorization.SETS):
            return order.amount_minor
        case Effect(move=Move.CAPTURE) | Effect(capture_request=Claim.OPENS):
            return order.capturable_minor
        case Effect(move=Move.RELEASE):
            return 0 if order.state.dispute is Dispute.OPEN else order.pending_minor
        case _:
            return order.refundable_minor


def _too_much(orders: Sequence[OrderState], effect: Effect, amount_minor: int) -> RejectionCode:
    """Return the code for an amount above what is left."""
    match effect:
        case Effect(authorization=Authorization.SETS):
            return RejectionCode.AUTHORIZATION_ABOVE_AMOUNT
        case Effect(move=Move.CAPTURE) | Effect(capture_request=Claim.OPENS):
            if amount_minor <= sum(order.amount_minor - order.captured_minor for order in orders):
                return RejectionCode.CAPTURE_ABOVE_AUTHORIZATION
            return RejectionCode.CAPTURE_ABOVE_AMOUNT
        case Effect(move=Move.RELEASE):
            return RejectionCode.RELEASE_ABOVE_PENDING
        case _:
            return RejectionCode.REFUND_ABOVE_CAPTURED
