"""Handlers of money that the rules may have no place for: strays and honouring. Pure.

Money that moved is recorded whatever its amount. What no order has a place for is in suspense, by
order and PSP (docs/decisions/0031). `writer.disputes` has the handlers of disputes.
"""

from collections.abc import Sequence

from schemas.details import RefundDetails, parse_details
from schemas.effects import STRAY_EVENTS, effect_of
from schemas.events import NewEvent
from schemas.lifecycle import EventType
from schemas.money import allocate
from schemas.rejections import RejectionCode
from writer.commands import Capture, Honour, OpenDispute, RecordRefund, ReturnRefund
from writer.parts import concerned, meant, nothing_left, positive
from writer.pay_in_rows import pay_in_rows
from writer.rows import Place
from writer.state import OrderState, PaymentState
from writer.validate import refusal

_REFUNDS = frozenset({EventType.REFUNDED, EventType.STRAY_REFUNDED})


def is_stray(state: PaymentState, command: Capture | RecordRefund) -> bool:
    """Whether the orders have no place for the money.

    They are over, it is at another PSP, or whoever saw it there knows that it is not theirs.
    """
    orders = meant(state, command.order_id)
    is_elsewhere = psp_of(state, command) != state.psp
    return command.is_stray or is_elsewhere or all(order.is_over for order in orders)


def stray_capture(state: PaymentState, command: Capture) -> tuple[NewEvent, ...]:
    """Put money into suspense that came from the buyer; without an amount, what was due."""
    orders = meant(state, command.order_id)
    due = [max(0, o.amount_minor - in_suspense(o, psp_of(state, command))) for o in orders]
    amounts = [order.amount_minor for order in orders]
    return stray_rows(state, command, EventType.STRAY_CAPTURED, orders, due, amounts)


def take_out(
    state: PaymentState, command: RecordRefund | OpenDispute, event_type: EventType
) -> tuple[NewEvent, ...]:
    """Take out of suspense what went back or is disputed; without an amount, all that is there."""
    orders = meant(state, command.order_id)
    there = [max(0, in_suspense(order, psp_of(state, command))) for order in orders]
    amounts = [order.amount_minor for order in orders]
    weights = there if any(there) else amounts
    return stray_rows(state, command, event_type, orders, there, weights)


def return_refund(state: PaymentState, command: ReturnRefund) -> tuple[NewEvent, ...]:
    """Put into suspense what a refund had given back, order by order."""
    place = _place(state, psp_of(state, command))
    left: dict[str, int] = {}
    for row in _rows_of(state, command):
        if row.psp != place.psp:
            continue
        if row.event_type in _REFUNDS:
            left[row.order_id] = left.get(row.order_id, 0) + row.amount_minor
        elif row.event_type is EventType.REFUND_RETURNED:
            left[row.order_id] -= row.amount_minor
    orders = [state.orders[order_id] for order_id in left]
    if not (parts := positive(orders, [*left.values()])):
        raise refusal(
            RejectionCode.UNKNOWN_REFUND,
            "psp_reference",
            f"{command.psp_reference or command.refund_id} is no refund of this payment at "
            f"{place.psp} that could come back; record it first",
        )
    return pay_in_rows(state, command, parts, place=place)


def honour(state: PaymentState, command: Honour) -> tuple[NewEvent, ...]:
    """Take what is in suspense at the payment's PSP as the orders' capture, as far as it is due."""
    orders = concerned(state, command)
    amounts = [
        min(in_suspense(order, state.psp), order.amount_minor - order.captured_minor)
        for order in orders
    ]
    if not (parts := positive(orders, amounts)):
        raise nothing_left(command.event_type)
    return pay_in_rows(state, command, parts)


def _rows_of(state: PaymentState, command: ReturnRefund) -> Sequence[NewEvent]:
    """Return the rows of a refund; without a reference at the PSP it is known by our id."""
    if command.psp_reference is not None:
        return rows_about(state, command.psp_reference)
    if command.refund_id is None:
        return ()
    rows = (row for rows in state.answers.values() for row in rows if row.psp_reference is None)
    return [row for row in rows if _refund_id(row) == command.refund_id]


def _refund_id(row: NewEvent) -> str | None:
    details = parse_details(effect_of(row).details, row.details)
    return details.refund_id if isinstance(details, RefundDetails) else None


def psp_of(
    state: PaymentState, command: Capture | RecordRefund | ReturnRefund | OpenDispute
) -> str:
    """Return the PSP that a command names, or the payment's."""
    return state.psp if command.psp is None else command.psp


def in_suspense(order: OrderState, psp: str) -> int:
    """Return what an order has in suspense at a PSP."""
    return order.suspense_minor.get(psp, 0)


def rows_about(state: PaymentState, reference: str | None) -> Sequence[NewEvent]:
    """Return the rows with a reference at the PSP, in their order; of none there are none."""
    if reference is None:
        return ()
    rows = (row for rows in state.answers.values() for row in rows)
    return sorted((row for row in rows if row.psp_reference == reference), key=lambda row: row.seq)


def stray_rows(
    state: PaymentState,
    command: Capture | RecordRefund | OpenDispute,
    event_type: EventType,
    orders: Sequence[OrderState],
    lefts: Sequence[int],
    weights: Sequence[int],
) -> tuple[NewEvent, ...]:
    """Return rows of `lefts`, or of the command's amount in proportion to `weights`."""
    assert event_type in STRAY_EVENTS, event_type
    if command.amount_minor is None and not any(lefts):
        raise nothing_left(event_type)
    amount_minor = command.amount_minor
    amounts = lefts if amount_minor is None else allocate(amount_minor, weights)
    return pay_in_rows(
        state,
        command,
        positive(orders, amounts),
        event_type=event_type,
        place=_place(state, psp_of(state, command)),
    )


def _place(state: PaymentState, psp: str) -> Place:
    """Return the method of the latest attempt there; of a PSP never asked, the payment's."""
    methods = [attempt.method for attempt in state.attempts if attempt.psp == psp]
    return Place(psp, methods[-1] if methods else state.method)
