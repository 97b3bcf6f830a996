"""Every way in which a record can be wrong, and the reason it is given."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from schemas.errors import (
    BrokenInvariant,
    DecodeError,
    KeyMismatch,
    MalformedRecord,
    NewerSchema,
    NullRecord,
    UnexpectedChange,
    UnknownEvent,
)
from schemas.events import SCHEMA_VERSION
from schemas.lifecycle import EventType as E
from streams.decode import Record, decode
from tests.events import (
    COMMITTED_AT_MS,
    PAYMENT_ID,
    envelope,
    key_of,
    pay_in,
    payout,
    raw_record,
    record,
)

NEWER = SCHEMA_VERSION + 1
CAPTURE = pay_in(E.CAPTURED, amount_minor=100, commission_minor=10, logistics_fee_minor=5)
REFUND = pay_in(E.REFUNDED, amount_minor=100, commission_minor=10, available_delta_minor=-90)
REQUEST = payout(E.REQUESTED, amount_minor=100, available_delta_minor=-100)
STRAY = pay_in(E.STRAY_CAPTURED, amount_minor=100, suspense_minor=100)
DISPUTE = pay_in(E.DISPUTE_OPENED, amount_minor=100, suspense_minor=-50)
RELEASE = pay_in(E.RELEASED, amount_minor=100, available_delta_minor=100)


def changed(event: Any = CAPTURE, **columns: Any) -> Record:
    """The event's record with columns of the row replaced by anything; `...` removes one."""
    value = envelope(event)
    value["after"] = {k: v for k, v in (value["after"] | columns).items() if v is not ...}
    return raw_record(json.dumps(value).encode())


def enveloped(**fields: Any) -> Record:
    value = {k: v for k, v in (envelope(CAPTURE) | fields).items() if v is not ...}
    return raw_record(json.dumps(value).encode())


