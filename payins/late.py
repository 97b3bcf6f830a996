"""Late money: what was taken although the payment has no place for it is honoured or goes back.

A charge can succeed after the payment failed, expired or was cancelled, or at a processor that was
given up, or twice at the same one. The money is recorded in suspense (`stray_captured`), and this
rule says what becomes of it. Pure: it depends on the stream alone, and on which orders another
payment has claimed: it has paid them, or can still do so.

- At a processor that is not the payment's current one: refunded.
- Of an order that was captured: refunded. Another charge has paid for it.
- Of an order that was cancelled: refunded. Somebody took it back.
- Of an order that failed or expired: honoured if it came within `HONOUR_WITHIN` of the end and no
  other payment has claimed the order; else refunded.
- Of an order with an open dispute: left until the bank has decided.

Money of a refund that came back is not late. It stays in suspense until a person has paid the buyer
in another way.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from payins.keys import late_refund_id, psp_key
from schemas.events import Event
from schemas.lifecycle import Dispute, EventType, Status
from writer.state import OrderState, PaymentState, fold

HONOUR_WITHIN = timedelta(hours=1)
"""So long after the end of an order its buyer is still taken at his word."""

_ENDS = frozenset({EventType.FAILED, EventType.EXPIRED})
_MAY_BE_HONOURED = frozenset({Status.FAILED, Status.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundLate:
    """Give the money of the event at `seq` back; both ids are derived, so it happens once."""

    psp: str
    reference: str
    order_id: str
    amount_minor: int
    seq: int
    refund_id: str
    psp_key: str

    @property
    def name(self) -> str:
        """What it is about: what is wrong with a charge is wrong with all of its money."""
        return f"late:{self.psp}:{self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HonourLate:
    """Take the money that the event at `seq` recorded as the order's capture after all."""

    order_id: str
    reference: str | None
    seq: int

    @property
    def name(self) -> str:
        """What it is about."""
        return f"late:{self.seq}"


LateStep: TypeAlias = RefundLate | HonourLate


def late_orders(events: Sequence[Event]) -> frozenset[str]:
    """Return the orders that could be honoured: who decides must know who else claims them."""
    return frozenset(row.order_id for row in events if row.event_type is EventType.STRAY_CAPTURED)


def late_steps(events: Sequence[Event], claimed: Collection[str]) -> list[LateStep]:
    """Return what is to be done about late money; empty if there is none, or it is dealt with."""
    state = fold(events)
    if state is None:
        return []
    return list(_steps(events, state, claimed))


def _steps(
    events: Sequence[Event], state: PaymentState, claimed: Collection[str]
) -> Iterator[LateStep]:
    for row in events:
        if row.event_type is not EventType.STRAY_CAPTURED:
            continue
        order = state.orders[row.order_id]
        left_minor = _left_minor(events, order, row.psp)
        if left_minor <= 0 or order.state.dispute is Dispute.OPEN:
            continue
        refund_id = late_refund_id(row.payment_id, row.seq)
        if refund_id in state.refunds:
            continue  # it went back; what is left came with another event
        if _is_honoured(events, state, order, row, claimed):
            yield HonourLate(order_id=row.order_id, reference=row.psp_reference, seq=row.seq)
        elif row.psp_reference is not None:
            yield RefundLate(
                psp=row.psp,
                reference=row.psp_reference,
                order_id=row.order_id,
                amount_minor=min(row.amount_minor, left_minor),
                seq=row.seq,
                refund_id=refund_id,
                psp_key=psp_key(row.payment_id, row.seq),
            )


def _left_minor(events: Sequence[Event], order: OrderState, psp: str) -> int:
    """Return what is left in suspense of an order's late money.

    What came back of a refund is no late money: the buyer's bank does not take it, so it would come
    back for ever.
    """
    left_minor = 0
    for row in events:
        if (row.order_id, row.psp) != (order.order_id, psp):
            continue
        if row.event_type is not EventType.REFUND_RETURNED:
            left_minor = max(0, left_minor + row.suspense_minor)
    return min(left_minor, order.suspense_minor.get(psp, 0))


def _is_honoured(
    events: Sequence[Event],
    state: PaymentState,
    order: OrderState,
    row: Event,
    claimed: Collection[str],
) -> bool:
    if row.psp != state.psp or order.state.status not in _MAY_BE_HONOURED:
        return False
    if order.order_id in claimed or order.captured_minor:
        return False
    ended_at = max(
        each.recorded_at
        for each in events
        if each.order_id == order.order_id and each.event_type in _ENDS
    )
    return row.recorded_at - ended_at <= HONOUR_WITHIN
