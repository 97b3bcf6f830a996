"""Handlers of disputes: what a bank takes from us, and what comes back. Pure.

A dispute is never refused for its amount. What the orders' money does not cover is in suspense, and
so is all of one about no order's money: `writer.suspense`.
"""

from collections.abc import Mapping, Sequence

from schemas.events import NewEvent
from schemas.lifecycle import Dispute, EventType
from schemas.money import allocate
from writer.commands import LoseDispute, OpenDispute, WinDispute
from writer.parts import Part, concerned, nothing_left
from writer.pay_in_rows import pay_in_rows
from writer.rows import Place
from writer.state import LostDispute, PaymentState
from writer.suspense import in_suspense, psp_of, rows_about, take_out


def open_dispute(state: PaymentState, command: OpenDispute) -> tuple[NewEvent, ...]:
    """Reserve what the orders' money covers, and put into suspense what the dispute takes beyond.

    Without an amount it is all that was captured and not refunded; of an order that is over, all
    that is in suspense.
    """
    if command.is_stray or psp_of(state, command) != state.psp:
        return take_out(state, command, EventType.STRAY_DISPUTED)
    orders = concerned(state, command)
    covered: Sequence[int] = [order.refundable_minor for order in orders]
    there = [max(0, in_suspense(order, state.psp)) for order in orders]
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
    """Take back all that the dispute took from every order concerned, also from suspense."""
    if strays := _strays_open(state, command):
        row = next(iter(strays.values()))
        return pay_in_rows(
            state,
            command,
            [Part(state.orders[order_id], row.amount_minor) for order_id, row in strays.items()],
            event_type=EventType.STRAY_DISPUTE_WON,
            place=Place(row.psp, row.method),
        )
    if lost := _lost(state, command):
        return pay_in_rows(
            state,
            command,
            [
                Part(state.orders[order_id], each.amount_minor, each.excess_minor, each)
                for order_id, each in lost.items()
            ],
            event_type=EventType.DISPUTE_REVERSED,
        )
    return pay_in_rows(
        state,
        command,
        [
            Part(order, order.disputed_minor, -order.disputed_suspense_minor)
            for order in concerned(state, command)
        ],
    )


def _strays_open(state: PaymentState, command: WinDispute) -> Mapping[str, NewEvent]:
    """Return the rows, by order, of the stray dispute that the command names, if it is open.

    It is at one PSP, whatever else has the same reference.
    """
    found: dict[str, NewEvent] = {}
    for row in rows_about(state, command.psp_reference):
        if command.order_id not in (None, row.order_id):
            continue
        if row.event_type is EventType.STRAY_DISPUTED:
            found[row.order_id] = row
        elif row.event_type is EventType.STRAY_DISPUTE_WON:
            found.pop(row.order_id, None)
    psp = next((row.psp for row in found.values()), None)
    return {order_id: row for order_id, row in found.items() if row.psp == psp}


def _lost(state: PaymentState, command: WinDispute) -> Mapping[str, LostDispute]:
    """Return what was lost by the dispute that the command names, by order.

    Without a name it is the open one, and only if none is open the one that was lost.
    """
    return {
        order.order_id: lost
        for order in state.orders.values()
        if command.order_id in (None, order.order_id)
        and (lost := order.lost.get(command.psp_reference or "")) is not None
        and (command.psp_reference or order.state.dispute is not Dispute.OPEN)
    }


def lose_dispute(state: PaymentState, command: LoseDispute) -> tuple[NewEvent, ...]:
    """Give the buyer all that every open dispute concerned reserved; suspense stays as it is."""
    orders = concerned(state, command)
    return pay_in_rows(state, command, [Part(order, order.disputed_minor) for order in orders])
