"""Whole batches: records in, rows of every view out, and no record lost on the way.

A batch's rows are the rows of its events one by one, except that of the states of an order or a
payout only the latest is kept: in the table it would replace the others anyway.
"""

from collections.abc import Iterable, Mapping
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
    DeadLetterRow,
    LedgerEntryRow,
    PaymentEventRow,
    ProgressRow,
    RevenueKey,
    Table,
)
from streams.decode import Decoded, SourceRecord, decode
from streams.fold.postings import SELLER_ACCOUNTS
from streams.fold.rows import (
    buyer_order_row,
    instant,
    ledger_entry_rows,
    payment_event_row,
    payout_row,
)

Rows = Mapping[Table, list[tuple[Any, ...]]]
"""Table -> its rows. The row types are in `schemas/views.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedBatch:
    """What a batch of records amounts to; every record is an event or a dead letter.

    `rows` goes to the sink as it is, with the dead letters and the progress; `revenue_keys` are the
    keys of `seller_revenue` whose entries it touches.
    """

    rows: Rows
    revenue_keys: frozenset[RevenueKey]
    event_count: int

    @property
    def dead_letters(self) -> list[DeadLetterRow]:
        """The records that could not be decoded or folded, also in `rows`."""
        return self.rows[DEAD_LETTERS]  # type: ignore[return-value]


def fold(decoded: Decoded) -> Rows:
    """Every row that one event makes, by table; the same event and position, the same rows.

    Raises:
        BrokenInvariant: the event contradicts itself; `decode` lets none such through.
    """
    event = decoded.event
    order, payout = buyer_order_row(event), payout_row(event)
    return {
        BUYER_ORDERS: [order] if order is not None else [],
        PAYOUTS: [payout] if payout is not None else [],
        LEDGER_ENTRIES: list(ledger_entry_rows(event)),
        PAYMENT_EVENTS: [payment_event_row(decoded)],
    }


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
    events: list[PaymentEventRow] = []
    entries: list[LedgerEntryRow] = []
    dead_letters: list[DeadLetterRow] = []
    latest: dict[tuple[int, str], Event] = {}
    progress: dict[tuple[str, int], tuple[int, int]] = {}
    for record in records:
        committed_at_ms = record.timestamp
        try:
            decoded = decode(record)
            event = decoded.event
            legs = ledger_entry_rows(event)
        except (DecodeError, AssertionError) as error:
            dead_letters.append(_dead_letter(record, error, consumer, parked_at))
        else:
            events.append(payment_event_row(decoded))
            entries += legs
            # Of an order's states the highest seq stays; a payout's order_id is its own id.
            order = (event.payment_id.int, event.order_id)
            known = latest.get(order)
            if known is None or known.seq < event.seq:
                latest[order] = event
            committed_at_ms = decoded.committed_at_ms
        place = (record.topic, record.partition)
        if place not in progress or progress[place][0] < record.offset:
            progress[place] = (record.offset, committed_at_ms)
    orders = (buyer_order_row(event) for event in latest.values())
    payouts = (payout_row(event) for event in latest.values())
    return FoldedBatch(
        rows={
            DEAD_LETTERS: list(dead_letters),
            PAYOUTS: [row for row in payouts if row is not None],
            BUYER_ORDERS: [row for row in orders if row is not None],
            LEDGER_ENTRIES: list(entries),
            PAYMENT_EVENTS: list(events),
            PIPELINE_PROGRESS: [
                ProgressRow(consumer, topic, partition, last_offset, instant(committed_at_ms))
                for (topic, partition), (last_offset, committed_at_ms) in progress.items()
            ],
        },
        revenue_keys=revenue_keys(entries),
        event_count=len(events),
    )


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
