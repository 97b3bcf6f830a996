"""Decode a batch of records, mostly without creating Python objects for ids and times.

If every envelope is written exactly as Debezium writes it, the batch is decoded column by column:
ids are the texts of the keys, times are texts that a store can cast. Otherwise each record is
checked separately, and `streams.decode` handles every record that is not plain. Only
`streams.decode` decides what is valid: this module may only recognize records that `streams.decode`
would accept, and must never reject one.
"""

import re
from binascii import unhexlify
from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from operator import is_
from typing import NamedTuple

import msgspec
import pyarrow
from pyarrow import compute

from schemas.envelope import Source, WireEnvelope
from schemas.errors import DecodeError
from schemas.events import Event, WireEvent
from schemas.lifecycle import Direction
from streams import decode
from streams.decode import Decoded
from streams.fold.rows import EventFields, event_fields
from streams.records import Records


class DecodedBatch(NamedTuple):
    """The result for each record: an event with its index among the records, or an error.

    `fields` holds the events as PostgreSQL stores them. For a row of an older schema version this
    differs from its envelope, which holds the event in today's version.
    """

    envelopes: Sequence[WireEnvelope]
    indexes: Sequence[int]
    undecodable: Sequence[tuple[int, DecodeError]]
    fields: EventFields


_decode_wire = msgspec.json.Decoder(WireEnvelope).decode
_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError)
_INSTANT = pyarrow.timestamp("us", tz="UTC")
_EARLIEST, _LATEST = (int(day.timestamp()) * 1_000_000 for day in (decode.EARLIEST, decode.LATEST))
_LENGTH_TO_SECONDS = len("2026-01-05T12:00:00Z")
_ID_LENGTH = len("00000000-0000-0000-0000-000000000000")
_ID_DASHES = (8, 13, 18, 23)
_KEY_START, _KEY_END = '{"payment_id":"', '"}'
_KEY_LENGTH = len(_KEY_START) + _ID_LENGTH + len(_KEY_END)
_PLAIN_KEY = re.compile(
    rb'\{"payment_id":"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"\}'
)
_BUYERS = {(Direction.IN, False), (Direction.OUT, True)}
"""Allowed pairs of direction and "has no buyer"."""


def decode_records(records: Records) -> DecodedBatch:
    """Decode every record, in order, and list those without an event. Raises nothing."""
    return _all_plain(records) or _one_by_one(records)


def _all_plain(records: Records) -> DecodedBatch | None:
    """Decode all records column by column; None if one of them may not be plain."""
    try:
        envelopes = list(map(_decode_wire, records.values))  # type: ignore[arg-type]  # a TypeError
    except _NOT_PLAIN:
        return None
    fields = event_fields([envelope.after for envelope in envelopes])
    if envelopes and not (
        set(fields["schema_version"]) == {_version()}
        and _are_keyed(fields["payment_id"], records.keys)
        and _are_plain(fields["occurred_at"])
        and _are_plain(fields["recorded_at"])
        and _agree(fields)
    ):
        return None
    return DecodedBatch(envelopes, range(len(envelopes)), (), fields)


def _one_by_one(records: Records) -> DecodedBatch:
    """Decode the records one by one, each to an event or an error."""
    plain = _plain_envelopes(records.values)
    version = _version()
    contradiction = decode.contradiction
    payment_ids = _PaymentIds()
    envelopes: list[WireEnvelope] = []
    events: list[WireEvent] = []
    indexes: list[int] = []
    undecodable: list[tuple[int, DecodeError]] = []
    for index, (key, envelope) in enumerate(zip(records.keys, plain, strict=True)):
        if (
            envelope is None
            or (event := envelope.after).schema_version != version
            or event.payment_id != payment_ids[key]
            or contradiction(event) is not None
        ):
            try:
                decoded = decode.decode(records[index])
            except DecodeError as error:
                undecodable.append((index, error))
                continue
            envelope = wire_envelope(decoded)  # noqa: PLW2901
            event = stored_event(decoded)
        envelopes.append(envelope)
        events.append(event)
        indexes.append(index)
    return DecodedBatch(envelopes, indexes, undecodable, event_fields(events))


def _version() -> int:
    version: int = decode.SCHEMA_VERSION  # type: ignore[attr-defined]  # decode imports it
    return version


def stored_event(decoded: Decoded) -> WireEvent:
    """Return the row of a decoded event as PostgreSQL stores it."""
    return wire_event(decoded.event if decoded.stored is None else decoded.stored)


def wire_envelope(decoded: Decoded) -> WireEnvelope:
    """Return a decoded event in the form that Debezium would have written."""
    return WireEnvelope(
        after=wire_event(decoded.event),
        source=Source(ts_ms=decoded.committed_at_ms, tx_id=decoded.txid, lsn=decoded.lsn),
        op="r" if decoded.op == "r" else "c",
    )


def wire_event(event: Event) -> WireEvent:
    """Return a row with its id and its times as text."""
    fields = msgspec.structs.asdict(event) | {
        "payment_id": str(event.payment_id),
        "occurred_at": _instant_text(event.occurred_at),
        "recorded_at": _instant_text(event.recorded_at),
    }
    return WireEvent(**fields)


