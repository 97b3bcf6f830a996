"""Pay-in handlers: what each command does to the orders of a payment. Pure.

Each handler raises `Rejection` or returns the rows to append, in the order in which the orders were
created. `_rows` is the only function that creates pay-in rows.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.details import NO_DETAILS
from schemas.effects import Amount, Claim, Effect, Move, effect_of
from schemas.errors import Rejection
from schemas.events import NewEvent
from schemas.lifecycle import (
    CHARGE,
    Direction,
    Dispute,
    EventType,
    allowed_events,
    next_state,
)
from schemas.money import allocate
from schemas.rejections import RejectionCode
from writer.commands import (
    AmountChange,
    Change,
    CreatePayment,
    FailRefund,
    LoseDispute,
    OrderChange,
    RecordRefund,
    Release,
    RequestRefund,
    WinDispute,
)
from writer.rows import details_texts, empty_state, make_row
from writer.state import OrderState, PaymentState, Refund, Shares
from writer.sums import NO_SUMS, shares_of, sums_after
from writer.validate import refusal


class _Part(NamedTuple):
    """One order's part of an event."""

    order: OrderState
    amount_minor: int = 0


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
            details=NO_DETAILS,
            psp_reference=command.psp_reference,
        )
        for seq, line in enumerate(command.orders, start=1)
    )


def change_state(state: PaymentState, command: OrderChange) -> tuple[NewEvent, ...]:
    """An event without an amount or of the whole amount, for one order or all open ones."""
    is_whole = effect_of(command).amount is Amount.WHOLE
    orders = _movable(state, command)
    return _rows(state, command, [_Part(o, o.amount_minor if is_whole else 0) for o in orders])


def move_amount(state: PaymentState, command: AmountChange) -> tuple[NewEvent, ...]:
    """An event of part of the amount, up to what the order has left for this event."""
    return _rows(state, command, _amounts(state, command))


def release(state: PaymentState, command: Release) -> tuple[NewEvent, ...]:
    """Make up to the seller's pending share available; not while a dispute is open."""
    named = _named_order(state, command.order_id)
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
    _named_order(state, command.order_id)
    _refuse_known_refund(state, command.refund_id)
    return move_amount(state, command)


def record_refund(state: PaymentState, command: RecordRefund) -> tuple[NewEvent, ...]:
    """Settle an open request, or record a refund that was made at the PSP."""
    _named_order(state, command.order_id)
    refund = state.refunds.get(command.refund_id) if command.refund_id is not None else None
    if refund is not None and refund.is_open:
        _check_same_refund(command, refund)
        return _rows(state, command, _requested_amounts(state, refund), settles=True)
    if command.refund_id is not None:
        _refuse_known_refund(state, command.refund_id)
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
    return _rows(state, command, _requested_amounts(state, refund))


def settle_dispute(state: PaymentState, command: WinDispute | LoseDispute) -> tuple[NewEvent, ...]:
    """Settle every open dispute that the command concerns, for its whole amount."""
    orders = _concerned(state, command)
    return _rows(state, command, [_Part(order, order.disputed_minor) for order in orders])


# -- which orders -------------------------------------------------------------------------------


def _named_order(state: PaymentState, order_id: str | None) -> OrderState | None:
    if order_id is None:
        return None
    if (order := state.orders.get(order_id)) is None:
        raise refusal(
            RejectionCode.UNKNOWN_ORDER,
            "order_id",
            f"payment {state.payment_id} has no order {order_id}",
        )
    return order


def _can(order: OrderState, event_type: EventType) -> bool:
    return next_state(Direction.IN, order.state, event_type) is not None


def _illegal(order: OrderState, event_type: EventType) -> Rejection:
    allowed = ", ".join(allowed_events(Direction.IN, order.state)) or "nothing: the order is closed"
    status, fulfilment, dispute = order.state
    return refusal(
        RejectionCode.ILLEGAL_TRANSITION,
        "command",
        f"{event_type} cannot happen to order {order.order_id}, which is {status} "
        f"(fulfilment {fulfilment}, dispute {dispute}); possible: {allowed}",
    )


def _movable(state: PaymentState, command: OrderChange) -> Sequence[OrderState]:
    """Return the named order, or all that are not over; every one of them must allow the event.

    An order that failed, was cancelled or expired is over: later events of its payment no longer
    apply to it.
    """
    named = _named_order(state, command.order_id)
    if named:
        orders = [named]
    else:
        orders = [order for order in state.orders.values() if CHARGE[order.state.status]]
        orders = orders or list(state.orders.values())
    for order in orders:
        if not _can(order, command.event_type):
            raise _illegal(order, command.event_type)
    return orders