WRONG: list[tuple[str, Record, type[DecodeError], str]] = [
    # bytes
    ("no value", raw_record(None), NullRecord, "tombstone"),
    ("empty", raw_record(b""), MalformedRecord, "truncated"),
    ("JSON null", raw_record(b"null"), MalformedRecord, "object"),
    ("cut off", raw_record(record(CAPTURE).value[:-20]), MalformedRecord, "truncated"),  # type: ignore[index]
    ("not UTF-8", raw_record(b'{"op": "\xff"}'), MalformedRecord, "utf-8"),
    ("binary", raw_record(bytes(range(256))), MalformedRecord, "malformed"),
    ("deep", raw_record(b'{"x":' * 100_000), MalformedRecord, "recursion"),
    ("a list", raw_record(b"[1, 2]"), MalformedRecord, "object"),
    # the envelope
    ("an update", enveloped(op="u"), UnexpectedChange, "'u'"),
    ("a delete", enveloped(op="d", after=None), UnexpectedChange, "'d'"),
    ("a truncate", enveloped(op="t", after=...), UnexpectedChange, "'t'"),
    ("insert of nothing", enveloped(after=None), MalformedRecord, "after"),
    ("no op", enveloped(op=...), MalformedRecord, "`op`"),
    ("op is a number", enveloped(op=3), MalformedRecord, "op"),
    ("no source", enveloped(source=...), MalformedRecord, "source"),
    ("no commit time", enveloped(source={"txId": 1}), MalformedRecord, "ts_ms"),
    ("negative commit time", enveloped(source={"ts_ms": -1}), MalformedRecord, "ts_ms"),
    ("commit in year 9999", enveloped(source={"ts_ms": 10**15}), MalformedRecord, "ts_ms"),
    ("txid 2^32", enveloped(source={"ts_ms": 1, "txId": 2**32}), MalformedRecord, "txId"),
    ("lsn 2^63", enveloped(source={"ts_ms": 1, "lsn": 2**63}), MalformedRecord, "lsn"),
    # the words
    ("unknown event", changed(event_type="gifted"), UnknownEvent, "event_type: 'gifted'"),
    ("unknown status", changed(status="maybe"), UnknownEvent, "status: 'maybe'"),
    ("unknown fulfilment", changed(fulfilment="lost"), UnknownEvent, "fulfilment: 'lost'"),
    ("unknown dispute", changed(dispute="settled"), UnknownEvent, "dispute: 'settled'"),
    ("unknown direction", changed(direction="sideways"), UnknownEvent, "direction"),
    # the version, before anything else of the row
    ("newer", changed(schema_version=NEWER), NewerSchema, f"schema_version: {NEWER}"),
    (
        "newer and otherwise unreadable",
        changed(schema_version=NEWER, event_type="gifted", amount_minor="many", seq=...),
        NewerSchema,
        f"schema_version: {NEWER}",
    ),
    ("newer and all else gone", enveloped(after={"schema_version": 99}), NewerSchema, "99"),
    ("version 0", changed(schema_version=0), MalformedRecord, "schema_version"),
    ("version as text", changed(schema_version="1"), MalformedRecord, "schema_version"),
    ("no version", changed(schema_version=...), MalformedRecord, "schema_version"),
    # the columns
    ("no seq", changed(seq=...), MalformedRecord, "seq"),
    ("seq 0", changed(seq=0), MalformedRecord, "seq"),
    ("seq 2^31", changed(seq=2**31), MalformedRecord, "seq"),
    ("amount as text", changed(amount_minor="100"), MalformedRecord, "amount_minor"),
    ("amount as fraction", changed(amount_minor=100.5), MalformedRecord, "amount_minor"),
    ("amount as bool", changed(amount_minor=True), MalformedRecord, "amount_minor"),
    ("amount null", changed(amount_minor=None), MalformedRecord, "amount_minor"),
    ("amount negative", changed(amount_minor=-1), MalformedRecord, "amount_minor"),
    ("amount too large", changed(amount_minor=10**15 + 1), MalformedRecord, "amount_minor"),
    ("sum 2^63", changed(captured_minor=2**63), MalformedRecord, "captured_minor"),
    ("sum 2^200", changed(captured_minor=2**200), MalformedRecord, "captured_minor"),
    ("id not a UUID", changed(payment_id="p-1"), MalformedRecord, "payment_id"),
    ("seller empty", changed(seller_id=""), MalformedRecord, "seller_id"),
    ("order null", changed(order_id=None), MalformedRecord, "order_id"),
    ("currency of two letters", changed(currency="EU"), MalformedRecord, "currency"),
    # times
    ("naive", changed(occurred_at="2026-01-05T12:00:00"), MalformedRecord, "occurred_at"),
    ("no such day", changed(occurred_at="2026-02-30T12:00:00Z"), MalformedRecord, "occurred_at"),
    ("infinity", changed(recorded_at="infinity"), MalformedRecord, "recorded_at"),
    ("a number", changed(recorded_at=1767614400), MalformedRecord, "recorded_at"),
    ("year 1", changed(occurred_at="0001-01-01T00:00:00+10:00"), MalformedRecord, "occurred_at"),
    ("1969", changed(occurred_at="1969-12-31T23:59:59Z"), BrokenInvariant, "1970-01-01"),
    ("2149", changed(recorded_at="2149-06-06T00:00:00Z"), BrokenInvariant, "2149-06-06"),
    # the key
    ("no key", Record("t", 0, 0, 0, None, record(CAPTURE).value), KeyMismatch, "key"),
    ("empty key", raw_record(record(CAPTURE).value, key=b"{}"), KeyMismatch, "payment_id"),
    ("key is not JSON", raw_record(record(CAPTURE).value, key=b"\xff"), KeyMismatch, "key"),
    (
        "compound key",
        raw_record(
            record(CAPTURE).value,
            key=json.dumps({"payment_id": str(PAYMENT_ID), "seq": 1}).encode(),
        ),
        KeyMismatch,
        "seq",
    ),
    (
        "another payment's key",
        raw_record(record(CAPTURE).value, key=key_of(UUID(int=1))),
        KeyMismatch,
        "00000000-0000-0000-0000-000000000001",
    ),
    # contradictions
    ("paid by a buyer", changed(event_type="paid"), BrokenInvariant, "direction in"),
    ("captured payout", changed(REQUEST, event_type="captured"), BrokenInvariant, "direction out"),
    ("a pay-in without buyer", changed(buyer_id=None), BrokenInvariant, "buyer_id"),
    ("a payout with buyer", changed(REQUEST, buyer_id="b"), BrokenInvariant, "buyer_id"),
    ("shares above amount", changed(logistics_fee_minor=91), BrokenInvariant, "commission_minor"),
    (
        "shares of a refund above amount",
        changed(REFUND, logistics_fee_minor=91),
        BrokenInvariant,
        "commission_minor",
    ),
    ("capture that pays out", changed(available_delta_minor=1), BrokenInvariant, "available_delta"),
    ("refund that pays out", changed(REFUND, available_delta_minor=1), BrokenInvariant, "-90"),
    ("refund beyond share", changed(REFUND, available_delta_minor=-91), BrokenInvariant, "-90"),
    (
        "half a release",
        changed(RELEASE, available_delta_minor=99),
        BrokenInvariant,
        "is the amount",
    ),
    ("capture in suspense", changed(suspense_minor=1), BrokenInvariant, "suspense_minor: is zero"),
    ("payout in suspense", changed(REQUEST, suspense_minor=1), BrokenInvariant, "suspense_minor"),
    ("half a stray", changed(STRAY, suspense_minor=99), BrokenInvariant, "is the amount"),
    ("a stray that goes", changed(STRAY, suspense_minor=-100), BrokenInvariant, "is the amount"),
    (
        "honoured out of nothing",
        changed(CAPTURE, event_type="honoured"),
        BrokenInvariant,
        "is minus the amount",
    ),
    (
        "a dispute that brings money",
        changed(DISPUTE, suspense_minor=1),
        BrokenInvariant,
        "is zero or below it",
    ),
    (
        "a dispute won that takes money",
        changed(DISPUTE, event_type="dispute_won"),
        BrokenInvariant,
        "is zero or above it",
    ),
    (
        "suspense too large",
        changed(DISPUTE, suspense_minor=-(10**15) - 1),
        MalformedRecord,
        "suspense_minor",
    ),
    ("payout twice", changed(REQUEST, available_delta_minor=-200), BrokenInvariant, "minus"),
]


