"""Rows of the views from decoded events: one pure function for each table.

`payment_events` takes every event whole, so it is built column by column: no row ever exists, which
is the cheaper half of the hot path. The other tables have a row for some events only.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.events import Event
from schemas.lifecycle import Direction
from schemas.views import BuyerOrderRow, Columns, LedgerEntryRow, PayoutRow
from streams.decode import Decoded
from streams.fold.postings import postings


def instant(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a UTC time, to the millisecond; below 0 (Kafka's none) is 1970."""
    return datetime.fromtimestamp(milliseconds / 1000 if milliseconds > 0 else 0, UTC)


def payment_event_columns(decoded: Sequence[Decoded]) -> Columns:
    """Columns of `payment_events`: each event whole, and its place. Absent texts are empty.

    A row of an older schema version stands here as PostgreSQL holds it, so that the two compare.
    """
    events = [one.stored or one.event for one in decoded]
    return [
        [event.payment_id for event in events],
        [event.seq for event in events],
        [event.event_type for event in events],
        [event.status for event in events],
        [event.fulfilment for event in events],
        [event.dispute for event in events],
        [event.direction for event in events],
        [event.order_id for event in events],
        [event.seller_id for event in events],
        [event.buyer_id or "" for event in events],
        [event.currency for event in events],
        [event.amount_minor for event in events],
        [event.commission_minor for event in events],
        [event.logistics_fee_minor for event in events],
        [event.order_amount_minor for event in events],
        [event.captured_minor for event in events],
        [event.refunded_minor for event in events],
        [event.released_minor for event in events],
        [event.reserved_minor for event in events],
        [event.pending_minor for event in events],
        [event.available_delta_minor for event in events],
        [event.psp for event in events],
        [event.psp_reference or "" for event in events],
        [event.method for event in events],
        [event.idempotency_key for event in events],
        [event.schema_version for event in events],
        [event.details for event in events],
        [event.occurred_at for event in events],
        [event.recorded_at for event in events],
        [one.partition for one in decoded],
        [one.offset for one in decoded],
        [one.txid for one in decoded],
        [one.lsn for one in decoded],
        [one.op for one in decoded],
        [instant(one.committed_at_ms) for one in decoded],
    ]


def ledger_entry_rows(event: Event) -> list[LedgerEntryRow]:
    """Rows of `ledger_entries`, one for each posting; legs are numbered from 0.

    Raises:
        BrokenInvariant: as `postings`.
    """
    legs = postings(event)
    if not legs:
        return []
    day = event.occurred_at.date()
    return [
        LedgerEntryRow(
            account_type,
            account_id,
            event.currency,
            day,
            event.payment_id,
            event.seq,
            leg,
            event.event_type,
            amount_minor,
        )
        for leg, (account_type, account_id, amount_minor) in enumerate(legs)
    ]


def buyer_order_row(event: Event) -> BuyerOrderRow | None:
    """Row of `buyer_orders`: the order's state after this pay-in event; None for a payout's."""
    if event.direction is not Direction.IN or event.buyer_id is None:
        return None
    return BuyerOrderRow(
        buyer_id=event.buyer_id,
        order_id=event.order_id,
        payment_id=event.payment_id,
        seq=event.seq,
        seller_id=event.seller_id,
        currency=event.currency,
        status=event.status,
        fulfilment=event.fulfilment,
        dispute=event.dispute,
        amount_minor=event.order_amount_minor,
        captured_minor=event.captured_minor,
        refunded_minor=event.refunded_minor,
        reserved_minor=event.reserved_minor,
        psp=event.psp,
        method=event.method,
        updated_at=event.occurred_at,
    )


def payout_row(event: Event) -> PayoutRow | None:
    """Row of `payouts`: the payout's state after this event; None for a pay-in's."""
    if event.direction is not Direction.OUT:
        return None
    return PayoutRow(
        seller_id=event.seller_id,
        payout_id=event.payment_id,
        seq=event.seq,
        currency=event.currency,
        amount_minor=event.amount_minor,
        status=event.status,
        provider=event.psp,
        provider_reference=event.psp_reference or "",
        method=event.method,
        updated_at=event.occurred_at,
    )
