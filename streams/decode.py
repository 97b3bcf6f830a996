"""Records of the topic into events: the one place where bytes become typed, and are judged.

Between Kafka and the fold. Pure: the same bytes give the same event or the same `DecodeError`,
whenever and wherever. Nothing else may come out of it, because a record that crashed its reader
would stop a partition for ever.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from schemas.effects import EFFECTS, Effect, Move
from schemas.envelope import Envelope
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
from schemas.events import SCHEMA_VERSION, Event, Movement, StoredEvent
from schemas.lifecycle import Direction, Dispute, EventType, Fulfilment, Status
from schemas.upcast import upcast

Row = dict[str, Any]

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2149, 6, 6, tzinfo=UTC)
"""The days that a ClickHouse Date can hold; outside of them it would silently hold another."""

_ERROR_TEXT_MAX = 500


class SourceRecord(Protocol):
    """A record as Kafka's clients give it; aiokafka's ConsumerRecord is one as it is.

    `timestamp` is milliseconds since 1970 (Kafka's -1 for none).
    """

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Record(NamedTuple):
    """A `SourceRecord` of plain values, for whoever has none at hand."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """One event and where it came from.

    `stored` is set for a row of an older schema version only: the row as PostgreSQL holds it, for
    the view that holds rows as they are, while `event` is what it means today, for all others.
    `op` is Debezium's `c` or `r`, `txid` PostgreSQL's 32 bit transaction id (0 when unknown),
    `lsn` its log position (0 when unknown), `committed_at_ms` the commit time in ms since 1970.
    """

    event: Event
    topic: str
    partition: int
    offset: int
    op: str
    txid: int
    lsn: int
    committed_at_ms: int
    stored: Event | None = None


class _Key(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    payment_id: UUID


class _Versioned(msgspec.Struct, gc=False):
    schema_version: int | None = None


class _VersionedEnvelope(msgspec.Struct, gc=False):
    after: _Versioned | None = None


class _StoredEnvelope(msgspec.Struct, gc=False):
    after: StoredEvent


class _RawEnvelope(msgspec.Struct, gc=False):
    op: str
    after: Row | None = None


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_key = msgspec.json.Decoder(_Key).decode
_decode_version = msgspec.json.Decoder(_VersionedEnvelope).decode
_decode_stored = msgspec.json.Decoder(_StoredEnvelope).decode
_decode_raw = msgspec.json.Decoder(_RawEnvelope).decode
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_INSERTS = frozenset({"c", "r"})


def decode(record: SourceRecord) -> Decoded:
    """The event in a record of the payments topic.

    Raises:
        DecodeError: of the kind that says what is wrong. A row's schema version is judged before
            anything else of the row, because a newer row may differ in everything else.
    """
    value = record.value
    if value is None:
        raise NullRecord("the record has no value (a tombstone); nothing deletes payments")
    stored = None
    try:
        envelope = _decode_envelope(value)
    except _JSON_ERRORS as error:
        envelope, stored = _decode_slowly(value, error)
    event = envelope.after
    if event is not None and event.schema_version != SCHEMA_VERSION:
        envelope, stored = _decode_slowly(value, None)
        event = envelope.after
    if envelope.op not in _INSERTS:
        raise UnexpectedChange(f"op: {envelope.op!r} is neither c (insert) nor r (snapshot)")
    if event is None:
        raise MalformedRecord("after: is null; an insert has a row")
    _check_key(record.key, event.payment_id)
    if event.occurred_at.tzinfo is not UTC or event.recorded_at.tzinfo is not UTC:
        event = _in_utc(event)
    problem = _impossible_time(event) or contradiction(event)
    if problem is not None:
        raise BrokenInvariant(f"{problem}; payment {event.payment_id} seq {event.seq}")
    source = envelope.source
    return Decoded(
        event,
        record.topic,
        record.partition,
        record.offset,
        envelope.op,
        source.tx_id or 0,
        source.lsn or 0,
        source.ts_ms,
        stored,
    )


def _decode_slowly(value: bytes, error: Exception | None) -> tuple[Envelope, Event]:
    """An envelope that is not of our version or not right: upcast it, or say what is wrong.

    Returns it as it reads today, and the row as it is stored. `error` is what the strict decoder
    said, None when it had nothing to say.
    """
    try:
        versioned = _decode_version(value)
    except _JSON_ERRORS as problem:
        # Not JSON, or too wrong to have a version.
        raise MalformedRecord(_one_line(error or problem)) from None
    version = versioned.after.schema_version if versioned.after is not None else None
    if version is not None and version > SCHEMA_VERSION:
        raise NewerSchema(
            f"schema_version: {version} is newer than {SCHEMA_VERSION}, which this code reads;"
            " upgrade, then redrive"
        )
    if version is not None and 1 <= version < SCHEMA_VERSION:
        return _upcast(value, version)
    raise _diagnosis(value, error)


def _upcast(value: bytes, version: int) -> tuple[Envelope, Event]:
    """The envelope with its row brought from `version` to ours, and the row as it is stored."""
    try:
        stored = _decode_stored(value).after
        raw: Row = msgspec.json.decode(value, type=Row)
    except _JSON_ERRORS as error:
        raise _diagnosis(value, error) from None
    row = upcast(raw["after"], version)
    try:
        return msgspec.convert(raw | {"after": row}, Envelope), _in_utc(stored)
    except msgspec.ValidationError as error:
        raise _unknown_word(row) or MalformedRecord(
            f"row of schema_version {version}, upcast to {SCHEMA_VERSION}: {_one_line(error)};"
            " correct the upcaster, then redrive"
        ) from None


def _diagnosis(value: bytes, error: Exception | None) -> DecodeError:
    """The kind of what is wrong with JSON that does not fit the envelope."""
    try:
        raw = _decode_raw(value)
    except _JSON_ERRORS as problem:
        return MalformedRecord(_one_line(error or problem))
    if raw.op not in _INSERTS:
        return UnexpectedChange(f"op: {raw.op!r} is neither c (insert) nor r (snapshot)")
    return _unknown_word(raw.after or {}) or MalformedRecord(
        _one_line(error) if error else "schema_version: is not a version"
    )


def _unknown_word(row: Row) -> UnknownEvent | None:
    """The first word of a row that is not in our vocabulary."""
    for column, known in _VOCABULARY.items():
        word = row.get(column)
        if isinstance(word, str) and word not in known:
            return UnknownEvent(
                f"{column}: {word[:64]!r} is not known to this code; upgrade, then redrive"
            )
    return None


_VOCABULARY: Mapping[str, frozenset[str]] = {
    "event_type": frozenset(EventType),
    "status": frozenset(Status),
    "fulfilment": frozenset(Fulfilment),
    "dispute": frozenset(Dispute),
    "direction": frozenset(Direction),
}


def _check_key(key: bytes | None, payment_id: UUID) -> None:
    """Raise `KeyMismatch` unless the key is `{"payment_id": …}` of the row's payment.

    Another key means another partition, and then a payment's events no longer come in order.
    """
    try:
        keyed = _decode_key(key or b"")
    except _JSON_ERRORS as error:
        raise KeyMismatch(f'key: is not {{"payment_id": …}}: {_one_line(error)}') from None
    if keyed.payment_id.int != payment_id.int:
        raise KeyMismatch(f"key: names payment {keyed.payment_id}, the row {payment_id}")


def _in_utc(event: Event) -> Event:
    """The event with its times in UTC: a ledger entry's day is the UTC day."""
    try:
        return msgspec.structs.replace(
            event,
            occurred_at=event.occurred_at.astimezone(UTC),
            recorded_at=event.recorded_at.astimezone(UTC),
        )
    except OverflowError as error:  # year 1 or 9999, and the offset leads out of it
        raise MalformedRecord(f"occurred_at, recorded_at: {error}") from None


def _impossible_time(event: Event) -> str | None:
    """What is wrong with the event's times, or None."""
    if EARLIEST <= event.occurred_at < LATEST and EARLIEST <= event.recorded_at < LATEST:
        return None
    return f"occurred_at, recorded_at: must lie from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}"


def contradiction(event: Movement) -> str | None:
    """What in the event contradicts itself so that the fold cannot rely on it, or None.

    Its times apart, which are text in one of the two forms that an event is judged in.
    """
    direction, event_type = event.direction, event.event_type
    bounds = BOUNDS.get((direction, event_type))
    if bounds is None:
        return f"event_type: {event_type} does not happen in direction {direction}"
    if (event.buyer_id is None) is (direction is Direction.IN):
        return "buyer_id: a pay-in has one and a payout has none"
    return bounds.exceeded(event)


class Bounds(NamedTuple):
    """What the amounts of one kind of event keep to, in numbers: also whole columns are judged so.

    - `has_shares`: commission and logistics fee are part of the amount; the seller's share is the
      rest.
    - `sign`: the payable balance changes by so many times the amount, at most.
    - `reverses`: it may change by less, down to minus the seller's share.
    """

    has_shares: bool = False
    sign: int = 0
    reverses: bool = False

    def exceeded(self, event: Movement) -> str | None:
        """What is wrong with the event's amounts, or None."""
        share = event.amount_minor - event.commission_minor - event.logistics_fee_minor
        if self.has_shares and share < 0:
            return "commission_minor, logistics_fee_minor: together they exceed amount_minor"
        highest = self.sign * event.amount_minor
        lowest = highest - share if self.reverses else highest
        if lowest <= event.available_delta_minor <= highest:
            return None
        if self.reverses:
            return f"available_delta_minor: must lie from minus the seller's share, {-share}, to 0"
        if self.sign:
            return f"available_delta_minor: is {'minus ' if self.sign < 0 else ''}the amount"
        return f"available_delta_minor: is zero for {event.event_type}"


def _bounds(effect: Effect) -> Bounds:
    reverses = effect.move is Move.REVERSE
    return Bounds(has_shares=effect.pot is not None, sign=effect.available, reverses=reverses)


BOUNDS: Mapping[tuple[Direction, EventType], Bounds] = {
    (direction, event_type): _bounds(effect)
    for direction, effects in EFFECTS.items()
    for event_type, effect in effects.items()
}
"""Direction and event type -> bounds; a missing key is an event that cannot happen."""


def _one_line(error: Exception) -> str:
    """An error's text on one line, short enough to be stored beside the record."""
    return " ".join(str(error).split())[:_ERROR_TEXT_MAX]
