"""Valid histories for property tests: a small model of its own, apart from the writer.

It knows the lifecycle tables and the meaning of the running sums, nothing else, and draws shares of
any size that the rules allow, not only those that the writer's rounding would give. Hypothesis
draws how much happens and a seed; what happens follows from the seed, which is ten times faster
than having it draw every amount.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid5

from hypothesis import strategies as st

from schemas.events import Event
from schemas.lifecycle import Direction, EventType, State, allowed_events, next_state
from tests.events import pay_in, payout

CURRENCIES = ("EUR", "JPY", "BHD")
SELLERS = ("seller-1", "seller-2", "seller-3")
PSPS = ("stripe", "adyen")
BUYERS = ("buyer-1", "buyer-2")
START = datetime(2025, 12, 30, 20, 0, tzinfo=UTC)
_NAMESPACE = UUID("00000000-0000-5000-8000-000000000000")
_MOVES_MONEY = (
    EventType.CAPTURED,
    EventType.HONOURED,
    EventType.RELEASED,
    EventType.REFUND_REQUESTED,
    EventType.REFUNDED,
    EventType.REFUND_FAILED,
    EventType.DISPUTE_OPENED,
    EventType.DISPUTE_WON,
    EventType.DISPUTE_LOST,
    EventType.DISPUTE_REVERSED,
)
_OUTCOMES = (EventType.CAPTURED, EventType.FAILED, EventType.CANCELLED, EventType.EXPIRED)


@dataclass
class OrderModel:
    """One order as the model keeps it; all amounts in minor units."""

    payment_id: UUID
    order_id: str
    seller_id: str
    buyer_id: str
    currency: str
    psp: str
    amount: int
    commission: int
    fee: int
    state: State | None = None
    authorized: int = 0
    captured: int = 0
    captured_commission: int = 0
    captured_fee: int = 0
    refunded: int = 0
    refunded_commission: int = 0
    refunded_fee: int = 0
    released: int = 0
    pending: int = 0
    requests: list[int] = field(default_factory=list)
    disputed: int = 0
    excess: int = 0
    suspense: int = 0
    lost: tuple[int, int] | None = None
    lost_shares: tuple[int, int, int] = (0, 0, 0)
    gone: int = 0
    stray_disputed: int = 0
    is_capturing: bool = False
    is_cancelling: bool = False

    @property
    def reserved(self) -> int:
        return sum(self.requests) + self.disputed

    def possible(self) -> list[EventType]:
        """Events that the tables and the sums allow next."""
        free = self.captured - self.refunded - self.reserved
        is_asked = self.is_capturing or self.is_cancelling
        by_sums = {
            EventType.ATTEMPTED: not is_asked,
            EventType.CAPTURE_REQUESTED: not is_asked,
            EventType.CAPTURE_FAILED: self.is_capturing,
            EventType.CANCEL_REQUESTED: not is_asked,
            EventType.CANCEL_FAILED: self.is_cancelling,
            EventType.HONOURED: self.suspense > 0,
            EventType.CAPTURED: self.captured < (self.authorized or self.amount),
            EventType.RELEASED: self.pending > 0,
            EventType.REFUND_REQUESTED: free > 0,
            EventType.REFUNDED: free > 0 or bool(self.requests),
            EventType.REFUND_FAILED: bool(self.requests),
            EventType.REFUND_RETURNED: self.gone > 0,
            EventType.STRAY_DISPUTE_WON: self.stray_disputed > 0,
            EventType.DISPUTE_REVERSED: self.lost is not None,
        }
        allowed = allowed_events(Direction.IN, self.state)
        return [event for event in allowed if by_sums.get(event, True)]


def _take(random: Random, order: OrderModel, event_type: EventType) -> dict[str, int]:
    """Move money in the model as `event_type` does; the event's own amounts."""
    delta = 0
    amount, suspense = _at_psp(random, order, event_type)
    commission = fee = 0
    match event_type:
        case EventType.CREATED:
            commission, fee = order.commission, order.fee
        case EventType.CAPTURED | EventType.HONOURED:
            commission = random.randint(0, amount)
            fee = random.randint(0, amount - commission)
            order.captured += amount
            order.captured_commission += commission
            order.captured_fee += fee
            order.pending += amount - commission - fee
        case EventType.RELEASED:
            amount = delta = random.randint(1, order.pending)
            order.pending -= amount
            order.released += amount
        case EventType.REFUND_FAILED:
            amount = order.requests.pop(random.randint(0, len(order.requests) - 1))
        case EventType.DISPUTE_REVERSED:
            commission, fee, lost = order.lost_shares
            delta = -lost
            order.refunded -= amount
            order.refunded_commission -= commission
            order.refunded_fee -= fee
            order.pending += amount - commission - fee - delta
        case EventType.REFUNDED | EventType.DISPUTE_LOST:
            commission, fee, delta = _give_back(random, order, amount)
            if event_type is EventType.DISPUTE_LOST:
                order.lost_shares = (commission, fee, delta)
        case _:
            pass
    order.suspense += suspense
    return {
        "amount_minor": amount,
        "commission_minor": commission,
        "logistics_fee_minor": fee,
        "available_delta_minor": delta,
        "suspense_minor": suspense,
    }