class _PaymentIds(dict[bytes | None, str | None]):
    """A record's key -> text of the payment's id; None if it is not as Debezium writes it.

    Kept for one batch, because many of its events belong to the same few payments.
    """

    def __missing__(self, key: bytes | None) -> str | None:
        plain = _PLAIN_KEY.fullmatch(key or b"")
        self[key] = payment_id = plain[1].decode() if plain is not None else None
        return payment_id


def _plain_envelopes(values: Sequence[bytes | None]) -> list[WireEnvelope | None]:
    """Decode each envelope; None for one that is not plain, or may not be."""
    envelopes: list[WireEnvelope | None] = []
    for value in values:
        try:
            envelopes.append(_decode_wire(value))  # type: ignore[arg-type]  # None: a TypeError
        except _NOT_PLAIN:
            envelopes.append(None)
    events = [envelope.after for envelope in envelopes if envelope is not None]
    if _are_plain([event.occurred_at for event in events]) and _are_plain(
        [event.recorded_at for event in events]
    ):
        return envelopes
    # No need to find the offending time: Debezium writes no such times, so this is rare.
    return [None] * len(envelopes)


def _are_plain(times: Sequence[str]) -> bool:
    """Return whether all are UTC times that end in Z and lie within the tables' range.

    For texts of at least this length, Arrow accepts only what `decode` accepts, with the same
    result to the microsecond.
    """
    if not times:
        return True
    try:
        texts = pyarrow.array(times, pyarrow.string())
        if compute.min(compute.binary_length(texts)).as_py() < _LENGTH_TO_SECONDS:
            return False
        if not compute.all(compute.ends_with(texts, "Z")).as_py():
            return False
        # As integers, because Python cannot represent the year 0.
        span = compute.min_max(texts.cast(_INSTANT).cast(pyarrow.int64())).as_py()
    except ValueError:  # Arrow's errors and the error for text that is not UTF-8 derive from it
        return False
    return bool(span["min"] >= _EARLIEST and span["max"] < _LATEST)


def _are_keyed(payment_ids: Sequence[str], keys: Sequence[bytes | None]) -> bool:
    """Return whether all ids are plain and equal those in the keys, as Debezium writes them."""
    if any(key is None or len(key) != _KEY_LENGTH for key in keys):
        return False
    if set(map(len, payment_ids)) != {_ID_LENGTH}:
        return False
    # All lengths are right, so the pairs are equal if and only if their concatenations are.
    said = _KEY_START + (_KEY_END + _KEY_START).join(payment_ids) + _KEY_END
    ids = "".join(payment_ids)
    digits = ids.replace("-", "")
    try:
        if said.encode() != b"".join(keys):  # type: ignore[arg-type]  # no None left
            return False
        unhexlify(digits)
    except ValueError:
        return False
    return (
        ids == ids.lower()
        and len(ids) - len(digits) == len(_ID_DASHES) * len(payment_ids)
        and all(set(ids[place::_ID_LENGTH]) == {"-"} for place in _ID_DASHES)
    )


def _agree(fields: EventFields) -> bool:
    """Return whether no event contradicts itself: `decode.contradiction` for the whole batch."""
    directions = fields["direction"]
    without_buyer = map(is_, fields["buyer_id"], repeat(None))
    if not set(zip(directions, without_buyer, strict=True)) <= _BUYERS:
        return False
    kinds = list(zip(directions, fields["event_type"], strict=True))
    numbers = {kind: number for number, kind in enumerate(set(kinds))}
    if not numbers.keys() <= decode.BOUNDS.keys():
        return False
    number = pyarrow.array(map(numbers.__getitem__, kinds), pyarrow.int16(), size=len(kinds))
    bounds = [decode.BOUNDS[kind] for kind in numbers]
    has_shares, sign, reverses, suspense_sign, excess_sign = (
        compute.take(pyarrow.array(map(int, column), pyarrow.int64()), number)
        for column in zip(*bounds, strict=True)
    )
    amount, commission, logistics_fee, delta, suspense = (
        pyarrow.array(fields[name], pyarrow.int64())
        for name in (
            "amount_minor",
            "commission_minor",
            "logistics_fee_minor",
            "available_delta_minor",
            "suspense_minor",
        )
    )
    # Amounts are at most 10^15 here, so nothing overflows.
    share = compute.subtract(compute.subtract(amount, commission), logistics_fee)
    whole = compute.multiply(sign, amount)
    less = compute.subtract(whole, compute.multiply(reverses, share))
    lowest = compute.min_element_wise(whole, less)
    highest = compute.max_element_wise(whole, less)
    beyond = compute.sign(compute.subtract(suspense, compute.multiply(suspense_sign, amount)))
    least, most = compute.min_element_wise(excess_sign, 0), compute.max_element_wise(excess_sign, 0)
    return bool(
        compute.all(compute.greater_equal(compute.multiply(has_shares, share), 0)).as_py()
        and compute.all(compute.less_equal(least, beyond)).as_py()
        and compute.all(compute.less_equal(beyond, most)).as_py()
        and compute.all(compute.less_equal(lowest, delta)).as_py()
        and compute.all(compute.less_equal(delta, highest)).as_py()
    )


def _instant_text(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat() + "Z"
