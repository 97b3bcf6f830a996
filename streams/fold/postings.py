"""Double-entry postings of an event, from one table of rules, each a pure function.

Debits are positive, credits negative. `schemas/accounts.py` is the chart of accounts.
`schemas/effects.py` says which events move money: a pay-in's postings follow from its move, a
payout's from its transfer. No rule may use another event, a clock or a balance.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter

from schemas.accounts import SELLER_ACCOUNTS, AccountType, Posting
from schemas.effects import EFFECTS, Effect, Move, Suspense, Transfer, event_types
from schemas.errors import BrokenInvariant, UnbalancedPosting
from schemas.events import Movement
from schemas.lifecycle import Direction, EventType

Legs = tuple[Posting, ...]
Rule = Callable[[Movement], Legs]


def postings(event: Movement) -> Legs:
    """Return the double-entry legs of one event; they sum to zero in the event's currency.

    Empty for an event that moves no money (created, shipped, …). Legs of zero are left out. The
    first leg of a pay-in's movement at the PSP is always the PSP's.

    Raises:
        BrokenInvariant: the event type does not happen in the event's direction.
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
    """The PSP owes us the amount. We owe the seller its share and have earned the rest.

    An amount that was in suspense is owed already: then that is what gets smaller.
    """
    share = event.amount_minor - event.commission_minor - event.logistics_fee_minor
    return _without_zeros(
        *_at_psp(event, event.amount_minor),
        Posting(AccountType.SELLER_PENDING, event.seller_id, -share),
        Posting(AccountType.PLATFORM_COMMISSION, event.seller_id, -event.commission_minor),
        Posting(AccountType.PLATFORM_LOGISTICS, event.seller_id, -event.logistics_fee_minor),
    )


def _reverse(event: Movement) -> Legs:
    """Reverse a capture by the event's own shares; the PSP owes us less."""
    return _without_zeros(
        *_at_psp(event, -event.amount_minor), *_shares_back(event, -event.available_delta_minor)
    )


def _charge_back(event: Movement) -> Legs:
    """Reverse a capture by the event's own shares; the PSP took the amount at the opening."""
    return _without_zeros(
        _disputed(event, -event.amount_minor), *_shares_back(event, -event.available_delta_minor)
    )


def _restore(event: Movement) -> Legs:
    """Undo a charge-back: the shares are where they were, the PSP owes us the amount again."""
    shares = (
        Posting(leg.account_type, leg.account_id, -leg.amount_minor)
        for leg in _shares_back(event, from_available=event.available_delta_minor)
    )
    return _without_zeros(*_at_psp(event, event.amount_minor), *shares)


def _dispute(event: Movement) -> Legs:
    """The PSP takes the amount until the bank has decided, and what is beyond it as well."""
    return _without_zeros(
        *_at_psp(event, -event.amount_minor), _disputed(event, event.amount_minor)
    )


def _undispute(event: Movement) -> Legs:
    """The PSP gives the amount back, and what was beyond it as well."""
    return _without_zeros(
        *_at_psp(event, event.amount_minor), _disputed(event, -event.amount_minor)
    )


def _stray(event: Movement) -> Legs:
    """Money came or went at the PSP, and no order has a place for it."""
    return _without_zeros(*_at_psp(event, 0))


def _at_psp(event: Movement, order_minor: int) -> Legs:
    """What the PSP owes us for the order (`order_minor`) and beyond it, which is in suspense."""
    return (
        Posting(AccountType.PSP_RECEIVABLE, event.psp, order_minor + event.suspense_minor),
        Posting(AccountType.SUSPENSE, event.psp, -event.suspense_minor),
    )


def _disputed(event: Movement, amount_minor: int) -> Posting:
    return Posting(AccountType.PSP_DISPUTED, event.psp, amount_minor)


def _shares_back(event: Movement, from_available: int) -> Legs:
    """The shares of an amount that is the buyer's again.

    The part of the seller's share that was already released (`from_available`) comes out of the
    available balance, which may become negative. The rest comes out of pending.
    """
    share = event.amount_minor - event.commission_minor - event.logistics_fee_minor
    return (
        Posting(AccountType.SELLER_PENDING, event.seller_id, share - from_available),
        Posting(AccountType.SELLER_AVAILABLE, event.seller_id, from_available),
        Posting(AccountType.PLATFORM_COMMISSION, event.seller_id, event.commission_minor),
        Posting(AccountType.PLATFORM_LOGISTICS, event.seller_id, event.logistics_fee_minor),
    )


def _release(event: Movement) -> Legs:
    """A seller's share matures: what we owe the seller can now be paid out."""
    return _without_zeros(
        Posting(AccountType.SELLER_PENDING, event.seller_id, event.amount_minor),
        Posting(AccountType.SELLER_AVAILABLE, event.seller_id, -event.amount_minor),
    )


def _transferred(transfer: Transfer) -> Rule:
    """Return the rule of a payout event: debit one account with the amount, credit the other."""
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
    Move.DISPUTE: _dispute,
    Move.UNDISPUTE: _undispute,
    Move.CHARGE_BACK: _charge_back,
    Move.RESTORE: _restore,
}


def _rule(effect: Effect) -> Rule:
    if effect.transfer is not None:
        return _transferred(effect.transfer)
    if effect.move is Move.NONE and effect.suspense is not Suspense.NONE:
        return _stray
    return _MOVES[effect.move]


POSTING_RULES: Mapping[Direction, Mapping[EventType, Rule]] = {
    direction: {event_type: _rule(effect) for event_type, effect in effects.items()}
    for direction, effects in EFFECTS.items()
}
"""Direction -> event type -> rule. A missing key is an event that cannot happen."""

MONEY_EVENTS = frozenset(event_types(lambda effect: effect.moves_money))
"""Event types that move money in at least one direction. All others have no postings."""
