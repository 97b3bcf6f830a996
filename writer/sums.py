"""What an event does to money: an order's running sums after it, and how amounts are split.

Pure arithmetic on whole minor units, by the table of signs in `schemas.effects`.
"""

from typing import NamedTuple

from schemas.effects import IN_EFFECTS, NO_EFFECT
from schemas.lifecycle import EventType
from schemas.money import allocate
from writer.state import OrderState, Shares


class Sums(NamedTuple):
    """An order's running sums after an event, and the event's change of the payable balance."""

    captured_minor: int
    refunded_minor: int
    released_minor: int
    reserved_minor: int
    pending_minor: int
    available_delta_minor: int


NO_SUMS = Sums(0, 0, 0, 0, 0, 0)


def sums_after(
    order: OrderState, event_type: EventType, amount_minor: int, shares: Shares, *, settles: bool
) -> Sums:
    """The sums of `order` after a pay-in event of `amount_minor`.

    `shares` are the platform's parts of the amount, the rest is the seller's.
    `settles`: the refund was asked for before, so its reservation ends with it.
    """
    effect = IN_EFFECTS.get(event_type, NO_EFFECT)
    reserved_sign = -1 if settles and event_type is EventType.REFUNDED else effect.reserved
    seller_minor = amount_minor - shares.commission_minor - shares.logistics_fee_minor
    pending_minor, available_delta_minor = _move(order.pending_minor, effect.moves, seller_minor)
    after = Sums(
        captured_minor=order.captured_minor + effect.captured * amount_minor,
        refunded_minor=order.refunded_minor + effect.refunded * amount_minor,
        released_minor=order.released_minor + effect.released * amount_minor,
        reserved_minor=order.reserved_minor + reserved_sign * amount_minor,
        pending_minor=pending_minor,
        available_delta_minor=available_delta_minor,
    )
    assert seller_minor >= 0, (order, event_type, amount_minor, shares)
    assert after.captured_minor <= order.amount_minor, (order, event_type, amount_minor)
    assert after.reserved_minor >= 0, (order, event_type, amount_minor)
    assert after.refunded_minor + after.reserved_minor <= after.captured_minor, (order, after)
    assert after.pending_minor >= 0, (order, event_type, amount_minor)
    assert after.released_minor + after.pending_minor <= after.captured_minor, (order, after)
    return after


def _move(pending_minor: int, moves: str, seller_minor: int) -> tuple[int, int]:
    """Pending after, and the change of available, when the seller's share moves."""
    match moves:
        case "":
            return pending_minor, 0
        case "capture":
            return pending_minor + seller_minor, 0
        case "release":
            return pending_minor - seller_minor, seller_minor
        case "reverse":
            from_pending = min(pending_minor, seller_minor)
            return pending_minor - from_pending, from_pending - seller_minor
        case _:
            raise AssertionError(f"schemas.effects names an unknown move: {moves}")


def shares_to_take(order: OrderState, amount_minor: int) -> Shares:
    """The platform's parts of a capture; over all captures exactly the planned ones."""
    return _split(
        amount_minor,
        order.amount_minor - order.captured_minor,
        Shares(
            order.planned.commission_minor - order.taken.commission_minor,
            order.planned.logistics_fee_minor - order.taken.logistics_fee_minor,
        ),
    )


def shares_to_give_back(order: OrderState, amount_minor: int) -> Shares:
    """The platform's parts of a refund; when all is refunded, exactly those that were taken."""
    return _split(
        amount_minor,
        order.captured_minor - order.refunded_minor,
        Shares(
            order.taken.commission_minor - order.given_back.commission_minor,
            order.taken.logistics_fee_minor - order.given_back.logistics_fee_minor,
        ),
    )


def _split(amount_minor: int, left_minor: int, left: Shares) -> Shares:
    if amount_minor == left_minor:
        return left
    seller_left = left_minor - left.commission_minor - left.logistics_fee_minor
    assert seller_left >= 0, (amount_minor, left_minor, left)
    weights = (seller_left, left.commission_minor, left.logistics_fee_minor)
    _, commission, logistics_fee = allocate(amount_minor, weights)
    return Shares(commission, logistics_fee)
