"""All legal histories, as tables: `(direction, state before, event) -> state after`.

An order's state consists of three small state machines: `status` (the charge), `fulfilment` and
`dispute`. A payout has only the first. A missing key is an illegal transition. The writer decides
by these tables; the database's guards and the diagrams in the docs are generated from them. The
second table, `schemas/effects.py`, says what an event means for money.

How much of an amount was captured, refunded or released is not a status but a running sum: a
`captured` order may be captured further, and refunds do not change its status. Nor is a request:
whether a capture or a cancellation is on its way follows from the rows (`schemas/effects.py`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Direction(StrEnum):
    """The direction of money: `in` from a buyer, `out` to a seller."""

    IN = "in"
    OUT = "out"


class EventType(StrEnum):
    """What happened; past tense. `failed` and `cancelled` exist in both directions."""

    # pay-in
    CREATED = "created"
    ATTEMPTED = "attempted"
    ACTION_REQUIRED = "action_required"
    PROCESSING = "processing"
    UNKNOWN = "unknown"
    AUTHORIZED = "authorized"
    CAPTURE_REQUESTED = "capture_requested"
    CAPTURE_FAILED = "capture_failed"
    CAPTURED = "captured"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_FAILED = "cancel_failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    STRAY_CAPTURED = "stray_captured"
    STRAY_REFUNDED = "stray_refunded"
    HONOURED = "honoured"
    RELEASED = "released"
    REFUND_REQUESTED = "refund_requested"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    # payout
    REQUESTED = "requested"
    SUBMITTED = "submitted"
    PAID = "paid"
    RETURNED = "returned"


class Status(StrEnum):
    """The charge's state (pay-in) or the payout's state."""

    CREATED = "created"
    ACTION_REQUIRED = "action_required"
    PROCESSING = "processing"
    UNKNOWN = "unknown"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REQUESTED = "requested"
    SUBMITTED = "submitted"
    PAID = "paid"
    RETURNED = "returned"


class Fulfilment(StrEnum):
    """Where the goods are; `none` for payouts."""

    NONE = "none"
    OPEN = "open"
    SHIPPED = "shipped"
    DELIVERED = "delivered"


class Dispute(StrEnum):
    """The state of a dispute at the buyer's bank; `none` until one is opened."""

    NONE = "none"
    OPEN = "open"
    WON = "won"
    LOST = "lost"


class State(NamedTuple):
    """The state of one order of a payment, or of a payout."""

    status: Status
    fulfilment: Fulfilment
    dispute: Dispute


_E, _S, _F, _D = EventType, Status, Fulfilment, Dispute

_OUTCOMES: Mapping[EventType, Status] = {
    _E.ACTION_REQUIRED: _S.ACTION_REQUIRED,
    _E.PROCESSING: _S.PROCESSING,
    _E.UNKNOWN: _S.UNKNOWN,
    _E.AUTHORIZED: _S.AUTHORIZED,
    _E.CAPTURED: _S.CAPTURED,
    _E.FAILED: _S.FAILED,
    _E.CANCELLED: _S.CANCELLED,
    _E.EXPIRED: _S.EXPIRED,
}

# Another attempt begins; only evidence that the one before has no charge allows it.
_NEW_ATTEMPT: Mapping[EventType, Status] = {_E.ATTEMPTED: _S.CREATED}


def _outcomes_except(*excluded: EventType) -> Mapping[EventType, Status]:
    return {event: status for event, status in _OUTCOMES.items() if event not in excluded}


def _kept(status: Status, *events: EventType) -> dict[EventType, Status]:
    return dict.fromkeys(events, status)


def _strays(status: Status) -> dict[EventType, Status]:
    """Money for which the order has no place comes and goes whatever its status."""
    return _kept(status, _E.STRAY_CAPTURED, _E.STRAY_REFUNDED)


def _cancellable(status: Status) -> dict[EventType, Status]:
    return _kept(status, _E.CANCEL_REQUESTED, _E.CANCEL_FAILED) | _strays(status)


def _disputable(status: Status) -> dict[EventType, Status]:
    """A bank disputes what a buyer paid, also what came when the order was over."""
    disputes = _kept(status, _E.DISPUTE_OPENED, _E.DISPUTE_WON, _E.DISPUTE_LOST)
    return disputes | _strays(status)


