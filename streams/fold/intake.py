"""Records of a batch into events, most of them without an object for an id or a time.

An event whose envelope is written just as Debezium writes it is taken as it stands: its id is the
text of its key, its times are text that a store can cast. Everything else is judged by
`streams.decode`, record by record, so there is one judge of what is right: this module may only
recognize what that judge would let pass, and never refuses anything itself.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import pyarrow
from pyarrow import compute

from schemas.envelope import Source, WireEnvelope, WireEvent
from schemas.errors import DecodeError
from schemas.events import Event
from streams import decode
from streams.decode import Decoded
from streams.records import Records


class Intake(NamedTuple):
    """What became of each record: an event, with its place among the records, or an error.

    `stored` has the rows of older schema versions as PostgreSQL holds them, by that place.
    """

    envelopes: list[WireEnvelope]
    indexes: Sequence[int]
    undecodable: Sequence[tuple[int, DecodeError | AssertionError]]
    stored: Mapping[int, WireEvent]


_decode_wire = msgspec.json.Decoder(WireEnvelope).decode
_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError)
_INSTANT = pyarrow.timestamp("us", tz="UTC")
_EARLIEST, _LATEST = (int(day.timestamp()) * 1_000_000 for day in (decode.EARLIEST, decode.LATEST))
_LENGTH_TO_SECONDS = len("2026-01-05T12:00:00Z")
_PLAIN_KEY = re.compile(
    rb'\{"payment_id":"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"\}'
)


def take_in(records: Records) -> Intake:
    """Every record's event, in order, and the records that have none. Raises nothing."""
    plain = _plain_envelopes(records.values)
    version = decode.SCHEMA_VERSION  # type: ignore[attr-defined]  # where decode has it from
    contradiction = decode.contradiction
    payment_ids = _PaymentIds()
    envelopes: list[WireEnvelope] = []
    indexes: list[int] = []
    undecodable: list[tuple[int, DecodeError]] = []
    stored: dict[int, WireEvent] = {}
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
            if decoded.stored is not None:
                stored[index] = wire_event(decoded.stored)
        envelopes.append(envelope)
        indexes.append(index)
    return Intake(envelopes, indexes, undecodable, stored)


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


def _are_plain(times: list[str]) -> bool:
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


def _instant_text(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat() + "Z"
