"""The event: one immutable row of `payments`, as the writer appends it and the fold reads it.

One typed definition serves both ends. `amount_minor` and the other amounts are minor units of
`currency`, never negative, except `available_delta_minor`, which is signed.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from schemas.lifecycle import Direction, Dispute, EventType, Fulfilment, Status

SCHEMA_VERSION = 1
"""Version of the row's meaning that this code writes; older ones are upcast when read."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened to one order of one payment, or to one payout.

    `status`, `fulfilment`, `dispute` and the sums from `order_amount_minor` to `pending_minor` are
    the order's state *after* the event. For a payout `order_id` is the payout's own id as text,
    `buyer_id` is None, and `order_amount_minor` is the payout's amount.
    """

    payment_id: UUID
    seq: int
    event_type: EventType
    status: Status
    fulfilment: Fulfilment
    dispute: Dispute
    direction: Direction
    order_id: str
    seller_id: str
    buyer_id: str | None
    currency: str
    amount_minor: int
    commission_minor: int
    logistics_fee_minor: int
    order_amount_minor: int
    captured_minor: int
    refunded_minor: int
    released_minor: int
    reserved_minor: int
    pending_minor: int
    available_delta_minor: int
    psp: str
    psp_reference: str | None
    method: str
    idempotency_key: str
    schema_version: int
    details: str
    occurred_at: datetime
    recorded_at: datetime


COLUMNS: tuple[str, ...] = Event.__struct_fields__
"""Columns of `payments` in their order in the table."""