@pytest.mark.parametrize(
    ("bad", "kind", "text"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_wrong_is_named(bad: Record, kind: type[DecodeError], text: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(bad)
    assert type(caught.value) is kind
    assert text.lower() in str(caught.value).lower()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_reasons_differ_between_kinds() -> None:
    kinds = {case[2] for case in WRONG}
    assert len({kind.reason for kind in kinds}) == len(kinds) == 7


def test_an_event_and_its_place() -> None:
    found = decode(record(CAPTURE, partition=3, offset=42))
    assert found.event == CAPTURE
    assert (found.partition, found.offset, found.op) == (3, 42, "c")
    assert (found.txid, found.lsn, found.committed_at_ms) == (4711, 987_654, COMMITTED_AT_MS)


def test_a_row_of_the_snapshot_has_op_r_and_may_lack_a_transaction() -> None:
    found = decode(record(CAPTURE, op="r", source={"ts_ms": 5, "txId": None, "lsn": None}))
    assert (found.op, found.txid, found.lsn, found.committed_at_ms) == ("r", 0, 0, 5)


def test_columns_that_we_do_not_know_are_ignored() -> None:
    assert decode(changed(loyalty_points=12)).event == CAPTURE
    assert decode(enveloped(transaction={"id": "x"}, ts_ns=1)).event == CAPTURE


def test_times_are_brought_to_utc() -> None:
    found = decode(
        changed(occurred_at="2026-01-01T00:30:00+02:00", recorded_at="2026-01-01T00:30:01Z")
    )
    assert found.event.occurred_at == datetime(2025, 12, 31, 22, 30, tzinfo=UTC)
    assert found.event.occurred_at.tzinfo is found.event.recorded_at.tzinfo is UTC


def test_extremes_that_the_tables_hold_are_taken() -> None:
    largest = changed(
        amount_minor=10**15,
        commission_minor=10**15,
        logistics_fee_minor=0,
        captured_minor=2**63 - 1,
        seq=2**31 - 1,
        occurred_at="1970-01-01T00:00:00Z",
        recorded_at="2149-06-05T23:59:59.999999Z",
        order_id="\x00\u202e é",
    )
    event = decode(largest).event
    assert event.captured_minor == 2**63 - 1
    assert event.order_id == "\x00\u202e é"
