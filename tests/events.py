"""Events and records for tests, with defaults that agree with each other."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from schemas.events import SCHEMA_VERSION, Event
from schemas.lifecycle import Direction, Dispute, EventType, Fulfilment, Status
from schemas.topics import PAYMENTS_TOPIC
from streams.decode import Decoded, Record, decode

PAYMENT_ID = UUID("11111111-2222-5333-8444-555555555555")
NOON = datetime(2026, 1, 5, 12, 0, 0, 123456, tzinfo=UTC)
COMMITTED_AT_MS = 1_767_614_400_123

_AFTER: dict[EventType, Status] = {
    EventType.SUBMITTED: Status.SUBMITTED,
    EventType.REQUESTED: Status.REQUESTED,
    EventType.PAID: Status.PAID,
    EventType.RETURNED: Status.RETURNED,
    EventType.CREATED: Status.CREATED,
    EventType.ATTEMPTED: Status.CREATED,
    EventType.CAPTURE_REQUESTED: Status.AUTHORIZED,
    EventType.CAPTURE_FAILED: Status.AUTHORIZED,
    EventType.CANCEL_REQUESTED: Status.AUTHORIZED,
    EventType.CANCEL_FAILED: Status.AUTHORIZED,
    EventType.STRAY_CAPTURED: Status.EXPIRED,
    EventType.STRAY_REFUNDED: Status.EXPIRED,
    EventType.ACTION_REQUIRED: Status.ACTION_REQUIRED,
    EventType.PROCESSING: Status.PROCESSING,
    EventType.UNKNOWN: Status.UNKNOWN,
    EventType.AUTHORIZED: Status.AUTHORIZED,
    EventType.FAILED: Status.FAILED,
    EventType.CANCELLED: Status.CANCELLED,
    EventType.EXPIRED: Status.EXPIRED,
}
"""Status after an event, where it is not `captured`."""


def pay_in(event_type: EventType, **changes: Any) -> Event:
    """A pay-in event of seller-1 for buyer-1 at stripe; amounts are zero unless given."""
    return _event(
        {
            "event_type": event_type,
            "status": _AFTER.get(event_type, Status.CAPTURED),
            "fulfilment": Fulfilment.OPEN,
            "direction": Direction.IN,
            "order_id": "order-1",
            "buyer_id": "buyer-1",
            "psp": "stripe",
            "psp_reference": "pi_1",
            "method": "card",
            **changes,
        }
    )


def payout(event_type: EventType, **changes: Any) -> Event:
    """A payout event of seller-1 at tipalti; the amount is zero unless given."""
    return _event(
        {
            "event_type": event_type,
            "status": _AFTER[event_type],
            "fulfilment": Fulfilment.NONE,
            "direction": Direction.OUT,
            "order_id": str(changes.get("payment_id", PAYMENT_ID)),
            "buyer_id": None,
            "psp": "tipalti",
            "psp_reference": "po_1",
            "method": "bank_transfer",
            **changes,
        }
    )


def _event(fields: dict[str, Any]) -> Event:
    sums = ("order_amount", "authorized", "captured", "refunded", "released", "reserved", "pending")
    amounts = ("amount", "commission", "logistics_fee", "available_delta", "suspense")
    defaults: dict[str, Any] = {
        "payment_id": PAYMENT_ID,
        "seq": 1,
        "dispute": Dispute.NONE,
        "seller_id": "seller-1",
        "currency": "EUR",
        "idempotency_key": "key-1",
        "schema_version": SCHEMA_VERSION,
        "details": "{}",
        "occurred_at": NOON,
        "recorded_at": NOON,
        **{f"{name}_minor": 0 for name in (*amounts, *sums)},
    }
    return Event(**(defaults | fields))


def envelope(event: Event, **changes: Any) -> dict[str, Any]:
    """Debezium's change event for a row, as a value that JSON can hold."""
    row = msgspec.to_builtins(event)
    source = {"ts_ms": COMMITTED_AT_MS, "txId": 4711, "lsn": 987_654, "schema": "public"}
    return {"before": None, "after": row, "source": source, "op": "c", **changes}


def record(event: Event, *, partition: int = 0, offset: int = 0, **changes: Any) -> Record:
    """The record of an event; `changes` go to the envelope."""
    return raw_record(
        msgspec.json.encode(envelope(event, **changes)),
        key=key_of(event.payment_id),
        partition=partition,
        offset=offset,
    )


def raw_record(
    value: bytes | None, *, key: bytes | None = None, partition: int = 0, offset: int = 0
) -> Record:
    """A record of any value."""
    key = key_of(PAYMENT_ID) if key is None else key
    return Record(PAYMENTS_TOPIC, partition, offset, COMMITTED_AT_MS + 7, key, value)


def key_of(payment_id: UUID) -> bytes:
    """The key that Debezium gives to the rows of a payment."""
    return msgspec.json.encode({"payment_id": str(payment_id)})


def records(events: Iterable[Event], *, partitions: int = 4) -> list[Record]:
    """Records of events in the order given, each payment in one partition, offsets with gaps."""
    offsets = [0] * partitions
    made = []
    for number, event in enumerate(events):
        partition = event.payment_id.int % partitions
        # A transaction's marker takes an offset, so offsets have gaps.
        offsets[partition] += 1 + number % 2
        made.append(record(event, partition=partition, offset=offsets[partition]))
    return made


def decoded(event: Event, *, partition: int = 3, offset: int = 42) -> Decoded:
    """The event as the fold gets it."""
    return decode(record(event, partition=partition, offset=offset))
