"""What an event does to money: an order's running sums after it, and how amounts are split.

Pure arithmetic in minor units, from the table in `schemas.effects`.
"""

from typing import NamedTuple, assert_never

from schemas.effects import Authorization, Effect, Move, Suspense
from schemas.money import allocate
from writer.state import NO_SHARES, OrderState, Shares


class Sums(NamedTuple):
    """An order's running sums after an event, and what the event adds to two balances.

    These are the seller's available balance and what is in suspense at the PSP.
    """

    authorized_minor: int
    captured_minor: int
    refunded_minor: int
    released_minor: int
    reserved_minor: int
    pending_minor: int
    available_delta_minor: int
    suspense_minor: int


NO_SUMS = Sums(0, 0, 0, 0, 0, 0, 0, 0)


def sums_after(
    order: OrderState,
    effect: Effect,
    amount_minor: int,
    shares: Shares,
    *,
    excess_minor: int = 0,
    available_minor: int = 0,
    settles: bool = False,
) -> Sums:
    """Return the sums of `order` after a pay-in event of `amount_minor`.

    `shares` are the platform's parts of the amount; the rest is the seller's. `excess_minor` is
    what a dispute takes beyond its amount. `available_minor` is what goes back into the available
    balance with a dispute that comes back. `settles`: the event settles an earlier request, so the
    amount reserved for it is freed.
    """
    reserved_sign = effect.reserved - (settles and effect.may_settle)
    seller_minor = amount_minor - shares.commission_minor - shares.logistics_fee_minor
    pending_minor, available_delta_minor = _move(
        order.pending_minor, effect.move, seller_minor, available_minor
    )
    after = Sums(
        authorized_minor=_authorized(order.authorized_minor, effect.authorization, amount_minor),
        captured_minor=order.captured_minor + effect.captured * amount_minor,
        refunded_minor=order.refunded_minor + effect.refunded * amount_minor,
        released_minor=order.released_minor + effect.released * amount_minor,
        reserved_minor=order.reserved_minor + reserved_sign * amount_minor,
        pending_minor=pending_minor,
        available_delta_minor=available_delta_minor,
        suspense_minor=_suspense(effect.suspense, amount_minor, excess_minor),
    )
    assert seller_minor >= 0, (order, effect, amount_minor, shares)
    assert excess_minor >= 0, (order, effect, excess_minor)
    assert after.authorized_minor <= order.amount_minor, (order, effect, amount_minor)
    assert after.captured_minor <= order.amount_minor, (order, effect, amount_minor)
    assert not 0 < after.authorized_minor < after.captured_minor, (order, effect, amount_minor)
    assert after.reserved_minor >= 0, (order, effect, amount_minor)
    assert after.refunded_minor >= 0, (order, effect, amount_minor)
    assert after.refunded_minor + after.reserved_minor <= after.captured_minor, (order, after)
    assert after.pending_minor >= 0, (order, effect, amount_minor)
    assert after.released_minor + after.pending_minor <= after.captured_minor, (order, after)
    return after


def _authorized(before_minor: int, authorization: Authorization, amount_minor: int) -> int:
    match authorization:
        case Authorization.NONE:
            return before_minor
        case Authorization.SETS:
            return amount_minor
        case Authorization.ENDS:
            return 0
        case _:
            assert_never(authorization)


def _suspense(suspense: Suspense, amount_minor: int, excess_minor: int) -> int:
    match suspense:
        case Suspense.NONE:
            return 0
        case Suspense.IN | Suspense.RETURNED | Suspense.GIVEN_BACK:
            return amount_minor
        case Suspense.OUT | Suspense.TAKEN:
            return -amount_minor
        case Suspense.EXCESS:
            return -excess_minor
        case Suspense.RETURN:
            return excess_minor
        case _:
            assert_never(suspense)


def _move(
    pending_minor: int, move: Move, seller_minor: int, available_minor: int
) -> tuple[int, int]:
    """Return the new pending sum and the change of available when the seller's share moves."""
    match move:
        case Move.NONE | Move.PLAN | Move.DISPUTE | Move.UNDISPUTE:
            return pending_minor, 0
        case Move.CAPTURE:
            return pending_minor + seller_minor, 0
        case Move.RESTORE:
            return pending_minor + seller_minor - available_minor, available_minor
        case Move.RELEASE:
            return pending_minor - seller_minor, seller_minor
        case Move.REVERSE | Move.CHARGE_BACK:
            from_pending = min(pending_minor, seller_minor)
            return pending_minor - from_pending, from_pending - seller_minor
        case _:
            assert_never(move)


def shares_of(order: OrderState, move: Move, amount_minor: int) -> Shares:
    """Return the platform's parts of an event's amount.

    Over all captures they sum exactly to the planned parts; if everything is refunded, the refunds'
    parts sum exactly to those taken.
    """
    match move:
        case Move.CAPTURE:
            left_minor = order.amount_minor - order.captured_minor
            return _split(amount_minor, left_minor, order.planned - order.taken)
        case Move.REVERSE | Move.CHARGE_BACK:
            left_minor = order.captured_minor - order.refunded_minor
            return _split(amount_minor, left_minor, order.taken - order.given_back)
        case _:
            return NO_SHARES


def _split(amount_minor: int, left_minor: int, left: Shares) -> Shares:
    if amount_minor == left_minor:
        return left
    seller_left = left_minor - left.commission_minor - left.logistics_fee_minor
    assert seller_left >= 0, (amount_minor, left_minor, left)
    weights = (seller_left, left.commission_minor, left.logistics_fee_minor)
    _, commission, logistics_fee = allocate(amount_minor, weights)
    return Shares(commission, logistics_fee)
