"""Fold whole batches: every record becomes rows of the views or a dead letter.

A batch gives the same rows as its events one by one, with one exception: it keeps only the latest
state of an order or a payout, because the table would replace the earlier ones anyway.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from schemas.columns import InstantTexts, instant
from schemas.envelope import WireEnvelope
from schemas.errors import DecodeError
from schemas.events import WireEvent
from schemas.lifecycle import Direction
from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    PIPELINE_PROGRESS,
    Columns,
    DeadLetterRow,
    ProgressRow,
    Table,
    columns_of,
)
from streams.decode import Decoded, SourceRecord
from streams.fold.decode_batch import DecodedBatch, decode_records, stored_event, wire_envelope
from streams.fold.postings import MONEY_EVENTS
from streams.fold.rows import (
    buyer_order_columns,
    event_fields,
    ledger_entry_columns,
    ledger_entry_rows,
    payment_event_columns,
    payout_columns,
)
from streams.records import Records, records_of

FOLDED_TABLES = (PAYMENT_EVENTS, LEDGER_ENTRIES, BUYER_ORDERS, PAYOUTS)
"""The tables that events are folded into. Dead letters and progress come with every batch."""

_Entries = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedBatch:
    """The result of folding a batch; every record is an event or a dead letter.

    `columns` goes to the sink unchanged and includes the dead letters and the progress.
    `minutes` are those in which its ledger entries were recorded. `row_count` counts the rows of
    all tables.
    """

    columns: Mapping[Table, Columns]
    minutes: frozenset[datetime]
    dead_letters: tuple[DeadLetterRow, ...]
    event_count: int

    @property
    def row_count(self) -> int:
        """Number of rows in all tables."""
        return sum(len(columns[0]) for columns in self.columns.values() if columns)


def fold(decoded: Decoded) -> dict[Table, Columns]:
    """Return all rows of one event, by table; the same event and position give the same rows.

    Raises:
        BrokenInvariant: the event contradicts itself. `decode` never returns such an event.
    """
    envelope = wire_envelope(decoded)
    entries = ledger_entry_rows(envelope.after)
    batch = DecodedBatch([envelope], [0], (), event_fields([stored_event(decoded)]))
    return _columns(batch, [decoded.partition], [decoded.offset], entries, FOLDED_TABLES)


def fold_batch(
    records: Iterable[SourceRecord] | Records,
    *,
    consumer: str,
    parked_at: datetime,
    tables: Collection[Table] = FOLDED_TABLES,
) -> FoldedBatch:
    """Fold records of any partitions, in any order; no record content makes it raise.

    `consumer` is the reader's name in the progress and in the dead letters. `parked_at` is the time
    of the dead letters, passed in because the fold has no clock. Only those of `FOLDED_TABLES` that
    are in `tables` get rows.
    """
    records = records_of(records)
    batch = decode_records(records)
    entries: _Entries = []
    if LEDGER_ENTRIES in tables:
        entries, batch = _ledger_entries(batch)
    dead_letters = [
        _dead_letter(records[index], error, consumer, parked_at)
        for index, error in sorted(batch.undecodable, key=itemgetter(0))
    ]
    columns = _columns(
        batch,
        _of(records.partitions, batch.indexes),
        _of(records.offsets, batch.indexes),
        entries,
        tables,
    )
    columns[DEAD_LETTERS] = columns_of(dead_letters)
    columns[PIPELINE_PROGRESS] = columns_of(_progress(records, batch, consumer))
    return FoldedBatch(
        columns=columns,
        minutes=_minutes(columns.get(LEDGER_ENTRIES)),
        dead_letters=tuple(dead_letters),
        event_count=len(batch.envelopes),
    )


def _of(values: Sequence[int], indexes: Sequence[int]) -> Sequence[int]:
    """Return the values at `indexes`, which are ascending and usually cover all values."""
    if len(values) == len(indexes):
        return values
    return [values[index] for index in indexes]


def _ledger_entries(batch: DecodedBatch) -> tuple[_Entries, DecodedBatch]:
    """Return rows of `ledger_entries`, and the batch without events that have no valid postings."""
    entries: _Entries = []
    refused: dict[int, DecodeError] = {}
    for index, envelope in zip(batch.indexes, batch.envelopes, strict=True):
        event = envelope.after
        if event.event_type not in MONEY_EVENTS:
            continue
        try:
            entries += ledger_entry_rows(event)
        except DecodeError as error:
            refused[index] = error
    if not refused:
        return entries, batch
    kept = [place for place, index in enumerate(batch.indexes) if index not in refused]
    return entries, DecodedBatch(
        envelopes=[batch.envelopes[place] for place in kept],
        indexes=[batch.indexes[place] for place in kept],
        undecodable=[*batch.undecodable, *refused.items()],
        fields={
            name: [values[place] for place in kept] if kept else []
            for name, values in batch.fields.items()
        },
    )


def _columns(
    batch: DecodedBatch,
    partitions: Sequence[int],
    offsets: Sequence[int],
    entries: _Entries,
    tables: Collection[Table],
) -> dict[Table, Columns]:
    """Return the columns of `tables`."""
    columns: dict[Table, Columns] = {}
    if PAYMENT_EVENTS in tables:
        columns[PAYMENT_EVENTS] = payment_event_columns(
            batch.fields, batch.envelopes, partitions, offsets
        )
    if LEDGER_ENTRIES in tables:
        columns[LEDGER_ENTRIES] = ledger_entry_columns(entries)
    if BUYER_ORDERS in tables or PAYOUTS in tables:
        states = _latest(batch.envelopes)
        if BUYER_ORDERS in tables:
            columns[BUYER_ORDERS] = buyer_order_columns(
                [event for event in states if event.direction is Direction.IN]
            )
        if PAYOUTS in tables:
            columns[PAYOUTS] = payout_columns(
                [event for event in states if event.direction is Direction.OUT]
            )
    return columns


def _latest(envelopes: Iterable[WireEnvelope]) -> Collection[WireEvent]:
    """Return the event with the highest seq of each order and of each payout."""
    latest: dict[tuple[str, str], WireEvent] = {}
    for envelope in envelopes:
        event = envelope.after
        order = (event.payment_id, event.order_id)  # a payout's order_id is its own id
        known = latest.get(order)
        if known is None or known.seq < event.seq:
            latest[order] = event
    return latest.values()


def _minutes(entries: Columns | None) -> frozenset[datetime]:
    """Return the minutes in which these rows of `ledger_entries` were recorded."""
    if not entries:
        return frozenset()
    minutes = entries[LEDGER_ENTRIES.columns.index("recorded_minute")]
    assert isinstance(minutes, InstantTexts)
    return frozenset(map(minutes.read, set(minutes.raw)))


def _progress(records: Records, batch: DecodedBatch, consumer: str) -> list[ProgressRow]:
    """Return each partition's highest offset and the commit time of the event there."""
    last: dict[tuple[str, int], int] = {}
    offsets = records.offsets
    for index, place in enumerate(zip(records.topics, records.partitions, strict=True)):
        known = last.get(place)
        if known is None or offsets[known] < offsets[index]:
            last[place] = index
    return [
        ProgressRow(
            consumer,
            topic,
            partition,
            offsets[index],
            instant(_committed_at_ms(records, batch, index)),
        )
        for (topic, partition), index in last.items()
    ]


def _committed_at_ms(records: Records, batch: DecodedBatch, index: int) -> int:
    """Return the event's commit time, or the record's time if it has no event."""
    position = bisect_left(batch.indexes, index)
    if position < len(batch.indexes) and batch.indexes[position] == index:
        return batch.envelopes[position].source.ts_ms
    return records.timestamps[index]


def _dead_letter(
    record: SourceRecord, error: DecodeError, consumer: str, parked_at: datetime
) -> DeadLetterRow:
    """Return the unchanged record with its position and the reason."""
    return DeadLetterRow(
        topic=record.topic,
        partition=record.partition,
        kafka_offset=record.offset,
        reason=error.reason,
        error=str(error),
        raw_key=record.key or b"",
        raw_value=record.value or b"",
        is_null=record.value is None,
        recorded_at=instant(record.timestamp),
        consumer=consumer,
        parked_at=parked_at,
    )
