"""Decode and validate records of the topic: the only place where bytes become typed events.

It stands between Kafka and the fold, and is pure: the same bytes always give the same event or the
same `DecodeError`. It must raise nothing else, because a record that crashed its reader would block
its partition for ever.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from schemas.effects import EFFECTS, Effect, Suspense
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
"""The range of a ClickHouse Date. ClickHouse would silently store another day outside of it."""

_ERROR_TEXT_MAX = 500


class SourceRecord(Protocol):
    """A record in the form of aiokafka's ConsumerRecord.

    `timestamp` is in milliseconds since 1970; Kafka uses -1 for none.
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
    """A `SourceRecord` made of plain values, for callers that have no client's record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """One event and its origin.

    `event` is the event in today's schema version. `stored` is the row exactly as PostgreSQL holds
    it, for the view that stores rows unchanged; it is set only for rows of an older schema version.
    `op` is Debezium's `c` or `r`, `txid` PostgreSQL's 32-bit transaction id (0 when unknown), `lsn`
    its log position (0 when unknown), `committed_at_ms` the commit time in ms since 1970.
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
    """Decode the event in a record of the payments topic.

    Raises:
        DecodeError: the subclass gives the reason. The row's schema version is checked first,
            because a newer row may differ in everything else.
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
    """Decode an envelope that has another version or is invalid: upcast it, or raise the reason.

    Returns the envelope in today's version, and the row as stored. `error` is the strict decoder's
    error, or None if it raised none.
    """
    try:
        versioned = _decode_version(value)
    except _JSON_ERRORS as problem:
        # Not JSON, or so malformed that it has no version.
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
    """Upcast the envelope's row from `version`; returns the envelope and the row as stored."""
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
    """Return the error that describes why valid JSON does not fit the envelope."""
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
    """Return an error for the first enumerated value in the row that this code does not know."""
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
    """Raise `KeyMismatch` unless the key is `{"payment_id": …}` with the row's payment id.

    A different key would mean a different partition, and a payment's events would no longer arrive
    in order.
    """
    try:
        keyed = _decode_key(key or b"")
    except _JSON_ERRORS as error:
        raise KeyMismatch(f'key: is not {{"payment_id": …}}: {_one_line(error)}') from None
    if keyed.payment_id.int != payment_id.int:
        raise KeyMismatch(f"key: names payment {keyed.payment_id}, the row {payment_id}")


def _in_utc(event: Event) -> Event:
    """Return the event with its times in UTC, because a ledger entry's day is the UTC day."""
    try:
        return msgspec.structs.replace(
            event,
            occurred_at=event.occurred_at.astimezone(UTC),
            recorded_at=event.recorded_at.astimezone(UTC),
        )
    except OverflowError as error:  # the offset moves a time in year 1 or 9999 out of range
        raise MalformedRecord(f"occurred_at, recorded_at: {error}") from None


def _impossible_time(event: Event) -> str | None:
    """Describe what is wrong with the event's times, or return None."""
    if EARLIEST <= event.occurred_at < LATEST and EARLIEST <= event.recorded_at < LATEST:
        return None
    return f"occurred_at, recorded_at: must lie from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}"


def contradiction(event: Movement) -> str | None:
    """Describe the contradiction in the event that makes it unfit for the fold, or return None.

    Times are not checked here: callers pass them in two forms, and one of the two is text.
    """
    direction, event_type = event.direction, event.event_type
    bounds = BOUNDS.get((direction, event_type))
    if bounds is None:
        return f"event_type: {event_type} does not happen in direction {direction}"
    if (event.buyer_id is None) is (direction is Direction.IN):
        return "buyer_id: a pay-in has one and a payout has none"
    return bounds.exceeded(event)


class Bounds(NamedTuple):
    """Limits on the amounts of one kind of event, as numbers, so that whole columns can be checked.

    - `has_shares`: commission and logistics fee are part of the amount; the seller's share is the
      rest.
    - `sign`: the available balance changes by at most `sign` times the amount.
    - `reverses`: it may change by less, down to minus the seller's share (+1), or by more, up to
      that (-1).
    - `suspense_sign`: suspense changes by that many times the amount.
    - `excess_sign`: it changes by anything of that sign instead, or not at all.
    """

    has_shares: bool = False
    sign: int = 0
    reverses: int = 0
    suspense_sign: int = 0
    excess_sign: int = 0

    def exceeded(self, event: Movement) -> str | None:
        """Describe what is wrong with the event's amounts, or return None."""
        share = event.amount_minor - event.commission_minor - event.logistics_fee_minor
        if self.has_shares and share < 0:
            return "commission_minor, logistics_fee_minor: together they exceed amount_minor"
        whole = self.sign * event.amount_minor
        lowest, highest = sorted((whole, whole - self.reverses * share))
        beyond_minor = event.suspense_minor - self.suspense_sign * event.amount_minor
        if not min(self.excess_sign, 0) <= _sign_of(beyond_minor) <= max(self.excess_sign, 0):
            return f"suspense_minor: {self._suspense_words()}"
        if lowest <= event.available_delta_minor <= highest:
            return None
        if self.reverses < 0:
            return f"available_delta_minor: must lie from 0 to the seller's share, {share}"
        if self.reverses:
            return f"available_delta_minor: must lie from minus the seller's share, {-share}, to 0"
        if self.sign:
            return f"available_delta_minor: is {'minus ' if self.sign < 0 else ''}the amount"
        return f"available_delta_minor: is zero for {event.event_type}"

    def _suspense_words(self) -> str:
        if self.excess_sign:
            return f"is zero or {'above' if self.excess_sign > 0 else 'below'} it"
        if self.suspense_sign:
            return f"is {'minus ' if self.suspense_sign < 0 else ''}the amount"
        return "is zero for this event"


def _sign_of(number: int) -> int:
    """Return -1, 0 or +1."""
    return (number > 0) - (number < 0)


_EXCESS_SIGNS: Mapping[Suspense, int] = {Suspense.EXCESS: -1, Suspense.RETURN: +1}


def _bounds(effect: Effect) -> Bounds:
    return Bounds(
        has_shares=effect.pot is not None,
        sign=effect.available,
        reverses=effect.refunded,
        suspense_sign=effect.suspense.sign,
        excess_sign=_EXCESS_SIGNS.get(effect.suspense, 0),
    )


BOUNDS: Mapping[tuple[Direction, EventType], Bounds] = {
    (direction, event_type): _bounds(effect)
    for direction, effects in EFFECTS.items()
    for event_type, effect in effects.items()
}
"""(direction, event type) -> bounds. A missing key is an event that cannot happen."""


def _one_line(error: Exception) -> str:
    """Return an error's text on one line, short enough to be stored beside the record."""
    return " ".join(str(error).split())[:_ERROR_TEXT_MAX]
