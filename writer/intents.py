"""Handlers of intents: what a PSP is about to be asked, and that a request came to nothing. Pure.

An intent is recorded before the PSP is asked, so that a crash cannot hide that it may have been. It
moves no money. A request to capture or to cancel is open until an outcome of its order is recorded;
until then no other request about the order is accepted, and no other capture of the payment.
"""

from collections.abc import Callable, Sequence

from schemas.errors import Rejection
from schemas.events import NewEvent
from schemas.rejections import RejectionCode
from writer.commands import Attempt, FailCancel, FailCapture, RequestCancel, RequestCapture
from writer.parts import Part, concerned, movable, parts_of
from writer.pay_in_rows import pay_in_rows
from writer.rows import Place
from writer.state import OrderState, PaymentState
from writer.validate import refusal


def attempt(state: PaymentState, command: Attempt) -> tuple[NewEvent, ...]:
    """Charge at a PSP (again); every order that is not over must be without a charge."""
    orders = movable(state, command.event_type)
    for order in orders:
        _refuse_requested(order)
    # Nothing below this line can be refused.
    return pay_in_rows(
        state,
        command,
        map(Part, orders),
        place=Place(command.psp, command.method or state.method),
        attempt=state.attempts[-1].number + 1,
    )


def request_capture(state: PaymentState, command: RequestCapture) -> tuple[NewEvent, ...]:
    """Name what the PSP is to capture, of the orders without an open request.

    One capture at a time: a PSP's books say how much of a charge was taken, not for which order.
    """
    orders = concerned(state, command)
    for order in state.orders.values():
        if order.capture_requested_seq:
            _refuse_requested(order)
    return pay_in_rows(state, command, parts_of(_without_request(orders), command))


def request_cancel(state: PaymentState, command: RequestCancel) -> tuple[NewEvent, ...]:
    """Say which orders the PSP is to cancel: those without an open request."""
    orders = movable(state, command.event_type, command.order_id)
    return pay_in_rows(state, command, map(Part, _without_request(orders)))


def fail_capture(state: PaymentState, command: FailCapture) -> tuple[NewEvent, ...]:
    """End every open request to capture that the command concerns."""
    orders = _requested(concerned(state, command), lambda order: order.capture_requested_seq)
    return pay_in_rows(state, command, map(Part, orders))


def fail_cancel(state: PaymentState, command: FailCancel) -> tuple[NewEvent, ...]:
    """End every open request to cancel that the command concerns."""
    orders = _requested(concerned(state, command), lambda order: order.cancel_requested_seq)
    return pay_in_rows(state, command, map(Part, orders))


def _requested(
    orders: Sequence[OrderState], seq_of: Callable[[OrderState], int]
) -> Sequence[OrderState]:
    requested = [order for order in orders if seq_of(order)]
    if not requested:
        raise refusal(
            RejectionCode.NOTHING_REQUESTED,
            "order_id",
            f"no such request of order {orders[0].order_id} is open",
        )
    return requested


def _without_request(orders: Sequence[OrderState]) -> Sequence[OrderState]:
    free = [order for order in orders if _open_request(order) is None]
    if not free:
        _refuse_requested(orders[0])
    return free


def _refuse_requested(order: OrderState) -> None:
    if (rejection := _open_request(order)) is not None:
        raise rejection


def _open_request(order: OrderState) -> Rejection | None:
    """Return the rejection that an open request of the order leads to; None without one."""
    if order.capture_requested_seq:
        code, what, seq = (
            RejectionCode.CAPTURE_ALREADY_REQUESTED, "a capture", order.capture_requested_seq,
        )  # fmt: skip
    elif order.cancel_requested_seq:
        code, what, seq = (
            RejectionCode.CANCEL_ALREADY_REQUESTED, "a cancellation", order.cancel_requested_seq,
        )  # fmt: skip
    else:
        return None
    return refusal(
        code,
        "order_id",
        f"{what} of order {order.order_id} was requested (seq {seq}) and has no outcome yet; "
        "wait for it and ask again then",
    )
