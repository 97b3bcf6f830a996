"""Rows of the views from one decoded event: one pure function for each table.

The functions are given everything they use. Columns are filled in the table's order, positionally:
this is the hot path, and the tests hold each row against its names.
"""

from datetime import UTC, datetime, timedelta

from schemas.events import Event
from schemas.lifecycle import Direction
from schemas.views import BuyerOrderRow, LedgerEntryRow, PaymentEventRow, PayoutRow
from streams.decode import Decoded
from streams.fold.postings import MONEY_EVENTS, postings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a UTC time, exactly; before 1970 (Kafka's -1: none) is 1970."""
    return _EPOCH + timedelta(milliseconds=max(milliseconds, 0))


def payment_event_row(decoded: Decoded) -> PaymentEventRow:
    """Row of `payment_events`: the event whole, and its position. Absent texts are empty."""
    event = decoded.event
    return PaymentEventRow(
        event.payment_id,
        event.seq,
        event.event_type,
        event.status,
        event.fulfilment,
        event.dispute,
        event.direction,
        event.order_id,
        event.seller_id,
        event.buyer_id or "",
        event.currency,
        event.amount_minor,
        event.commission_minor,
        event.logistics_fee_minor,
        event.order_amount_minor,
        event.captured_minor,
        event.refunded_minor,
        event.released_minor,
        event.reserved_minor,
        event.pending_minor,
        event.available_delta_minor,
        event.psp,
        event.psp_reference or "",
        event.method,
        event.idempotency_key,
        event.schema_version,
        event.details,
        event.occurred_at,
        event.recorded_at,
        decoded.partition,
        decoded.offset,
        decoded.txid,
        decoded.lsn,
        decoded.op,
        instant(decoded.committed_at_ms),
    )


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
        event.buyer_id,
        event.order_id,
        event.payment_id,
        event.seq,
        event.seller_id,
        event.currency,
        event.status,
        event.fulfilment,
        event.dispute,
        event.order_amount_minor,
        event.captured_minor,
        event.refunded_minor,
        event.reserved_minor,
        event.psp,
        event.method,
        event.occurred_at,
    )


def payout_row(event: Event) -> PayoutRow | None:
    """Row of `payouts`: the payout's state after this event; None for a pay-in's."""
    if event.direction is not Direction.OUT:
        return None
    return PayoutRow(
        event.seller_id,
        event.payment_id,
        event.seq,
        event.currency,
        event.amount_minor,
        event.status,
        event.psp,
        event.psp_reference or "",
        event.method,
        event.occurred_at,
    )


def moves_money(event: Event) -> bool:
    """Whether the event has postings, and so changes `ledger_entries` and a seller's totals."""
    return event.event_type in MONEY_EVENTS[event.direction]
