"""Double-entry postings of an event, by one table of rules, one pure function each.

Debits are positive, credits negative; `schemas/accounts.py` is the chart of accounts. Which events
move money is said by `schemas/effects.py`: a pay-in's postings follow from its move, a payout's are
its transfer. No rule looks at another event, a clock or a balance.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter

from schemas.accounts import SELLER_ACCOUNTS, AccountType, Posting
from schemas.effects import EFFECTS, Effect, Move, Transfer, event_types
from schemas.errors import BrokenInvariant, UnbalancedPosting
from schemas.events import Movement
from schemas.lifecycle import Direction, EventType

Legs = tuple[Posting, ...]
Rule = Callable[[Movement], Legs]


def postings(event: Movement) -> Legs:
    """Double-entry legs of one event; they sum to zero in the event's currency.

    Empty for an event that moves no money (created, shipped, …). Legs of zero are left out, and
    the first leg of a pay-in's movement between PSP and seller is always the PSP's.

    Raises:
        BrokenInvariant: an event type that does not happen in the event's direction.
        UnbalancedPosting: the legs do not sum to zero.
    """
    rule = POSTING_RULES[event.direction].get(event.event_type)
    if rule is None:
        raise BrokenInvariant(
            f"event_type: no posting rule for {event.event_type} in direction {event.direction}"
        )
    legs = rule(event)
    if (left_over := sum([leg.amount_minor for leg in legs])) != 0:
        raise UnbalancedPosting(
            f"postings of {event.event_type}: sum to {left_over} minor units instead of 0;"
            " correct the event's rule, then redrive"
        )
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


def _transferred(transfer: Transfer) -> Rule:
    """The rule of a payout's event: its amount to the debit of one account, from the other."""
    debit, credit = transfer
    debit_id, credit_id = _account_id(debit), _account_id(credit)

    def rule(event: Movement) -> Legs:
        return _without_zeros(
            Posting(debit, debit_id(event), event.amount_minor),
            Posting(credit, credit_id(event), -event.amount_minor),
        )

    return rule


def _account_id(account_type: AccountType) -> Callable[[Movement], str]:
    return attrgetter("seller_id" if account_type in SELLER_ACCOUNTS else "psp")


def _without_zeros(*legs: Posting) -> Legs:
    return tuple([leg for leg in legs if leg.amount_minor])


_MOVES: Mapping[Move, Rule] = {
    Move.NONE: _nothing,
    Move.PLAN: _nothing,
    Move.CAPTURE: _capture,
    Move.RELEASE: _release,
    Move.REVERSE: _reverse,
}


def _rule(effect: Effect) -> Rule:
    return _MOVES[effect.move] if effect.transfer is None else _transferred(effect.transfer)


POSTING_RULES: Mapping[Direction, Mapping[EventType, Rule]] = {
    direction: {event_type: _rule(effect) for event_type, effect in effects.items()}
    for direction, effects in EFFECTS.items()
}
"""Direction -> event type -> rule; a missing key is an event that cannot happen."""

MONEY_EVENTS = frozenset(event_types(lambda effect: effect.moves_money))
"""Event types that move money in one direction or the other: all others have no postings."""
