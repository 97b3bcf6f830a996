"""Double-entry postings of an event, by one table of rules, one pure function each.

Debits are positive, credits negative; `schemas/accounts.py` is the chart of accounts. Which events
move money is decided here and nowhere else. No rule looks at another event, a clock or a balance.
"""

from collections.abc import Callable, Mapping

from schemas.accounts import AccountType, Posting
from schemas.errors import BrokenInvariant
from schemas.events import Movement
from schemas.lifecycle import IN_EVENTS, OUT_EVENTS, Direction, EventType

Legs = tuple[Posting, ...]
Rule = Callable[[Movement], Legs]

SELLER_ACCOUNTS = frozenset(
    {
        AccountType.SELLER_PENDING,
        AccountType.SELLER_AVAILABLE,
        AccountType.PLATFORM_COMMISSION,
        AccountType.PLATFORM_LOGISTICS,
    }
)
"""Accounts whose id is a seller: `seller_revenue` is computed from their entries."""


def postings(event: Movement) -> Legs:
    """Double-entry legs of one event; they sum to zero in the event's currency.

    Empty for an event that moves no money (created, shipped, …). Legs of zero are left out, and
    the first leg of a pay-in's movement between PSP and seller is always the PSP's.

    Raises:
        BrokenInvariant: an event type that does not happen in the event's direction.
    """
    rule = POSTING_RULES[event.direction].get(event.event_type)
    if rule is None:
        raise BrokenInvariant(
            f"event_type: no posting rule for {event.event_type} in direction {event.direction}"
        )
    legs = rule(event)
    assert sum([leg.amount_minor for leg in legs]) == 0, event
    return legs


def _nothing(_event: Movement) -> Legs:
    return ()


def _capture(event: Movement) -> Legs:
    """The PSP owes us the amount; we owe the seller its share and have earned the rest."""
    share = event.amount_minor - event.commission_minor - event.logistics_fee_minor
    return _without_zeros(
        Posting(AccountType.PSP_RECEIVABLE, event.psp, event.amount_minor),
        Posting(AccountType.SELLER_PENDING, event.seller_id, -share),
        Posting(AccountType.PLATFORM_COMMISSION, event.seller_id, -event.commission_minor),
        Posting(AccountType.PLATFORM_LOGISTICS, event.seller_id, -event.logistics_fee_minor),
    )


def _reverse(event: Movement) -> Legs:
    """A capture taken back, by the event's own shares.

    What of the seller's share had been released comes out of its available balance (the event says
    how much: `-available_delta_minor`), which may go negative; the rest out of pending.
    """
    share = event.amount_minor - event.commission_minor - event.logistics_fee_minor
    from_available = -event.available_delta_minor
    return _without_zeros(
        Posting(AccountType.PSP_RECEIVABLE, event.psp, -event.amount_minor),
        Posting(AccountType.SELLER_PENDING, event.seller_id, share - from_available),
        Posting(AccountType.SELLER_AVAILABLE, event.seller_id, from_available),
        Posting(AccountType.PLATFORM_COMMISSION, event.seller_id, event.commission_minor),
        Posting(AccountType.PLATFORM_LOGISTICS, event.seller_id, event.logistics_fee_minor),
    )


def _release(event: Movement) -> Legs:
    """A share of the seller's matured: what we owe it can now be paid out."""
    return _without_zeros(
        Posting(AccountType.SELLER_PENDING, event.seller_id, event.amount_minor),
        Posting(AccountType.SELLER_AVAILABLE, event.seller_id, -event.amount_minor),
    )


def _payout_requested(event: Movement) -> Legs:
    """Set aside for the seller: no longer payable a second time."""
    return _without_zeros(
        Posting(AccountType.SELLER_AVAILABLE, event.seller_id, event.amount_minor),
        Posting(AccountType.PAYOUT_IN_TRANSIT, event.psp, -event.amount_minor),
    )


def _payout_undone(event: Movement) -> Legs:
    """It never left: payable again."""
    return _without_zeros(
        Posting(AccountType.PAYOUT_IN_TRANSIT, event.psp, event.amount_minor),
        Posting(AccountType.SELLER_AVAILABLE, event.seller_id, -event.amount_minor),
    )


def _payout_paid(event: Movement) -> Legs:
    """Our money left the bank for the seller's."""
    return _without_zeros(
        Posting(AccountType.PAYOUT_IN_TRANSIT, event.psp, event.amount_minor),
        Posting(AccountType.BANK, event.psp, -event.amount_minor),
    )


def _payout_returned(event: Movement) -> Legs:
    """The seller's bank sent it back: payable again."""
    return _without_zeros(
        Posting(AccountType.BANK, event.psp, event.amount_minor),
        Posting(AccountType.SELLER_AVAILABLE, event.seller_id, -event.amount_minor),
    )


def _without_zeros(*legs: Posting) -> Legs:
    return tuple([leg for leg in legs if leg.amount_minor])


_MONEY_IN: Mapping[EventType, Rule] = {
    EventType.CAPTURED: _capture,
    EventType.RELEASED: _release,
    EventType.REFUNDED: _reverse,
    EventType.DISPUTE_LOST: _reverse,
}

_MONEY_OUT: Mapping[EventType, Rule] = {
    EventType.REQUESTED: _payout_requested,
    EventType.PAID: _payout_paid,
    EventType.FAILED: _payout_undone,
    EventType.CANCELLED: _payout_undone,
    EventType.RETURNED: _payout_returned,
}

POSTING_RULES: Mapping[Direction, Mapping[EventType, Rule]] = {
    Direction.IN: {event: _MONEY_IN.get(event, _nothing) for event in IN_EVENTS},
    Direction.OUT: {event: _MONEY_OUT.get(event, _nothing) for event in OUT_EVENTS},
}
"""Direction -> event type -> rule; a missing key is an event that cannot happen."""

MONEY_EVENTS = frozenset(_MONEY_IN) | frozenset(_MONEY_OUT)
"""Event types that move money in one direction or the other: all others have no postings."""