def _at_psp(random: Random, order: OrderModel, event_type: EventType) -> tuple[int, int]:
    """The amount of an event at the PSP, and what it adds to suspense there."""
    free = order.captured - order.refunded - order.reserved
    amount = suspense = 0
    match event_type:
        case EventType.CREATED:
            amount = order.amount
        case EventType.ATTEMPTED:
            order.authorized, order.psp = 0, random.choice(PSPS)
        case EventType.AUTHORIZED:
            amount = order.authorized = random.randint(1, order.amount)
        case EventType.CAPTURE_REQUESTED | EventType.CAPTURED:
            amount = random.randint(1, (order.authorized or order.amount) - order.captured)
        case EventType.STRAY_CAPTURED | EventType.STRAY_REFUNDED:
            amount = random.randint(1, 2 * order.amount)
            suspense = amount if event_type is EventType.STRAY_CAPTURED else -amount
            order.gone += amount if event_type is EventType.STRAY_REFUNDED else 0
        case EventType.REFUND_RETURNED:
            suspense = amount = random.randint(1, order.gone)
            order.gone -= amount
        case EventType.STRAY_DISPUTED:
            amount = random.randint(1, order.amount)
            order.stray_disputed += amount
            suspense = -amount
        case EventType.STRAY_DISPUTE_WON:
            suspense = amount = random.randint(1, order.stray_disputed)
            order.stray_disputed -= amount
        case EventType.HONOURED:
            amount = random.randint(1, min(order.amount, order.suspense))
            suspense, order.authorized = -amount, 0
        case EventType.REFUND_REQUESTED:
            amount = random.randint(1, free)
            order.requests.append(amount)
        case EventType.REFUNDED:
            is_requested = order.requests and (free == 0 or random.random() < 0.5)
            amount = order.requests.pop() if is_requested else random.randint(1, free)
            order.gone += amount
        case _:
            amount, suspense = _dispute(random, order, event_type)
    return amount, suspense


def _dispute(random: Random, order: OrderModel, event_type: EventType) -> tuple[int, int]:
    """The amount that the order's money covers, and what the event adds to suspense."""
    free = order.captured - order.refunded - order.reserved
    if event_type is EventType.DISPUTE_OPENED:
        is_above = free == 0 or random.random() < 0.3
        order.excess = random.randint(1, order.amount) if is_above else 0
        order.disputed = free if is_above else random.randint(1, free)
        return order.disputed, -order.excess
    if event_type in (EventType.DISPUTE_WON, EventType.DISPUTE_LOST):
        amount, order.disputed = order.disputed, 0
        if event_type is EventType.DISPUTE_LOST:
            order.lost = (amount, order.excess)
        return amount, order.excess if event_type is EventType.DISPUTE_WON else 0
    if event_type is EventType.DISPUTE_REVERSED:
        assert order.lost is not None
        found, order.lost = order.lost, None
        return found
    return 0, 0


def _request(order: OrderModel, event_type: EventType) -> None:
    """Open or end a request to the PSP in the model."""
    if event_type in _OUTCOMES:
        order.is_capturing = order.is_cancelling = False
    elif event_type in (EventType.CAPTURE_REQUESTED, EventType.CAPTURE_FAILED):
        order.is_capturing = event_type is EventType.CAPTURE_REQUESTED
    elif event_type in (EventType.CANCEL_REQUESTED, EventType.CANCEL_FAILED):
        order.is_cancelling = event_type is EventType.CANCEL_REQUESTED


def _give_back(random: Random, order: OrderModel, amount: int) -> tuple[int, int, int]:
    """Commission and fee given back with a refund, and what it does to the payable balance."""
    left_commission = order.captured_commission - order.refunded_commission
    left_fee = order.captured_fee - order.refunded_fee
    left_share = order.captured - order.refunded - left_commission - left_fee
    # What neither the fee nor the seller's share can cover must come out of the commission.
    least = max(0, amount - left_fee - left_share)
    commission = random.randint(least, min(amount, left_commission))
    least = max(0, amount - commission - left_share)
    fee = random.randint(least, min(amount - commission, left_fee))
    share = amount - commission - fee
    from_pending = min(order.pending, share)
    order.refunded += amount
    order.refunded_commission += commission
    order.refunded_fee += fee
    order.pending -= from_pending
    return commission, fee, from_pending - share


