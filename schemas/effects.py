"""The effect of each event on money, in one table: `EFFECTS[direction][event type]`.

Everything that depends on an event's effect reads its row here: the writer's decisions and running
sums, the database's guards, the postings, the sellers' totals, `verify`'s lists of events and the
table in docs/reference/lifecycle.md. An event that moves money in a known way needs a row and no
code.

In a pay-in event's `amount_minor`, the commission and the logistics fee are the platform's; the
rest is the seller's share. Money at the PSP for which an order has no place is in suspense:
`suspense_minor` says what an event adds to it or takes from it (docs/decisions/0031).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol

from schemas.accounts import AccountType
from schemas.details import (
    ActionDetails,
    AttemptedDetails,
    CaptureRequestedDetails,
    CreatedDetails,
    Details,
    ReasonDetails,
    RefundDetails,
    RefundFailedDetails,
    RefundRequestedDetails,
)
from schemas.lifecycle import Direction, EventType


class Amount(StrEnum):
    """The size of the event's amount."""

    NONE = "none"  # zero
    WHOLE = "whole"  # the whole order or payout
    PART = "part"  # any amount that the running sums leave room for
    NAMED = "named"  # any amount; no running sum changes
    COVERED = "covered"  # what the order's money covers, perhaps zero; the rest is in suspense


class Move(StrEnum):
    """How a pay-in event moves its amount."""

    NONE = "none"
    PLAN = "plan"  # nothing yet; plans the platform's shares of the order
    CAPTURE = "capture"  # from the buyer; the seller's share becomes pending
    RELEASE = "release"  # from the seller's pending to its available balance, without shares
    REVERSE = "reverse"  # back to the buyer; the seller's share from pending, then from available
    DISPUTE = "dispute"  # the PSP takes it from what it owes us until the bank has decided
    UNDISPUTE = "undispute"  # the PSP gives it back
    CHARGE_BACK = "charge_back"  # what is disputed is the buyer's; shares as for REVERSE
    RESTORE = "restore"  # a CHARGE_BACK is undone: the PSP gives it back, the shares as before


class Suspense(StrEnum):
    """How the event's `suspense_minor` follows from its amount."""

    NONE = "none"  # zero
    IN = "in"  # the amount came, and no order has a place for it
    OUT = "out"  # the amount leaves suspense
    RETURNED = "returned"  # the amount of a refund came back
    TAKEN = "taken"  # a dispute took the amount, and no order has it to give
    GIVEN_BACK = "given_back"  # the amount of such a dispute came back
    EXCESS = "excess"  # zero or below: what a dispute takes beyond its amount
    RETURN = "return"  # zero or above: that comes back

    @property
    def sign(self) -> int:
        """What the event's amount does to suspense; 0 if suspense does not follow from it."""
        return _SUSPENSE_SIGNS.get(self, 0)


_SUSPENSE_SIGNS: Mapping[Suspense, int] = {
    Suspense.IN: +1,
    Suspense.OUT: -1,
    Suspense.RETURNED: +1,
    Suspense.TAKEN: -1,
    Suspense.GIVEN_BACK: +1,
}


class Authorization(StrEnum):
    """How an event changes the amount that the buyer's bank holds for us."""

    NONE = "none"
    SETS = "sets"  # to the event's amount
    ENDS = "ends"  # it no longer limits captures


class Claim(StrEnum):
    """How an event changes a claim, which stays open until another event ends it.

    An open refund request or dispute reserves its amount. An open request to capture or to cancel
    reserves nothing: it says that the PSP is being asked.
    """

    NONE = "none"
    OPENS = "opens"
    ENDS = "ends"
    MAY_END = "may end"  # if such a claim exists; the event can also happen without one
    EXCLUDES = "excludes"  # cannot happen while one is open


class Pot(StrEnum):
    """The counter to which an order adds the platform's shares of an event."""

    PLANNED = "planned"
    TAKEN = "taken"
    GIVEN_BACK = "given_back"
    RESTORED = "restored"


class Revenue(StrEnum):
    """The column of `seller_revenue` in which an event counts, without its unit suffix."""

    GROSS = "gross"
    REFUNDS = "refunds"
    CHARGEBACKS = "chargebacks"


class Transfer(NamedTuple):
    """The two postings of a payout event, each of the whole amount."""

    debit: AccountType
    credit: AccountType