CHARGE: Mapping[Status | None, Mapping[EventType, Status]] = {
    None: {_E.CREATED: _S.CREATED},
    _S.CREATED: {**_OUTCOMES, **_NEW_ATTEMPT, **_cancellable(_S.CREATED)},
    _S.ACTION_REQUIRED: {
        **_outcomes_except(_E.ACTION_REQUIRED),
        **_NEW_ATTEMPT,
        **_cancellable(_S.ACTION_REQUIRED),
    },
    _S.PROCESSING: {**_outcomes_except(_E.PROCESSING), **_cancellable(_S.PROCESSING)},
    # The PSP was asked and the outcome is unknown; later evidence may show any outcome.
    _S.UNKNOWN: {**_outcomes_except(_E.UNKNOWN), **_NEW_ATTEMPT, **_cancellable(_S.UNKNOWN)},
    _S.AUTHORIZED: {
        # A capture may also come after a request to cancel: the cancellation came too late.
        _E.CAPTURED: _S.CAPTURED,
        _E.UNKNOWN: _S.UNKNOWN,
        _E.FAILED: _S.FAILED,
        _E.CANCELLED: _S.CANCELLED,
        _E.EXPIRED: _S.EXPIRED,
        **_kept(_S.AUTHORIZED, _E.CAPTURE_REQUESTED, _E.CAPTURE_FAILED),
        **_kept(_S.AUTHORIZED, _E.SHIPPED, _E.DELIVERED),
        **_cancellable(_S.AUTHORIZED),
    },
    _S.CAPTURED: {
        _E.CAPTURED: _S.CAPTURED,
        # What a partial capture has left, where the card allows several.
        **_kept(_S.CAPTURED, _E.CAPTURE_REQUESTED, _E.CAPTURE_FAILED),
        **_kept(_S.CAPTURED, _E.SHIPPED, _E.DELIVERED, _E.RELEASED),
        **_kept(_S.CAPTURED, _E.REFUND_REQUESTED, _E.REFUNDED, _E.REFUND_FAILED),
        **_disputable(_S.CAPTURED),
    },
    _S.FAILED: {_E.HONOURED: _S.CAPTURED, **_disputable(_S.FAILED)},
    # The buyer or the shop took it back: money that comes after that is never taken.
    _S.CANCELLED: {**_disputable(_S.CANCELLED)},
    _S.EXPIRED: {_E.HONOURED: _S.CAPTURED, **_disputable(_S.EXPIRED)},
}
"""Pay-in: charge status before -> event -> status after; `None` is before the first event."""

OVER = frozenset({_S.FAILED, _S.CANCELLED, _S.EXPIRED})
"""Statuses of an order to which later events of its payment no longer apply."""

FULFILMENT: Mapping[Fulfilment, Mapping[EventType, Fulfilment]] = {
    # Directly to delivered: goods that are not shipped, such as a download.
    _F.OPEN: {_E.SHIPPED: _F.SHIPPED, _E.DELIVERED: _F.DELIVERED},
    _F.SHIPPED: {_E.SHIPPED: _F.SHIPPED, _E.DELIVERED: _F.DELIVERED},
    _F.DELIVERED: {},
    _F.NONE: {},
}
"""Fulfilment before -> event -> after; an order may ship in several parcels."""

DISPUTE: Mapping[Dispute, Mapping[EventType, Dispute]] = {
    _D.NONE: {_E.DISPUTE_OPENED: _D.OPEN},
    _D.OPEN: {_E.DISPUTE_WON: _D.WON, _E.DISPUTE_LOST: _D.LOST},
    _D.WON: {_E.DISPUTE_OPENED: _D.OPEN},
    _D.LOST: {_E.DISPUTE_OPENED: _D.OPEN},
}
"""Dispute before -> event -> after. A bank may open another dispute after a decision."""

PAYOUT: Mapping[Status | None, Mapping[EventType, Status]] = {
    None: {_E.REQUESTED: _S.REQUESTED},
    _S.REQUESTED: {
        _E.SUBMITTED: _S.SUBMITTED,
        _E.FAILED: _S.FAILED,
        _E.CANCELLED: _S.CANCELLED,
    },
    _S.SUBMITTED: {_E.PAID: _S.PAID, _E.FAILED: _S.FAILED, _E.CANCELLED: _S.CANCELLED},
    # Banks may return money days after it was paid.
    _S.PAID: {_E.RETURNED: _S.RETURNED},
    _S.FAILED: {},
    _S.CANCELLED: {},
    _S.RETURNED: {},
}
"""Payout status before -> event -> status after."""

STATUS_MACHINES: Mapping[Direction, Mapping[Status | None, Mapping[EventType, Status]]] = {
    Direction.IN: CHARGE,
    Direction.OUT: PAYOUT,
}
"""Direction -> its status table."""

FIRST_EVENT: Mapping[Direction, EventType] = {
    direction: next(iter(machine[None])) for direction, machine in STATUS_MACHINES.items()
}
"""Direction -> the first event of an order or a payout."""

FULFILMENT_EVENTS = frozenset(event for row in FULFILMENT.values() for event in row)
DISPUTE_EVENTS = frozenset(event for row in DISPUTE.values() for event in row)


def next_state(direction: Direction, before: State | None, event: EventType) -> State | None:
    """Return the state after `event`, or None if the tables do not allow it."""
    machine = STATUS_MACHINES[direction]
    status = machine.get(before.status if before else None, {}).get(event)
    if status is None:
        return None
    if before is None:
        start = Fulfilment.OPEN if direction is Direction.IN else Fulfilment.NONE
        return State(status, start, Dispute.NONE)
    fulfilment: Fulfilment | None = before.fulfilment
    dispute: Dispute | None = before.dispute
    if event in FULFILMENT_EVENTS:
        fulfilment = FULFILMENT[before.fulfilment].get(event)
    if event in DISPUTE_EVENTS:
        dispute = DISPUTE[before.dispute].get(event)
    if fulfilment is None or dispute is None:
        return None
    return State(status, fulfilment, dispute)


def allowed_events(direction: Direction, before: State | None) -> tuple[EventType, ...]:
    """Return the events that the tables allow next, in the order of `EventType`."""
    return tuple(event for event in EventType if next_state(direction, before, event) is not None)