def payment(random: Random, number: int, steps: int) -> list[Event]:
    """The events of one payment of one to three orders, about `steps` of them after `created`."""
    payment_id = uuid5(_NAMESPACE, f"payment-{number}")
    currency, buyer = random.choice(CURRENCIES), random.choice(BUYERS)
    psp = random.choice(PSPS)
    orders = []
    for line in range(random.randint(1, 3)):
        amount = random.randint(1, 50_000)
        commission = random.randint(0, amount)
        orders.append(
            OrderModel(
                payment_id,
                f"order-{number}-{line}",
                random.choice(SELLERS),
                buyer,
                currency,
                psp,
                amount,
                commission,
                random.randint(0, amount - commission),
            )
        )
    events: list[Event] = []
    at = START
    for order in [*orders, *random.choices(orders, k=steps)]:
        possible = order.possible()
        if not possible:
            continue
        # Money moves in most of the steps, or histories would die as `failed` before they matter.
        moving = [event for event in possible if event in _MOVES_MONEY]
        event_type = random.choice(moving if moving and random.random() < 0.75 else possible)
        at += timedelta(seconds=random.randint(0, 40_000), microseconds=len(events))
        events.append(_append(random, order, event_type, len(events) + 1, at))
    return events


def _append(
    random: Random, order: OrderModel, event_type: EventType, seq: int, at: datetime
) -> Event:
    amounts = _take(random, order, event_type)
    _request(order, event_type)
    order.state = next_state(Direction.IN, order.state, event_type)
    assert order.state is not None
    return pay_in(
        event_type,
        payment_id=order.payment_id,
        seq=seq,
        status=order.state.status,
        fulfilment=order.state.fulfilment,
        dispute=order.state.dispute,
        order_id=order.order_id,
        seller_id=order.seller_id,
        buyer_id=order.buyer_id,
        currency=order.currency,
        psp=order.psp,
        order_amount_minor=order.amount,
        authorized_minor=order.authorized,
        captured_minor=order.captured,
        refunded_minor=order.refunded,
        released_minor=order.released,
        reserved_minor=order.reserved,
        pending_minor=order.pending,
        idempotency_key=f"{order.payment_id}:{seq}",
        occurred_at=at,
        recorded_at=at,
        **amounts,
    )


def payout_events(random: Random, number: int) -> list[Event]:
    """The events of one payout, whether the seller has the money or not."""
    payout_id = uuid5(_NAMESPACE, f"payout-{number}")
    seller, currency = random.choice(SELLERS), random.choice(CURRENCIES)
    amount = random.randint(1, 50_000)
    state: State | None = None
    events: list[Event] = []
    at = START
    for _ in range(random.randint(1, 4)):
        allowed = allowed_events(Direction.OUT, state)
        if not allowed:
            break
        event_type = random.choice(allowed)
        state = next_state(Direction.OUT, state, event_type)
        at += timedelta(seconds=random.randint(0, 90_000))
        back = (EventType.FAILED, EventType.CANCELLED, EventType.RETURNED)
        sign = -1 if event_type is EventType.REQUESTED else 1 if event_type in back else 0
        events.append(
            payout(
                event_type,
                payment_id=payout_id,
                seq=len(events) + 1,
                seller_id=seller,
                currency=currency,
                amount_minor=amount,
                order_amount_minor=amount,
                available_delta_minor=sign * amount,
                idempotency_key=f"{payout_id}:{len(events) + 1}",
                occurred_at=at,
                recorded_at=at,
            )
        )
    return events


def history(random: Random, payments: int, payouts: int, steps: int) -> list[Event]:
    """Events of several payments and payouts, each in its order, interleaved as they come."""
    streams = [payment(random, number, random.randint(0, steps)) for number in range(payments)]
    streams += [payout_events(random, number) for number in range(payouts)]
    turns = [number for number, stream in enumerate(streams) for _ in stream]
    random.shuffle(turns)
    remaining = [iter(stream) for stream in streams]
    return [next(remaining[turn]) for turn in turns]


def histories(
    payments_max: int = 4, payouts_max: int = 2, steps_max: int = 14
) -> st.SearchStrategy[list[Event]]:
    """Valid histories of at least one payment; examples shrink to few and short ones."""
    return st.builds(
        history,
        st.integers(0, 2**32).map(Random),
        st.integers(1, payments_max),
        st.integers(0, payouts_max),
        st.integers(0, steps_max),
    )
