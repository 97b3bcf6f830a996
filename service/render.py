"""Payments as the API shows them: a function of events, so that every process says the same.

Each event carries its order's state after it, so the latest row of each order is enough; details
are read only where something is in them. Nothing here reads a clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from payins.keys import is_refusal
from schemas.details import NO_DETAILS
from schemas.events import Event
from schemas.lifecycle import Direction, EventType, Status
from service.failures import failure_of

_S = Status
PRECEDENCE = (
    _S.UNKNOWN,
    _S.PROCESSING,
    _S.ACTION_REQUIRED,
    _S.CREATED,
    _S.AUTHORIZED,
    _S.CAPTURED,
    _S.EXPIRED,
    _S.CANCELLED,
    _S.FAILED,
)
"""Where a payment's orders differ, it has the first of these that one of them has: as long as
something is open it is open, and once money was taken it counts as captured."""
_RANK = {status: rank for rank, status in enumerate(PRECEDENCE)}


def status_of(events: Iterable[Event]) -> Status:
    """The status of a whole payment, from the latest row of each order."""
    latest = {event.order_id: event.status for event in events}
    return min(latest.values(), key=_RANK.__getitem__)


def payment(events: Sequence[Event]) -> dict[str, Any]:
    """The payment after these events, which begin with its first."""
    first, last = events[0], events[-1]
    latest = {event.order_id: event for event in events}
    orders = list(latest.values())
    status = min((order.status for order in orders), key=_RANK.__getitem__)
    asked = _details(first)
    return {
        "id": str(first.payment_id),
        "status": status,
        "buyer_id": first.buyer_id,
        "currency": first.currency,
        "amount_minor": sum(order.order_amount_minor for order in orders),
        "authorized_minor": sum(order.authorized_minor for order in orders),
        "captured_minor": sum(order.captured_minor for order in orders),
        "refunded_minor": sum(order.refunded_minor for order in orders),
        "method": _latest_attempt(events).method,
        "psp": _latest_attempt(events).psp,
        "psp_reference": charge_reference(events),
        "capture": asked.get("capture") or "automatic",
        "flow": asked.get("flow"),
        "next_action": _next_action(events, status),
        "failure": _failure(events, status),
        "metadata": asked.get("metadata") or {},
        "orders": [_order(order) for order in orders],
        "created_at": first.occurred_at,
        "updated_at": last.recorded_at,
        "last_seq": last.seq,
    }


def transaction(events: Sequence[Event]) -> dict[str, Any]:
    """A payment or a payout in one line, for whoever it belongs to."""
    first, last = events[0], events[-1]
    line: dict[str, Any] = {
        "tx_id": str(first.payment_id),
        "direction": first.direction,
        "status": last.status if first.direction is Direction.OUT else status_of(events),
        "currency": first.currency,
        "created_at": first.occurred_at,
        "updated_at": last.recorded_at,
    }
    if first.direction is Direction.OUT:
        return line | {"amount_minor": first.order_amount_minor, "seller_id": first.seller_id}
    orders = {event.order_id: event for event in events}.values()
    return line | {
        "amount_minor": sum(order.order_amount_minor for order in orders),
        "captured_minor": sum(order.captured_minor for order in orders),
        "refunded_minor": sum(order.refunded_minor for order in orders),
        "buyer_id": first.buyer_id,
    }


def history(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Every event of a payment, in order."""
    return [
        {
            "seq": event.seq,
            "type": event.event_type,
            "order_id": event.order_id,
            "status": event.status,
            "amount_minor": event.amount_minor,
            "currency": event.currency,
            "psp_reference": event.psp_reference,
            "refund_id": _details(event).get("refund_id"),
            "reason": _details(event).get("reason"),
            "occurred_at": event.occurred_at,
            "recorded_at": event.recorded_at,
        }
        for event in events
    ]


_REFUND_STATES: Mapping[EventType, str] = {
    EventType.REFUND_REQUESTED: "pending",
    EventType.REFUNDED: "succeeded",
    EventType.REFUND_FAILED: "failed",
    EventType.REFUND_RETURNED: "failed",  # its money came back
}


def refund(events: Sequence[Event], refund_id: str) -> dict[str, Any]:
    """One refund after these events, over all orders that it gives back for."""
    rows = [
        event
        for event in events
        if event.event_type in _REFUND_STATES and _details(event).get("refund_id") == refund_id
    ]
    asked = [event for event in rows if event.event_type is rows[0].event_type]
    return {
        "refund_id": refund_id,
        "payment_id": str(rows[0].payment_id),
        "status": _REFUND_STATES[rows[-1].event_type],
        "currency": rows[0].currency,
        "amount_minor": sum(event.amount_minor for event in asked),
        "orders": [
            {"order_id": event.order_id, "amount_minor": event.amount_minor} for event in asked
        ],
        "created_at": rows[0].occurred_at,
    }


def _order(row: Event) -> dict[str, Any]:
    return {
        "order_id": row.order_id,
        "seller_id": row.seller_id,
        "status": row.status,
        "fulfilment": row.fulfilment,
        "dispute": row.dispute,
        "amount_minor": row.order_amount_minor,
        "captured_minor": row.captured_minor,
        "refunded_minor": row.refunded_minor,
        "reserved_minor": row.reserved_minor,
        "released_minor": row.released_minor,
    }


_ATTEMPTS = (EventType.CREATED, EventType.ATTEMPTED)
_OF_THE_CHARGE = frozenset(
    {
        EventType.ACTION_REQUIRED,
        EventType.PROCESSING,
        EventType.UNKNOWN,
        EventType.AUTHORIZED,
        EventType.CAPTURED,
        EventType.FAILED,
        EventType.CANCELLED,
        EventType.EXPIRED,
    }
)
"""Events whose reference is the charge's; a refund's and a dispute's are others."""


def _latest_attempt(events: Sequence[Event]) -> Event:
    return next(event for event in reversed(events) if event.event_type in _ATTEMPTS)


def charge_reference(events: Sequence[Event]) -> str | None:
    """The PSP's id of the charge of the latest attempt; None while it is not known."""
    for event in reversed(events):
        if event.event_type in _OF_THE_CHARGE and event.psp_reference is not None:
            return event.psp_reference
        if event.event_type in _ATTEMPTS:
            return event.psp_reference
    return None


def _next_action(events: Sequence[Event], status: Status) -> dict[str, Any] | None:
    if status is not Status.ACTION_REQUIRED:
        return None
    for event in reversed(events):
        if event.event_type is EventType.ACTION_REQUIRED and (url := _details(event).get("url")):
            return {"type": "redirect", "url": url}
    return None


def _failure(events: Sequence[Event], status: Status) -> dict[str, Any] | None:
    if status is not Status.FAILED:
        return None
    for event in reversed(events):
        if event.event_type is EventType.FAILED:
            refused = is_refusal(event.idempotency_key)
            return failure_of(event.psp, _details(event).get("reason"), refused=refused)
    return None


def reason_of(event: Event) -> str | None:
    """Why it happened, in the processor's code."""
    reason: str | None = _details(event).get("reason")
    return reason


def _details(event: Event) -> dict[str, Any]:
    if event.details == NO_DETAILS:
        return {}
    found: dict[str, Any] = msgspec.json.decode(event.details)
    return found
