"""Handlers of money that the rules may have no place for: strays, honouring, disputes. Pure.

Money that moved is recorded whatever its amount. What no order has a place for is in suspense, by
order and PSP (docs/decisions/0031).
"""

from collections.abc import Sequence

from schemas.effects import STRAYS
from schemas.events import NewEvent
from schemas.money import allocate
from writer.commands import Capture, Honour, LoseDispute, OpenDispute, RecordRefund, WinDispute
from writer.parts import Part, concerned, meant, nothing_left, positive
from writer.pay_in_rows import pay_in_rows
from writer.rows import Place
from writer.state import OrderState, PaymentState


def is_stray(state: PaymentState, command: Capture | RecordRefund) -> bool:
    """Whether the orders have no place for the money: they are over, or it is at another PSP."""
    orders = meant(state, command.order_id)
    return _psp(state, command) != state.psp or all(order.is_over for order in orders)


def stray_capture(state: PaymentState, command: Capture) -> tuple[NewEvent, ...]:
    """Put money into suspense that came from the buyer; without an amount, what was due."""
    orders = meant(state, command.order_id)
    due = [max(0, o.amount_minor - _in_suspense(o, _psp(state, command))) for o in orders]
    amounts = [order.amount_minor for order in orders]
    return _stray_rows(state, command, orders, due, amounts)


def stray_refund(state: PaymentState, command: RecordRefund) -> tuple[NewEvent, ...]:
    """Take money out of suspense that went back; without an amount, all that is there."""
    orders = meant(state, command.order_id)
    there = [max(0, _in_suspense(order, _psp(state, command))) for order in orders]
    amounts = [order.amount_minor for order in orders]
    return _stray_rows(state, command, orders, there, there if any(there) else amounts)


def honour(state: PaymentState, command: Honour) -> tuple[NewEvent, ...]:
    """Take what is in suspense at the payment's PSP as the orders' capture, as far as it is due."""
    orders = concerned(state, command)
    amounts = [
        min(_in_suspense(order, state.psp), order.amount_minor - order.captured_minor)
        for order in orders
    ]
    if not (parts := positive(orders, amounts)):
        raise nothing_left(command.event_type)
    return pay_in_rows(state, command, parts)


def open_dispute(state: PaymentState, command: OpenDispute) -> tuple[NewEvent, ...]:
    """Reserve what the orders' money covers, and put into suspense what the dispute takes beyond.

    Without an amount it is all that was captured and not refunded; of an order that is over, all
    that is in suspense.
    """
    orders = concerned(state, command)
    covered: Sequence[int] = [order.refundable_minor for order in orders]
    there = [max(0, _in_suspense(order, state.psp)) for order in orders]
    excess: Sequence[int]
    if command.amount_minor is None:
        excess = [minor if order.is_over else 0 for order, minor in zip(orders, there, strict=True)]
    else:
        covered_minor = min(command.amount_minor, sum(covered))
        covered = allocate(covered_minor, covered)
        taken = [o.captured_minor + minor for o, minor in zip(orders, there, strict=True)]
        weights = taken if any(taken) else [order.amount_minor for order in orders]
        excess = allocate(command.amount_minor - covered_minor, weights)
    parts = [Part(*part) for part in zip(orders, covered, excess, strict=True) if any(part[1:])]
    if not parts:
        raise nothing_left(command.event_type)
    return pay_in_rows(state, command, parts)


def win_dispute(state: PaymentState, command: WinDispute) -> tuple[NewEvent, ...]:
    """Take back all that every open dispute concerned took, also from suspense."""
    return pay_in_rows(
        state,
        command,
        [
            Part(order, order.disputed_minor, -order.disputed_suspense_minor)
            for order in concerned(state, command)
        ],
    )


def lose_dispute(state: PaymentState, command: LoseDispute) -> tuple[NewEvent, ...]:
    """Give the buyer all that every open dispute concerned reserved; suspense stays as it is."""
    orders = concerned(state, command)
    return pay_in_rows(state, command, [Part(order, order.disputed_minor) for order in orders])


def _psp(state: PaymentState, command: Capture | RecordRefund) -> str:
    return state.psp if command.psp is None else command.psp


def _in_suspense(order: OrderState, psp: str) -> int:
    return order.suspense_minor.get(psp, 0)


def _stray_rows(
    state: PaymentState,
    command: Capture | RecordRefund,
    orders: Sequence[OrderState],
    lefts: Sequence[int],
    weights: Sequence[int],
) -> tuple[NewEvent, ...]:
    """Return rows of `lefts`, or of the command's amount in proportion to `weights`."""
    event_type = STRAYS[command.event_type]
    if command.amount_minor is None and not any(lefts):
        raise nothing_left(event_type)
    amount_minor = command.amount_minor
    amounts = lefts if amount_minor is None else allocate(amount_minor, weights)
    psp = _psp(state, command)
    # The method of the latest attempt there; of a PSP that was never asked, the payment's.
    methods = [attempt.method for attempt in state.attempts if attempt.psp == psp]
    return pay_in_rows(
        state,
        command,
        positive(orders, amounts),
        event_type=event_type,
        place=Place(psp, methods[-1] if methods else state.method),
    )
