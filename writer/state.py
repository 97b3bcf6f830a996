"""The state of one payment or payout: the fold of its stream, on which every decision is based.

Pure. A row already carries its order's sums. The fold copies them and adds what only the whole
history shows: shares taken and given back, what is in suspense, open requests, refunds and
disputes, attempts, used keys.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from schemas.details import NO_DETAILS, AttemptedDetails, RefundDetails, parse_details
from schemas.effects import Claim, Effect, Move, Pot, effect_of
from schemas.events import NewEvent
from schemas.ids import PaymentId
from schemas.lifecycle import OVER, Direction, EventType, State


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
NOTHING_IN_SUSPENSE: Mapping[str, int] = MappingProxyType({})


class LostDispute(msgspec.Struct, frozen=True, kw_only=True):
    """What a lost dispute took: from the order, and in excess of what that covered.

    Of the amount, `shares` are the platform's, and `available_minor` came out of the seller's
    available balance.
    """

    amount_minor: int
    excess_minor: int
    shares: Shares
    available_minor: int


NOTHING_LOST: Mapping[str, LostDispute] = MappingProxyType({})


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a payment (or a payout, treated as its own only order) after its last event.

    `planned` are the shares of the whole amount, `taken` those of all captures, `given_back` those
    of all refunds and lost disputes. `suspense_minor` maps a PSP to what is in suspense there.
    `lost` maps the reference of a lost dispute (or "") to what it took, unless that came back.
    `disputed_minor` and `disputed_suspense_minor` are those of the open dispute, else 0. So are
    `capture_requested_minor` and `cancel_requested` of requests without an outcome;
    `capture_requested_seq` and `cancel_requested_seq` are the positions of these requests.
    """

    order_id: str
    seller_id: str
    state: State
    amount_minor: int
    authorized_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    released_minor: int = 0
    reserved_minor: int = 0
    pending_minor: int = 0
    planned: Shares = NO_SHARES
    taken: Shares = NO_SHARES
    given_back: Shares = NO_SHARES
    disputed_minor: int = 0
    disputed_suspense_minor: int = 0
    lost: Mapping[str, LostDispute] = NOTHING_LOST
    suspense_minor: Mapping[str, int] = NOTHING_IN_SUSPENSE
    capture_requested_minor: int = 0
    capture_requested_seq: int = 0
    cancel_requested_seq: int = 0

    @property
    def cancel_requested(self) -> bool:
        """Whether a request to cancel has no outcome yet."""
        return self.cancel_requested_seq > 0

    @property
    def is_over(self) -> bool:
        """Whether it failed, was cancelled or expired: later events of its payment pass it by."""
        return self.state.status in OVER

    @property
    def capturable_minor(self) -> int:
        """What is authorized, or else the amount, and not captured."""
        return (self.authorized_minor or self.amount_minor) - self.captured_minor

    @property
    def refundable_minor(self) -> int:
        """Captured, and neither refunded nor reserved for that; a dispute is covered by it, too."""
        return self.captured_minor - self.refunded_minor - self.reserved_minor


class Refund(msgspec.Struct, frozen=True):
    """One refund: amounts by order, and whether its outcome is still open."""

    amounts: Mapping[str, int]
    is_open: bool