@dataclass(frozen=True, kw_only=True)  # no slots, because cached properties need a dict
class Effect:
    """One row of the table; pay-ins have `move` and claims, payouts have `transfer`.

    The signs (-1, 0, +1) say how the event's amount enters the running sums of its order:
    `captured` from the buyer, `refunded` to the buyer (including lost disputes, until their loss is
    reversed), `released` of the seller's share, `reserved` by claims. `available` is the sign in
    the seller's available balance, for payouts and releases. A reversal takes from the available
    balance what pending does not cover. `capture_request` and `cancel_request` are the claims that
    the PSP is being asked.
    """

    amount: Amount = Amount.NONE
    move: Move = Move.NONE
    refund: Claim = Claim.NONE
    dispute: Claim = Claim.NONE
    capture_request: Claim = Claim.NONE
    cancel_request: Claim = Claim.NONE
    authorization: Authorization = Authorization.NONE
    suspense: Suspense = Suspense.NONE
    transfer: Transfer | None = None
    revenue: Revenue | None = None
    details: type[Details] = Details

    def __post_init__(self) -> None:
        is_payout = self.transfer is not None
        assert not (is_payout and self.move is not Move.NONE), self
        assert not (is_payout and (self.refund, self.dispute) != (Claim.NONE, Claim.NONE)), self
        assert not (is_payout and self.amount is not Amount.WHOLE), self
        assert not (self.refund is not Claim.NONE and self.dispute is not Claim.NONE), self
        assert self.dispute is not Claim.MAY_END, "no bank decides before it is asked"
        assert Claim.EXCLUDES not in (self.refund, self.dispute), self
        assert (self.move is Move.PLAN) <= (self.amount is Amount.WHOLE), self
        takes_amount = self.amount in (Amount.PART, Amount.COVERED)
        assert is_payout or takes_amount == self.changes_sums, self
        of_dispute = self.dispute is not Claim.NONE or self.move is Move.RESTORE
        assert (self.amount is Amount.COVERED) == of_dispute, self
        assert not (is_payout and self.suspense is not Suspense.NONE), self
        assert (self.suspense in (Suspense.EXCESS, Suspense.RETURN)) <= of_dispute, self
        assert (self.revenue is not None) == bool(self.captured or self.refunded), self

    @cached_property
    def captured(self) -> int:
        return int(self.move is Move.CAPTURE)

    @cached_property
    def refunded(self) -> int:
        return int(self.move in (Move.REVERSE, Move.CHARGE_BACK)) - int(self.move is Move.RESTORE)

    @cached_property
    def released(self) -> int:
        return int(self.move is Move.RELEASE)

    @cached_property
    def reserved(self) -> int:
        """The sign in `reserved`, without a claim that the event may end."""
        return _CLAIM_SIGNS.get(self.refund, 0) + _CLAIM_SIGNS.get(self.dispute, 0)

    @cached_property
    def may_settle(self) -> bool:
        """Whether it also frees its amount in `reserved`, if that was requested before."""
        return Claim.MAY_END in (self.refund, self.dispute)

    @cached_property
    def available(self) -> int:
        if self.transfer is None:
            return self.released
        balance = AccountType.SELLER_AVAILABLE
        return (self.transfer.credit is balance) - (self.transfer.debit is balance)

    @cached_property
    def draws_on_balance(self) -> bool:
        """Whether the seller's balance must cover it, which is checked under a lock."""
        return self.available < 0

    @cached_property
    def pot(self) -> Pot | None:
        """Counter of its commission and logistics fee; None if it has neither."""
        return _POTS.get(self.move)

    @cached_property
    def moves_money(self) -> bool:
        """Whether it has postings."""
        in_suspense = self.suspense is not Suspense.NONE
        return self.transfer is not None or self.move in _MOVING or in_suspense

    @cached_property
    def changes_sums(self) -> bool:
        """Whether its amount changes a running sum of a pay-in's order."""
        is_held = self.authorization is Authorization.SETS
        return self.move in _MOVING or self.reserved != 0 or self.may_settle or is_held

    @cached_property
    def keeps_sums(self) -> bool:
        """Whether the sums after a pay-in event are those before it, and nothing is in suspense."""
        ends_hold = self.authorization is Authorization.ENDS
        return not (self.changes_sums or ends_hold or self.suspense is not Suspense.NONE)