def _concerned(state: PaymentState, command: OrderChange) -> Sequence[OrderState]:
    """Return the named order, or all that allow the event; at least one must."""
    named = _named_order(state, command.order_id)
    orders = [named] if named else list(state.orders.values())
    able = [order for order in orders if _can(order, command.event_type)]
    if not able:
        raise _illegal(orders[0], command.event_type)
    return able


# -- how much -----------------------------------------------------------------------------------


def _left(order: OrderState, effect: Effect) -> int:
    """Return how much of an order an event of part of its amount may take."""
    match effect.move:
        case Move.CAPTURE:
            return order.amount_minor - order.captured_minor
        case Move.RELEASE:
            return 0 if order.state.dispute is Dispute.OPEN else order.pending_minor
        case _:
            return order.captured_minor - order.refunded_minor - order.reserved_minor


def _too_much(effect: Effect) -> RejectionCode:
    """Return the code for an amount above what is left."""
    match effect:
        case Effect(move=Move.CAPTURE):
            return RejectionCode.CAPTURE_ABOVE_AMOUNT
        case Effect(move=Move.RELEASE):
            return RejectionCode.RELEASE_ABOVE_PENDING
        case Effect(dispute=Claim.OPENS):
            return RejectionCode.DISPUTE_ABOVE_CAPTURED
        case _:
            return RejectionCode.REFUND_ABOVE_CAPTURED


def _amounts(state: PaymentState, command: AmountChange) -> list[_Part]:
    """Return each concerned order with its positive part of the command's amount."""
    effect = effect_of(command)
    orders = _concerned(state, command)
    lefts = [_left(order, effect) for order in orders]
    left = sum(lefts)
    if left == 0:
        raise refusal(
            RejectionCode.NOTHING_LEFT,
            "amount_minor",
            f"nothing is left that could be {command.event_type}",
        )
    if command.amount_minor is not None and command.amount_minor > left:
        raise refusal(
            _too_much(effect),
            "amount_minor",
            f"is {command.amount_minor}, but only {left} of it can be {command.event_type}",
        )
    parts = lefts if command.amount_minor is None else allocate(command.amount_minor, lefts)
    return [_Part(order, part) for order, part in zip(orders, parts, strict=True) if part]


def _refuse_known_refund(state: PaymentState, refund_id: str) -> None:
    if refund_id in state.refunds:
        how = "is open" if state.refunds[refund_id].is_open else "was decided"
        raise refusal(
            RejectionCode.REFUND_ALREADY_DECIDED,
            "refund_id",
            f"{refund_id} {how} already; a new refund needs a new id",
        )


def _check_same_refund(command: RecordRefund, refund: Refund) -> None:
    """Check that the refund equals its request: it settles exactly that, or nothing."""
    if command.order_id is not None and [*refund.amounts] != [command.order_id]:
        raise refusal(
            RejectionCode.AMOUNT_DIFFERS,
            "order_id",
            f"refund {command.refund_id} was requested for {', '.join(refund.amounts)}",
        )
    requested = sum(refund.amounts.values())
    if command.amount_minor is not None and command.amount_minor != requested:
        raise refusal(
            RejectionCode.AMOUNT_DIFFERS,
            "amount_minor",
            f"is {command.amount_minor}, but refund {command.refund_id} was requested "
            f"for {requested}; record its failure, then the refund that was really made",
        )


def _requested_amounts(state: PaymentState, refund: Refund) -> list[_Part]:
    return [_Part(state.orders[order_id], amount) for order_id, amount in refund.amounts.items()]


# -- the rows -----------------------------------------------------------------------------------


def _rows(
    state: PaymentState, command: Change, parts: Iterable[_Part], *, settles: bool = False
) -> tuple[NewEvent, ...]:
    # Nothing below this line can be rejected: a failing assertion here is a bug.
    first_details, other_details = details_texts(command)
    return tuple(
        _row(state, command, part, seq, other_details if index else first_details, settles)
        for index, (seq, part) in enumerate(enumerate(parts, start=state.last_seq + 1))
    )


def _row(
    state: PaymentState, command: Change, part: _Part, seq: int, details: str, settles: bool
) -> NewEvent:
    order, amount_minor = part
    effect = effect_of(command)
    after = next_state(Direction.IN, order.state, command.event_type)
    assert after is not None, (order, command.event_type)
    shares = shares_of(order, effect.move, amount_minor)
    return make_row(
        state,
        command,
        seq=seq,
        order=order,
        after=after,
        amount_minor=amount_minor,
        shares=shares,
        sums=sums_after(order, effect, amount_minor, shares, settles=settles),
        details=details,
        psp_reference=command.psp_reference,
    )
