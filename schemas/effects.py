"""What each event does to the running sums of its order, as one table of signs.

A sum after an event is the sum before plus sign times the event's amount. The writer computes by
this table, the database's guard is generated from it, and the property tests check against it.
`pending_minor` and `available_delta_minor` follow from the seller's share of the event:
`seller_share = amount - commission - logistics fee`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.lifecycle import EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Signs (-1, 0, +1) by which an event's amount enters the running sums of its order.

    - `captured`: taken from the buyer.
    - `refunded`: given back to the buyer, by refunds and by lost disputes.
    - `released`: of the seller's share, matured into the payable balance.
    - `reserved`: asked back and not decided yet: refunds in flight and open disputes.
    - `moves`: what happens to the seller's share: "capture" adds it to pending, "reverse" takes it
      out of pending first and what pending cannot cover out of available, "release" moves the
      amount (all of it the seller's) from pending to available, "" nothing.
    - `available`: payouts only: sign of the amount in the seller's payable balance.
    """

    captured: int = 0
    refunded: int = 0
    released: int = 0
    reserved: int = 0
    moves: str = ""
    available: int = 0


NO_EFFECT = Effect()

IN_EFFECTS: Mapping[EventType, Effect] = {
    EventType.CAPTURED: Effect(captured=+1, moves="capture"),
    EventType.RELEASED: Effect(released=+1, moves="release"),
    EventType.REFUND_REQUESTED: Effect(reserved=+1),
    EventType.REFUND_FAILED: Effect(reserved=-1),
    # A refund that settles a request also frees its reservation: `reserved` is then -1 instead.
    EventType.REFUNDED: Effect(refunded=+1, moves="reverse"),
    EventType.DISPUTE_OPENED: Effect(reserved=+1),
    EventType.DISPUTE_WON: Effect(reserved=-1),
    EventType.DISPUTE_LOST: Effect(reserved=-1, refunded=+1, moves="reverse"),
}
"""Pay-in events that are absent change no running sum."""

OUT_EFFECTS: Mapping[EventType, Effect] = {
    EventType.REQUESTED: Effect(available=-1),
    EventType.FAILED: Effect(available=+1),
    EventType.CANCELLED: Effect(available=+1),
    EventType.RETURNED: Effect(available=+1),
}
"""Payout events that are absent change no balance."""

AMOUNT_EVENTS = frozenset({EventType.CREATED, EventType.AUTHORIZED, *IN_EFFECTS})
"""Pay-in events whose `amount_minor` means something; it is zero on all others.
`created` and `authorized` carry the order's whole amount. Payout events always carry the payout's.
"""

SHARE_EVENTS = frozenset(
    {EventType.CREATED, EventType.CAPTURED, EventType.REFUNDED, EventType.DISPUTE_LOST}
)
"""Events with a commission and logistics share: planned (created), taken, or given back."""