_MOVING = (
    Move.CAPTURE, Move.RELEASE, Move.REVERSE, Move.DISPUTE, Move.UNDISPUTE, Move.CHARGE_BACK,
    Move.RESTORE,
)  # fmt: skip
_CLAIM_SIGNS: Mapping[Claim, int] = {Claim.OPENS: +1, Claim.ENDS: -1}
_POTS: Mapping[Move, Pot] = {
    Move.PLAN: Pot.PLANNED,
    Move.CAPTURE: Pot.TAKEN,
    Move.REVERSE: Pot.GIVEN_BACK,
    Move.CHARGE_BACK: Pot.GIVEN_BACK,
    Move.RESTORE: Pot.RESTORED,
}

_A, _E = AccountType, EventType
_ENDS = Claim.MAY_END
_SET_ASIDE = Transfer(debit=_A.SELLER_AVAILABLE, credit=_A.PAYOUT_IN_TRANSIT)
_UNDONE = Transfer(debit=_A.PAYOUT_IN_TRANSIT, credit=_A.SELLER_AVAILABLE)
_PAID_OUT = Transfer(debit=_A.PAYOUT_IN_TRANSIT, credit=_A.BANK)
_SENT_BACK = Transfer(debit=_A.BANK, credit=_A.SELLER_AVAILABLE)

EFFECTS: Mapping[Direction, Mapping[EventType, Effect]] = {
    Direction.IN: {
        _E.CREATED: Effect(amount=Amount.WHOLE, move=Move.PLAN, details=CreatedDetails),
        _E.ATTEMPTED: Effect(
            authorization=Authorization.ENDS,
            capture_request=Claim.EXCLUDES,
            cancel_request=Claim.EXCLUDES,
            details=AttemptedDetails,
        ),
        _E.ACTION_REQUIRED: Effect(details=ActionDetails),
        _E.PROCESSING: Effect(),
        _E.UNKNOWN: Effect(),
        _E.AUTHORIZED: Effect(amount=Amount.PART, authorization=Authorization.SETS),
        _E.CAPTURE_REQUESTED: Effect(
            amount=Amount.NAMED,
            capture_request=Claim.OPENS,
            cancel_request=Claim.EXCLUDES,
            details=CaptureRequestedDetails,
        ),
        _E.CAPTURE_FAILED: Effect(capture_request=Claim.ENDS, details=ReasonDetails),
        _E.CAPTURED: Effect(
            amount=Amount.PART,
            move=Move.CAPTURE,
            capture_request=_ENDS,
            cancel_request=_ENDS,
            revenue=Revenue.GROSS,
        ),
        _E.SHIPPED: Effect(),
        _E.DELIVERED: Effect(),
        _E.FAILED: Effect(capture_request=_ENDS, cancel_request=_ENDS, details=ReasonDetails),
        _E.CANCEL_REQUESTED: Effect(
            capture_request=Claim.EXCLUDES, cancel_request=Claim.OPENS, details=ReasonDetails
        ),
        _E.CANCEL_FAILED: Effect(cancel_request=Claim.ENDS, details=ReasonDetails),
        _E.CANCELLED: Effect(capture_request=_ENDS, cancel_request=_ENDS, details=ReasonDetails),
        _E.EXPIRED: Effect(capture_request=_ENDS, cancel_request=_ENDS, details=ReasonDetails),
        _E.STRAY_CAPTURED: Effect(amount=Amount.NAMED, suspense=Suspense.IN),
        _E.STRAY_REFUNDED: Effect(
            amount=Amount.NAMED, suspense=Suspense.OUT, details=RefundDetails
        ),
        # It had been refunded, and the buyer's bank sent it back.
        _E.REFUND_RETURNED: Effect(
            amount=Amount.NAMED, suspense=Suspense.RETURNED, details=RefundFailedDetails
        ),
        _E.STRAY_DISPUTED: Effect(
            amount=Amount.NAMED, suspense=Suspense.TAKEN, details=ReasonDetails
        ),
        _E.STRAY_DISPUTE_WON: Effect(amount=Amount.NAMED, suspense=Suspense.GIVEN_BACK),
        # The money that came when the order was over is taken after all. No authorization is left.
        _E.HONOURED: Effect(
            amount=Amount.PART,
            move=Move.CAPTURE,
            authorization=Authorization.ENDS,
            suspense=Suspense.OUT,
            revenue=Revenue.GROSS,
        ),
        _E.RELEASED: Effect(amount=Amount.PART, move=Move.RELEASE),
        _E.REFUND_REQUESTED: Effect(
            amount=Amount.PART, refund=Claim.OPENS, details=RefundRequestedDetails
        ),
        _E.REFUNDED: Effect(
            amount=Amount.PART,
            move=Move.REVERSE,
            refund=Claim.MAY_END,
            revenue=Revenue.REFUNDS,
            details=RefundDetails,
        ),
        _E.REFUND_FAILED: Effect(
            amount=Amount.PART, refund=Claim.ENDS, details=RefundFailedDetails
        ),
        _E.DISPUTE_OPENED: Effect(
            amount=Amount.COVERED,
            move=Move.DISPUTE,
            dispute=Claim.OPENS,
            suspense=Suspense.EXCESS,
            details=ReasonDetails,
        ),
        _E.DISPUTE_WON: Effect(
            amount=Amount.COVERED, move=Move.UNDISPUTE, dispute=Claim.ENDS, suspense=Suspense.RETURN
        ),
        # What it took in excess stays in suspense.
        _E.DISPUTE_LOST: Effect(
            amount=Amount.COVERED,
            move=Move.CHARGE_BACK,
            dispute=Claim.ENDS,
            revenue=Revenue.CHARGEBACKS,
        ),
        # The bank decided once more, for us: what was lost comes back, from suspense as well.
        _E.DISPUTE_REVERSED: Effect(
            amount=Amount.COVERED,
            move=Move.RESTORE,
            suspense=Suspense.RETURN,
            revenue=Revenue.CHARGEBACKS,
        ),
    },
    Direction.OUT: {
        _E.REQUESTED: Effect(amount=Amount.WHOLE, transfer=_SET_ASIDE),
        _E.SUBMITTED: Effect(amount=Amount.WHOLE),
        _E.PAID: Effect(amount=Amount.WHOLE, transfer=_PAID_OUT),
        _E.FAILED: Effect(amount=Amount.WHOLE, transfer=_UNDONE, details=ReasonDetails),
        _E.CANCELLED: Effect(amount=Amount.WHOLE, transfer=_UNDONE, details=ReasonDetails),
        _E.RETURNED: Effect(amount=Amount.WHOLE, transfer=_SENT_BACK, details=ReasonDetails),
    },
}
"""Every event of the lifecycle. A missing key is an event that cannot happen in its direction."""


