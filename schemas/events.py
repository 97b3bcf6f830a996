"""The event: one immutable row of `payments`, as the writer appends it and the fold reads it.

Both sides use the same list of fields. `amount_minor` and the other amounts are minor units of
`currency` and never negative, except `available_delta_minor` and `suspense_minor`, which are
signed.
"""

from datetime import UTC, datetime
from typing import Annotated, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from schemas.lifecycle import Direction, Dispute, EventType, Fulfilment, Status
from schemas.money import MAX_AMOUNT_MINOR

SCHEMA_VERSION = 1
"""Version of the row's meaning that this code writes. Older rows are upcast when read.

docs/how-to/change-an-event.md says what requires a new version and everything it needs.
"""

# Ranges of the columns of both databases; checked when an event is decoded.
SequenceNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
AmountMinor = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT_MINOR)]
SignedAmountMinor = Annotated[int, msgspec.Meta(ge=-MAX_AMOUNT_MINOR, le=MAX_AMOUNT_MINOR)]
SumMinor = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Identifier = Annotated[str, msgspec.Meta(min_length=1)]
CurrencyCode = Annotated[str, msgspec.Meta(min_length=3, max_length=3)]
SchemaVersion = Annotated[int, msgspec.Meta(ge=1, le=2**15 - 1)]
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""`EARLIEST <= occurred_at < LATEST`: the dates that every store of the pipeline can hold."""

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


Id = TypeVar("Id")
Time = TypeVar("Time")


class AnyEvent(msgspec.Struct, Generic[Id, Time], frozen=True, kw_only=True, gc=False):
    """One thing that happened to one order of one payment, or to one payout.

    `Id` and `Time` are the types of its id and its times: objects, or texts in wire form. `status`,
    `fulfilment`, `dispute` and the sums from `order_amount_minor` to `pending_minor` are the
    order's state *after* the event. `suspense_minor` is what the event adds to the money at the PSP
    that no order has a place for. For a payout, `order_id` is the payout's own id as text,
    `buyer_id` is None, and `order_amount_minor` is the payout's amount.
    """

    payment_id: Id
    seq: SequenceNumber
    event_type: EventType
    status: Status
    fulfilment: Fulfilment
    dispute: Dispute
    direction: Direction
    order_id: Identifier
    seller_id: Identifier
    buyer_id: Identifier | None
    currency: CurrencyCode
    amount_minor: AmountMinor
    commission_minor: AmountMinor
    logistics_fee_minor: AmountMinor
    order_amount_minor: SumMinor
    authorized_minor: SumMinor
    captured_minor: SumMinor
    refunded_minor: SumMinor
    released_minor: SumMinor
    reserved_minor: SumMinor
    pending_minor: SumMinor
    available_delta_minor: SignedAmountMinor
    suspense_minor: SignedAmountMinor
    psp: str
    psp_reference: str | None
    method: str
    idempotency_key: str
    schema_version: SchemaVersion
    details: str
    occurred_at: Time


class NewEvent(AnyEvent[UUID, Instant], frozen=True, kw_only=True, gc=False):
    """An event before it is appended."""


class Event(NewEvent, frozen=True, kw_only=True, gc=False):
    """An event as the table stores it; `recorded_at` is when it was appended."""

    recorded_at: Instant


class StoredEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event exactly as the table stores it, in the vocabulary of its schema version.

    Its values may be unknown to today's vocabulary: only `schemas.upcast` knows what they mean.
    """

    event_type: str  # type: ignore[assignment]
    status: str  # type: ignore[assignment]
    fulfilment: str  # type: ignore[assignment]
    dispute: str  # type: ignore[assignment]
    direction: str  # type: ignore[assignment]


class WireEvent(AnyEvent[str, str], frozen=True, kw_only=True, gc=False):
    """`Event` with its id and its times kept as the text of the envelope.

    The fold of whole batches uses them as columns of text, because creating an object for each
    would cost more than everything else. The three texts are not validated yet.
    """

    recorded_at: str


class Movement(Protocol):
    """The fields of an event that determine which money moves, for checks and postings."""

    @property
    def direction(self) -> Direction: ...
    @property
    def event_type(self) -> EventType: ...
    @property
    def buyer_id(self) -> str | None: ...
    @property
    def seller_id(self) -> str: ...
    @property
    def psp(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def commission_minor(self) -> int: ...
    @property
    def logistics_fee_minor(self) -> int: ...
    @property
    def available_delta_minor(self) -> int: ...
    @property
    def suspense_minor(self) -> int: ...


COLUMNS: tuple[str, ...] = Event.__struct_fields__
"""Columns of `payments` in the order of the table."""
