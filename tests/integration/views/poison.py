"""Records that the worker cannot fold, one of each kind, and which a later release could."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import msgspec

from schemas.events import SCHEMA_VERSION, Event
from schemas.lifecycle import EventType
from tests.events import PAYMENT_ID, envelope, key_of, pay_in
from tests.integration.views.newer_code import NEW_EVENT_TYPE, NEW_METHOD

EVENT = pay_in(EventType.CAPTURED, amount_minor=1_000, order_amount_minor=1_000)
KEY = key_of(PAYMENT_ID)
HUGE_BYTES = 5_000_000
"""More than a broker takes by default; set the topic's max.message.bytes."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A record, the reason for which it is parked, and whether later code folds it."""

    kind: str
    key: bytes | None
    value: bytes | None
    reason: str
    curable: bool = False


def _changed(event: Event = EVENT, **columns: Any) -> bytes:
    """The envelope of an event with some columns changed."""
    whole = envelope(event)
    whole["after"] |= columns
    return msgspec.json.encode(whole)


def _without(column: str) -> bytes:
    whole = envelope(EVENT)
    del whole["after"][column]
    return msgspec.json.encode(whole)


def _with_op(op: str, **changes: Any) -> bytes:
    return msgspec.json.encode(envelope(EVENT, op=op, **changes))


def _newer(kind: str, reason: str, **columns: Any) -> Poison:
    """A record of a payment of its own, that later code can fold."""
    payment_id = uuid5(UUID(int=0), kind)
    event = pay_in(
        EventType.CAPTURED,
        payment_id=payment_id,
        order_id=f"order {kind}",
        amount_minor=7_000,
        commission_minor=700,
        order_amount_minor=7_000,
    )
    return Poison(kind, key_of(payment_id), _changed(event, **columns), reason, True)


POISON = (
    # not what Debezium writes
    Poison("no value, a tombstone", KEY, None, "null_record"),
    Poison("an empty value", KEY, b"", "malformed_record"),
    Poison("JSON null", KEY, b"null", "malformed_record"),
    Poison("not JSON", KEY, b"\x00\xff\xfenot json", "malformed_record"),
    Poison("truncated JSON", KEY, _changed()[:-40], "malformed_record"),
    Poison("text that is not UTF-8", KEY, _changed(psp_reference="?").replace(b"?", b"\xe9"),
           "malformed_record"),
    Poison("JSON, but a number", KEY, b"17", "malformed_record"),
    Poison("nested too deep", KEY, b"[" * 100_000, "malformed_record"),
    Poison("huge, and nothing in it", KEY, b'{"op":"c","x":"' + b"x" * HUGE_BYTES + b'"}',
           "malformed_record"),
    # not a row of payments
    Poison("no row", KEY, _with_op("c", after=None), "malformed_record"),
    Poison("a column missing", KEY, _without("seller_id"), "malformed_record"),
    Poison("a fraction of a cent", KEY, _changed(amount_minor=10.5), "malformed_record"),
    Poison("an amount as text", KEY, _changed(amount_minor="1000"), "malformed_record"),
    Poison("an id that is none", KEY, _changed(payment_id="x"), "malformed_record"),
    Poison("a time without zone", KEY, _changed(occurred_at="2026-01-05T12:00:00"),
           "malformed_record"),
    # out of range
    Poison("a negative amount", KEY, _changed(amount_minor=-1), "malformed_record"),
    Poison("2^63", KEY, _changed(captured_minor=2**63), "malformed_record"),
    Poison("seq 0", KEY, _changed(seq=0), "malformed_record"),
    Poison("year 9999", KEY, _changed(occurred_at="9999-12-31T23:59:59Z"), "broken_invariant"),
    # what an append-only table cannot do
    Poison("an update", KEY, _with_op("u", before=envelope(EVENT)["after"]), "unexpected_change"),
    Poison("a delete", KEY, _with_op("d"), "unexpected_change"),
    # contradictions
    Poison("the key of another payment", key_of(UUID(int=1)), _changed(), "key_mismatch"),
    Poison("a key that is none", b'{"payment_id": "\xff"}', _changed(), "key_mismatch"),
    Poison("no key", None, _changed(psp="adyen"), "key_mismatch"),
    Poison("shares above the amount", KEY, _changed(commission_minor=2_000), "broken_invariant"),
    # from the future
    Poison("an unknown state", KEY, _changed(status="teleported"), "unknown_event_type"),
    Poison("much newer than any code", KEY, _changed(schema_version=99), "newer_schema_version"),
    _newer("an unknown event", "unknown_event_type", event_type=NEW_EVENT_TYPE),
    _newer("the next version", "newer_schema_version", schema_version=SCHEMA_VERSION + 1,
           method=NEW_METHOD),
    _newer("the version after it", "newer_schema_version", schema_version=SCHEMA_VERSION + 2),
    _newer("newer and huge", "newer_schema_version", schema_version=SCHEMA_VERSION + 2,
           details=f'{{"note": "{"x" * HUGE_BYTES}"}}'),
)  # fmt: skip
"""Each with another key and value, so that they can be told apart where they are parked."""