class AttemptMade(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to charge at a PSP; `seq` is the position of its intent.

    `reference` is the PSP's latest for the charge itself, None as long as it is not known.
    """

    number: int
    seq: int
    psp: str
    method: str
    payment_token: str | None = None
    evidence: str | None = None
    reference: str | None = None


class PaymentState(msgspec.Struct, frozen=True, kw_only=True):
    """A whole payment or payout after event number `last_seq`.

    `psp` and `method` are those of the latest attempt. `answers` maps every used idempotency key to
    the rows that were appended for it.
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
    attempts: tuple[AttemptMade, ...] = ()

    @property
    def live(self) -> list[OrderState]:
        """The orders that are not over."""
        return [order for order in self.orders.values() if not order.is_over]


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
    attempts = before.attempts if before else ()
    for event in events:
        last_seq += 1
        assert event.seq == last_seq, f"{event.payment_id} has a gap before {event.seq}"
        orders[event.order_id] = _order_after(orders.get(event.order_id), event)
        attempts = _attempts_after(attempts, event)
        if event.details != NO_DETAILS:
            refunds = _refunds_after(refunds, event)
        answers[event.idempotency_key] = (*answers.get(event.idempotency_key, ()), event)
    return PaymentState(
        payment_id=PaymentId(first.payment_id),
        direction=first.direction,
        buyer_id=first.buyer_id,
        currency=first.currency,
        psp=attempts[-1].psp,
        method=attempts[-1].method,
        psp_reference=last.psp_reference,
        last_seq=last_seq,
        orders=orders,
        refunds=refunds,
        answers=answers,
        attempts=attempts,
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
            case Pot.RESTORED:
                given_back = given_back - shares
    disputed_minor = before.disputed_minor if before else 0
    disputed_suspense_minor = before.disputed_suspense_minor if before else 0
    if effect.dispute is not Claim.NONE:
        is_opened = effect.dispute is Claim.OPENS
        disputed_minor = event.amount_minor if is_opened else 0
        disputed_suspense_minor = event.suspense_minor if is_opened else 0
    capture_requested_minor, capture_requested_seq, cancel_requested_seq = _requests_after(
        before, event, effect
    )
    return OrderState(
        order_id=event.order_id,
        seller_id=event.seller_id,
        state=State(event.status, event.fulfilment, event.dispute),
        amount_minor=event.order_amount_minor,
        authorized_minor=event.authorized_minor,
        captured_minor=event.captured_minor,
        refunded_minor=event.refunded_minor,
        released_minor=event.released_minor,
        reserved_minor=event.reserved_minor,
        pending_minor=event.pending_minor,
        planned=planned,
        taken=taken,
        given_back=given_back,
        disputed_minor=disputed_minor,
        disputed_suspense_minor=disputed_suspense_minor,
        lost=_lost_after(before, event, effect),
        suspense_minor=_suspense_after(before, event),
        capture_requested_minor=capture_requested_minor,
        capture_requested_seq=capture_requested_seq,
        cancel_requested_seq=cancel_requested_seq,
    )


def _lost_after(
    before: OrderState | None, event: NewEvent, effect: Effect
) -> Mapping[str, LostDispute]:
    if before is None:
        return NOTHING_LOST
    reference = event.psp_reference or ""
    if effect.move is Move.CHARGE_BACK:
        lost = LostDispute(
            amount_minor=event.amount_minor,
            excess_minor=-before.disputed_suspense_minor,
            shares=Shares(event.commission_minor, event.logistics_fee_minor),
            available_minor=-event.available_delta_minor,
        )
        return {**before.lost, reference: lost}
    if effect.move is Move.RESTORE:
        return {name: lost for name, lost in before.lost.items() if name != reference}
    return before.lost


def _suspense_after(before: OrderState | None, event: NewEvent) -> Mapping[str, int]:
    known = before.suspense_minor if before else NOTHING_IN_SUSPENSE
    if event.suspense_minor == 0:
        return known
    return {**known, event.psp: known.get(event.psp, 0) + event.suspense_minor}


def _requests_after(
    before: OrderState | None, event: NewEvent, effect: Effect
) -> tuple[int, int, int]:
    """Return amount and seq of the open request to capture, and seq of that to cancel; else 0."""
    capture_minor = before.capture_requested_minor if before else 0
    capture_seq = before.capture_requested_seq if before else 0
    cancel_seq = before.cancel_requested_seq if before else 0
    if effect.capture_request in _CHANGES:
        is_opened = effect.capture_request is Claim.OPENS
        capture_minor, capture_seq = (event.amount_minor, event.seq) if is_opened else (0, 0)
    if effect.cancel_request in _CHANGES:
        cancel_seq = event.seq if effect.cancel_request is Claim.OPENS else 0
    return capture_minor, capture_seq, cancel_seq


_CHANGES = (Claim.OPENS, Claim.ENDS, Claim.MAY_END)

# Events whose reference at the PSP is that of the charge, not of a refund or a dispute.
_CHARGE_EVENTS = frozenset(
    {
        EventType.CREATED,
        EventType.ATTEMPTED,
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


def _attempts_after(before: tuple[AttemptMade, ...], event: NewEvent) -> tuple[AttemptMade, ...]:
    """Return the attempts after an event; a payout's only attempt is its request."""
    if not before:
        return (_attempt(1, event),)
    last = before[-1]
    if event.event_type is EventType.ATTEMPTED:
        attempt = _attempt(last.number + 1, event)
        # Each order has a row of the attempt.
        return before if attempt.number == last.number else (*before, attempt)
    is_news = event.psp_reference not in (None, last.reference)
    if not is_news or event.event_type not in _CHARGE_EVENTS:
        return before
    return (*before[:-1], msgspec.structs.replace(last, reference=event.psp_reference))


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


def _attempt(number: int, event: NewEvent) -> AttemptMade:
    """Return the attempt whose intent `event` is; `number` if its details have none."""
    payment_token = evidence = None
    if event.details != NO_DETAILS:
        details = parse_details(effect_of(event).details, event.details)
        payment_token = getattr(details, "payment_token", None)
        if isinstance(details, AttemptedDetails):
            evidence = details.evidence
            number = details.attempt or number
    return AttemptMade(
        number=number,
        seq=event.seq,
        psp=event.psp,
        method=event.method,
        payment_token=payment_token,
        evidence=evidence,
        reference=event.psp_reference,
    )
