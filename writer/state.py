"""The state of one payment or payout: the fold of its stream, on which every decision is based.

Pure. A row already carries its order's sums. The fold copies them and adds what only the whole
history shows: shares taken and given back, open refunds and disputes, used keys.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from schemas.details import NO_DETAILS, RefundDetails, parse_details
from schemas.effects import Claim, Pot, effect_of
from schemas.events import NewEvent
from schemas.ids import PaymentId
from schemas.lifecycle import Direction, State


class Shares(msgspec.Struct, frozen=True, gc=False):
    """The platform's parts of an amount, in minor units; the rest is the seller's."""

    commission_minor: int = 0
    logistics_fee_minor: int = 0

    def __add__(self, other: "Shares") -> "Shares":
        return Shares(
            self.commission_minor + other.commission_minor,
            self.logistics_fee_minor + other.logistics_fee_minor,
        )

    def __sub__(self, other: "Shares") -> "Shares":
        return Shares(
            self.commission_minor - other.commission_minor,
            self.logistics_fee_minor - other.logistics_fee_minor,
        )


NO_SHARES = Shares()


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a payment (or a payout, treated as its own only order) after its last event.

    `planned` are the shares of the whole amount, `taken` those of all captures, `given_back` those
    of all refunds and lost disputes. `disputed_minor` is the amount of the open dispute, else 0.
    """

    order_id: str
    seller_id: str
    state: State
    amount_minor: int
    captured_minor: int = 0
    refunded_minor: int = 0
    released_minor: int = 0
    reserved_minor: int = 0
    pending_minor: int = 0
    planned: Shares = NO_SHARES
    taken: Shares = NO_SHARES
    given_back: Shares = NO_SHARES
    disputed_minor: int = 0


class Refund(msgspec.Struct, frozen=True):
    """One refund: amounts by order, and whether its outcome is still open."""

    amounts: Mapping[str, int]
    is_open: bool


class PaymentState(msgspec.Struct, frozen=True, kw_only=True):
    """A whole payment or payout after event number `last_seq`.

    `answers` maps every used idempotency key to the rows that were appended for it.
    """

    payment_id: PaymentId
    direction: Direction
    buyer_id: str | None
    currency: str
    psp: str
    method: str
    psp_reference: str | None
    last_seq: int
    orders: Mapping[str, OrderState]
    refunds: Mapping[str, Refund]
    answers: Mapping[str, tuple[NewEvent, ...]]


def fold(events: Iterable[NewEvent]) -> PaymentState | None:
    """Return the state after a whole stream in the order of `seq`; None without events."""
    rows = tuple(events)
    return apply(None, rows) if rows else None


def apply(before: PaymentState | None, events: Sequence[NewEvent]) -> PaymentState:
    """Return the state after `events`, at least one, which follow `before` without a gap."""
    first, last = events[0], events[-1]
    last_seq = before.last_seq if before else 0
    orders = dict(before.orders) if before else {}
    refunds = before.refunds if before else {}
    answers = dict(before.answers) if before else {}
    for event in events:
        last_seq += 1
        assert event.seq == last_seq, f"{event.payment_id} has a gap before {event.seq}"
        orders[event.order_id] = _order_after(orders.get(event.order_id), event)
        if event.details != NO_DETAILS:
            refunds = _refunds_after(refunds, event)
        answers[event.idempotency_key] = (*answers.get(event.idempotency_key, ()), event)
    return PaymentState(
        payment_id=PaymentId(first.payment_id),
        direction=first.direction,
        buyer_id=first.buyer_id,
        currency=first.currency,
        psp=first.psp,
        method=first.method,
        psp_reference=last.psp_reference,
        last_seq=last_seq,
        orders=orders,
        refunds=refunds,
        answers=answers,
    )


def _order_after(before: OrderState | None, event: NewEvent) -> OrderState:
    effect = effect_of(event)
    planned = before.planned if before else NO_SHARES
    taken = before.taken if before else NO_SHARES
    given_back = before.given_back if before else NO_SHARES
    if (pot := effect.pot) is not None:
        shares = Shares(event.commission_minor, event.logistics_fee_minor)
        match pot:
            case Pot.PLANNED:
                planned = planned + shares
            case Pot.TAKEN:
                taken = taken + shares
            case Pot.GIVEN_BACK:
                given_back = given_back + shares
    disputed_minor = before.disputed_minor if before else 0
    if effect.dispute is not Claim.NONE:
        disputed_minor = event.amount_minor if effect.dispute is Claim.OPENS else 0
    return OrderState(
        order_id=event.order_id,
        seller_id=event.seller_id,
        state=State(event.status, event.fulfilment, event.dispute),
        amount_minor=event.order_amount_minor,
        captured_minor=event.captured_minor,
        refunded_minor=event.refunded_minor,
        released_minor=event.released_minor,
        reserved_minor=event.reserved_minor,
        pending_minor=event.pending_minor,
        planned=planned,
        taken=taken,
        given_back=given_back,
        disputed_minor=disputed_minor,
    )


def _refunds_after(before: Mapping[str, Refund], event: NewEvent) -> Mapping[str, Refund]:
    effect = effect_of(event)
    details = parse_details(effect.details, event.details)
    if not isinstance(details, RefundDetails) or details.refund_id is None:
        return before
    known = before.get(details.refund_id)
    amounts = dict(known.amounts) if known else {}
    amounts[event.order_id] = event.amount_minor
    is_open = effect.refund is Claim.OPENS
    return {**before, details.refund_id: Refund(amounts, is_open)}
