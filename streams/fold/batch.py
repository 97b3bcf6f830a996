"""Whole batches: records in, rows of every view out, and no record lost on the way.

A batch's rows are the rows of its events one by one, except that of the states of an order or a
payout only the latest is kept: in the table it would replace the others anyway.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.errors import BrokenInvariant, DecodeError
from schemas.events import Event
from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    PIPELINE_PROGRESS,
    Columns,
    DeadLetterRow,
    LedgerEntryRow,
    ProgressRow,
    RevenueKey,
    Table,
    columns_of,
)
from streams.decode import Decoded, SourceRecord, decode
from streams.fold.postings import SELLER_ACCOUNTS
from streams.fold.rows import (
    buyer_order_row,
    instant,
    ledger_entry_rows,
    payment_event_columns,
    payout_row,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedBatch:
    """What a batch of records amounts to; every record is an event or a dead letter.

    `columns` goes to the sink as it is: it includes the dead letters and the progress.
    `revenue_keys` are the keys of `seller_revenue` whose entries it touches. `row_count` counts
    the rows of all tables.
    """

    columns: Mapping[Table, Columns]
    revenue_keys: frozenset[RevenueKey]
    dead_letters: tuple[DeadLetterRow, ...]
    event_count: int

    @property
    def row_count(self) -> int:
        """Rows of all tables together."""
        return sum(len(columns[0]) for columns in self.columns.values() if columns)


def fold(decoded: Decoded) -> dict[Table, Columns]:
    """Every row that one event makes, by table; the same event and place, the same rows.

    Raises:
        BrokenInvariant: the event contradicts itself; `decode` lets none such through.
    """
    return _columns([decoded], ledger_entry_rows(decoded.event), [decoded.event])


def revenue_keys(entries: Iterable[LedgerEntryRow]) -> frozenset[RevenueKey]:
    """Keys of `seller_revenue` that these entries are part of."""
    touched = {
        (entry.account_id, entry.currency, entry.day)
        for entry in entries
        if entry.account_type in SELLER_ACCOUNTS
    }
    return frozenset(RevenueKey(*key) for key in touched)


def fold_batch(
    records: Iterable[SourceRecord], *, consumer: str, parked_at: datetime
) -> FoldedBatch:
    """Fold records of any partitions, in any order; raises nothing for what a record holds.

    `consumer` names who reads, in the progress and in the dead letters; `parked_at` is the time
    that dead letters bear, given because the fold has no clock.
    """
    events: list[Decoded] = []
    entries: list[LedgerEntryRow] = []
    dead_letters: list[DeadLetterRow] = []
    latest: dict[tuple[int, str], Event] = {}
    progress: dict[tuple[str, int], tuple[int, int]] = {}
    for record in records:
        committed_at_ms = record.timestamp
        try:
            decoded = decode(record)
            event = decoded.event
            entries += ledger_entry_rows(event)
        except (DecodeError, AssertionError) as error:
            dead_letters.append(_dead_letter(record, error, consumer, parked_at))
        else:
            events.append(decoded)
            # Of an order's states the highest seq stays; a payout's order_id is its own id.
            order = (event.payment_id.int, event.order_id)
            known = latest.get(order)
            if known is None or known.seq < event.seq:
                latest[order] = event
            committed_at_ms = decoded.committed_at_ms
        place = (record.topic, record.partition)
        if place not in progress or progress[place][0] < record.offset:
            progress[place] = (record.offset, committed_at_ms)
    columns = _columns(events, entries, latest.values())
    columns[DEAD_LETTERS] = columns_of(dead_letters)
    columns[PIPELINE_PROGRESS] = columns_of(
        [
            ProgressRow(consumer, topic, partition, last_offset, instant(committed_at_ms))
            for (topic, partition), (last_offset, committed_at_ms) in progress.items()
        ]
    )
    return FoldedBatch(
        columns=columns,
        revenue_keys=revenue_keys(entries),
        dead_letters=tuple(dead_letters),
        event_count=len(events),
    )


def _columns(
    events: Sequence[Decoded], entries: Sequence[LedgerEntryRow], states: Iterable[Event]
) -> dict[Table, Columns]:
    """Columns by table; `states` are the events whose order's or payout's state is to be kept."""
    orders: list[tuple[Any, ...]] = []
    payouts: list[tuple[Any, ...]] = []
    for event in states:
        if (order := buyer_order_row(event)) is not None:
            orders.append(order)
        elif (payout := payout_row(event)) is not None:
            payouts.append(payout)
    return {
        PAYMENT_EVENTS: payment_event_columns(events),
        LEDGER_ENTRIES: columns_of(entries),
        BUYER_ORDERS: columns_of(orders),
        PAYOUTS: columns_of(payouts),
    }


def _dead_letter(
    record: SourceRecord, error: DecodeError | AssertionError, consumer: str, parked_at: datetime
) -> DeadLetterRow:
    """The record whole, with its place and the reason."""
    # An assertion of the fold that fails is a contradiction in the event that decode missed.
    reason = error.reason if isinstance(error, DecodeError) else BrokenInvariant.reason
    return DeadLetterRow(
        topic=record.topic,
        partition=record.partition,
        kafka_offset=record.offset,
        reason=reason,
        error=str(error),
        raw_key=record.key or b"",
        raw_value=record.value or b"",
        is_null=record.value is None,
        recorded_at=instant(record.timestamp),
        consumer=consumer,
        parked_at=parked_at,
    )