INSTEAD_OF: Mapping[EventType, EventType] = {
    EventType.STRAY_CAPTURED: EventType.CAPTURED,
    EventType.STRAY_REFUNDED: EventType.REFUNDED,
    EventType.STRAY_DISPUTED: EventType.DISPUTE_OPENED,
    EventType.STRAY_DISPUTE_WON: EventType.DISPUTE_WON,
    EventType.DISPUTE_REVERSED: EventType.DISPUTE_WON,
}
"""Event -> the one its command is about: what the order was before makes it this one instead."""


class Kind(Protocol):
    """Identifies the kind of an event: a row of `payments`, or the command for one."""

    @property
    def direction(self) -> Direction: ...
    @property
    def event_type(self) -> EventType: ...


def effect_of(kind: Kind) -> Effect:
    """Return the effect of an event, or of the event that a command leads to."""
    return EFFECTS[kind.direction][kind.event_type]


def event_types(
    is_meant: Callable[[Effect], bool], *directions: Direction
) -> tuple[EventType, ...]:
    """Return the events with a matching effect, in the table's order; default: both directions."""
    return tuple(
        event
        for direction in directions or EFFECTS
        for event, effect in EFFECTS[direction].items()
        if is_meant(effect)
    )


STRAY_EVENTS = event_types(
    lambda effect: effect.move is Move.NONE and effect.suspense is not Suspense.NONE, Direction.IN
)
"""Events about money that no order has a place for."""
PLACE_EVENTS = (EventType.ATTEMPTED, *STRAY_EVENTS)
"""Events that may name another psp and method than the event before them. A stray's are its own:
after it those of the payment hold again."""
