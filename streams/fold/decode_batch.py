"""Records of a batch into events, most of them without an object for an id or a time.

A batch in which all envelopes are written just as Debezium writes them is taken as it stands,
column by column: ids are the texts of the keys, times are texts that a store can cast. In any other
batch each record is looked at by itself, and what is not plain is judged by `streams.decode`. So
there is one judge of what is right: this module may only recognize what that judge would let pass,
and never refuses anything itself.
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
    """What became of each record: an event, with its place among the records, or an error.

    `fields` are the events' as PostgreSQL holds them: for a row of an older schema version not
    what its envelope says, which is what it means today.
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
"""Direction, and whether there is no buyer."""


def decode_records(records: Records) -> DecodedBatch:
    """Every record's event, in order, and the records that have none. Raises nothing."""
    return _all_plain(records) or _one_by_one(records)


def _all_plain(records: Records) -> DecodedBatch | None:
    """All records' events, none of them looked at by itself; None when one may not be plain."""
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
    """Each record's event, or its error."""
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
    version: int = decode.SCHEMA_VERSION  # type: ignore[attr-defined]  # where decode has it from
    return version


def stored_event(decoded: Decoded) -> WireEvent:
    """The row of an event that was decoded, as PostgreSQL holds it."""
    return wire_event(decoded.event if decoded.stored is None else decoded.stored)


def wire_envelope(decoded: Decoded) -> WireEnvelope:
    """An event that was decoded, as Debezium would have written it."""
    return WireEnvelope(
        after=wire_event(decoded.event),
        source=Source(ts_ms=decoded.committed_at_ms, tx_id=decoded.txid, lsn=decoded.lsn),
        op="r" if decoded.op == "r" else "c",
    )


def wire_event(event: Event) -> WireEvent:
    """A row with its id and its times as text."""
    fields = msgspec.structs.asdict(event) | {
        "payment_id": str(event.payment_id),
        "occurred_at": _instant_text(event.occurred_at),
        "recorded_at": _instant_text(event.recorded_at),
    }
    return WireEvent(**fields)


class _PaymentIds(dict[bytes | None, str | None]):
    """Key of a record -> text of the payment's id; None when it is not written as Debezium does.

    Kept for one batch: many of its events are of the same few payments.
    """

    def __missing__(self, key: bytes | None) -> str | None:
        plain = _PLAIN_KEY.fullmatch(key or b"")
        self[key] = payment_id = plain[1].decode() if plain is not None else None
        return payment_id


def _plain_envelopes(values: Sequence[bytes | None]) -> list[WireEnvelope | None]:
    """Envelope for envelope; None for one that is not plain, or not certain to be."""
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
    # Which of the times it is does not matter: Debezium writes none such, so this is rare.
    return [None] * len(envelopes)


def _are_plain(times: Sequence[str]) -> bool:
    """Whether all are UTC times that end in Z and lie within what the tables can hold.

    Arrow reads nothing else with so many characters than what `decode` reads, to the microsecond.
    """
    if not times:
        return True
    try:
        texts = pyarrow.array(times, pyarrow.string())
        if compute.min(compute.binary_length(texts)).as_py() < _LENGTH_TO_SECONDS:
            return False
        if not compute.all(compute.ends_with(texts, "Z")).as_py():
            return False
        # As integers: Python has no object for the year 0.
        span = compute.min_max(texts.cast(_INSTANT).cast(pyarrow.int64())).as_py()
    except ValueError:  # Arrow's own derives from it, and so does that of text without UTF-8
        return False
    return bool(span["min"] >= _EARLIEST and span["max"] < _LATEST)


def _are_keyed(payment_ids: Sequence[str], keys: Sequence[bytes | None]) -> bool:
    """Whether all ids are plain, and each is what the record's key says, as Debezium writes it."""
    if any(key is None or len(key) != _KEY_LENGTH for key in keys):
        return False
    if set(map(len, payment_ids)) != {_ID_LENGTH}:
        return False
    # All lengths are right: so each pair is the same when all of them behind each other are.
    said = _KEY_START + (_KEY_END + _KEY_START).join(payment_ids) + _KEY_END
    ids = "".join(payment_ids)
    digits = ids.replace("-", "")
    try:
        if said.encode() != b"".join(keys):  # type: ignore[arg-type]  # no None is left
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
    """Whether no event contradicts itself: `decode.contradiction` of all of them at once."""
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
    has_shares, sign, reverses = (
        compute.take(pyarrow.array(map(int, column), pyarrow.int64()), number)
        for column in zip(*bounds, strict=True)
    )
    amount, commission, logistics_fee, delta = (
        pyarrow.array(fields[name], pyarrow.int64())
        for name in (
            "amount_minor",
            "commission_minor",
            "logistics_fee_minor",
            "available_delta_minor",
        )
    )
    # Amounts are at most 10^15 here: nothing overflows.
    share = compute.subtract(compute.subtract(amount, commission), logistics_fee)
    highest = compute.multiply(sign, amount)
    lowest = compute.subtract(highest, compute.multiply(reverses, share))
    return bool(
        compute.all(compute.greater_equal(compute.multiply(has_shares, share), 0)).as_py()
        and compute.all(compute.less_equal(lowest, delta)).as_py()
        and compute.all(compute.less_equal(delta, highest)).as_py()
    )


def _instant_text(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat() + "Z"
