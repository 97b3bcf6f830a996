"""Queries on the views for the API: what buyers and sellers may ask, and how far the views are.

Like `sinks.queries`, they read the plain names, the server binds the parameters, and every function
raises what the client raises. Amounts are minor units, from the seller's side positive.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from clickhouse_connect.driver.client import Client

PAYMENTS_OF_ONE_MOST = 50_000
"""Payments of one buyer, or payouts of one seller, that a list can go through: the latest."""

_ORDERS = """
SELECT payment_id, order_id, seller_id, status, fulfilment, dispute, refund_state, currency,
       amount_minor, captured_minor, refunded_minor, updated_at
FROM buyer_orders
WHERE buyer_id = {buyer:String}
    AND (order_id, payment_id) > ({after_order:String}, {after_payment:UUID})
ORDER BY order_id, payment_id
LIMIT {limit:UInt32}
"""
_PAYMENTS_OF_BUYER = """
SELECT payment_id FROM buyer_orders WHERE buyer_id = {buyer:String}
GROUP BY payment_id ORDER BY max(updated_at) DESC
LIMIT {limit:UInt32}
"""
_PAYOUTS_OF_SELLER = """
SELECT payout_id FROM payouts WHERE seller_id = {seller:String}
ORDER BY updated_at DESC
LIMIT {limit:UInt32}
"""
_REVENUE = """
SELECT currency, day, gross_minor, refunds_minor, chargebacks_minor, commission_minor,
       logistics_fee_minor, net_minor, capture_count, refund_count, chargeback_count
FROM seller_revenue
WHERE seller_id = {seller:String} AND day >= {first:Date} AND day <= {last:Date}
ORDER BY currency, day
"""
_BALANCES = """
SELECT currency, pending_minor, available_minor, in_payout_minor, paid_out_minor
FROM seller_balances
WHERE seller_id = {seller:String}
ORDER BY currency
"""
_MOVED = """
SELECT currency,
       sumIf(pending_delta_minor, day < {first:Date}) AS opening_pending,
       sumIf(available_delta_minor, day < {first:Date}) AS opening_available,
       sum(pending_delta_minor) AS closing_pending,
       sum(available_delta_minor) AS closing_available
FROM seller_revenue
WHERE seller_id = {seller:String} AND day <= {last:Date}
GROUP BY currency
ORDER BY currency
"""
# Grouped: an event has one posting for each account, and a statement shows both beside each other.
_STATEMENT = """
SELECT day, currency, payment_id, seq, any(event_type),
       -sumIf(amount_minor, account_type = 'seller_pending'),
       -sumIf(amount_minor, account_type = 'seller_available')
FROM ledger_entries
WHERE account_id = {seller:String}
    AND account_type IN ('seller_pending', 'seller_available')
    AND day >= {first:Date} AND day <= {last:Date}
    AND (day, currency, payment_id, seq)
        > ({after_day:Date}, {after_currency:String}, {after_payment:UUID}, {after_seq:UInt32})
GROUP BY day, currency, payment_id, seq
ORDER BY day, currency, payment_id, seq
LIMIT {limit:UInt32}
"""
_PROGRESS = """
SELECT partition, last_offset, committed_at FROM pipeline_progress
WHERE consumer = {consumer:String} AND topic = {topic:String}
"""
_OLDEST_DEAD_LETTER = """
SELECT min(recorded_at) FROM dead_letters WHERE topic = {topic:String} AND state = 'open'
HAVING count() > 0
"""
_VISIBLE = """
SELECT toString(payment_id), toUInt32(seq), kafka_partition, kafka_offset FROM payment_events
WHERE payment_id IN {payments:Array(UUID)}
    AND (payment_id, seq) IN {events:Array(Tuple(UUID, UInt32))}
"""


class OrderOfBuyer(NamedTuple):
    """One order as its buyer sees it."""

    payment_id: UUID
    order_id: str
    seller_id: str
    status: str
    fulfilment: str
    dispute: str
    refund_state: str
    currency: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    updated_at: datetime


class RevenueOfDay(NamedTuple):
    """What a seller earned in one currency on one UTC day."""

    currency: str
    day: date
    gross_minor: int
    refunds_minor: int
    chargebacks_minor: int
    commission_minor: int
    logistics_fee_minor: int
    net_minor: int
    capture_count: int
    refund_count: int
    chargeback_count: int


class SellerBalance(NamedTuple):
    """What we owe a seller in one currency."""

    currency: str
    pending_minor: int
    available_minor: int
    in_payout_minor: int
    paid_out_minor: int


class StatementSums(NamedTuple):
    """A seller's balances in one currency before the first day and after the last."""

    currency: str
    opening_pending_minor: int
    opening_available_minor: int
    closing_pending_minor: int
    closing_available_minor: int


class StatementLine(NamedTuple):
    """What one event did to a seller's balances."""

    day: date
    currency: str
    payment_id: UUID
    seq: int
    event_type: str
    pending_minor: int
    available_minor: int


class Progress(NamedTuple):
    """How far one partition of the topic is in all views: the last record that is in them."""

    partition: int
    last_offset: int
    committed_at: datetime


def orders_of(
    client: Client, buyer_id: str, after: tuple[str, UUID], limit: int
) -> list[OrderOfBuyer]:
    """A buyer's orders in the order of their ids, after a position."""
    rows = _rows(
        client,
        _ORDERS,
        buyer=buyer_id,
        after_order=after[0],
        after_payment=after[1],
        limit=limit,
    )
    return [OrderOfBuyer(*row)._replace(updated_at=_utc(row[-1])) for row in rows]


def payments_of_buyer(client: Client, buyer_id: str) -> list[UUID]:
    """The ids of a buyer's payments."""
    rows = _rows(client, _PAYMENTS_OF_BUYER, buyer=buyer_id, limit=PAYMENTS_OF_ONE_MOST)
    return [row[0] for row in rows]


def payouts_of_seller(client: Client, seller_id: str) -> list[UUID]:
    """The ids of a seller's payouts."""
    rows = _rows(client, _PAYOUTS_OF_SELLER, seller=seller_id, limit=PAYMENTS_OF_ONE_MOST)
    return [row[0] for row in rows]


def revenue_of(client: Client, seller_id: str, first: date, last: date) -> list[RevenueOfDay]:
    """What a seller earned on each day of a period."""
    rows = _rows(client, _REVENUE, seller=seller_id, first=first, last=last)
    return [RevenueOfDay(*row) for row in rows]


def balances_of(client: Client, seller_id: str) -> list[SellerBalance]:
    """What we owe a seller, by currency."""
    return [SellerBalance(*row) for row in _rows(client, _BALANCES, seller=seller_id)]


def statement_sums(client: Client, seller_id: str, first: date, last: date) -> list[StatementSums]:
    """A seller's balances before and after a period, by currency."""
    rows = _rows(client, _MOVED, seller=seller_id, first=first, last=last)
    return [StatementSums(*row) for row in rows]


def statement_lines(
    client: Client,
    seller_id: str,
    first: date,
    last: date,
    after: tuple[date, str, UUID, int],
    limit: int,
) -> list[StatementLine]:
    """What each event of a period did to a seller's balances, after a position."""
    after_day, after_currency, after_payment, after_seq = after
    rows = _rows(
        client,
        _STATEMENT,
        seller=seller_id,
        first=first,
        last=last,
        after_day=after_day,
        after_currency=after_currency,
        after_payment=after_payment,
        after_seq=after_seq,
        limit=limit,
    )
    return [StatementLine(*row) for row in rows]


def progress_of(client: Client, consumer: str, topic: str) -> list[Progress]:
    """How far each partition is."""
    rows = _rows(client, _PROGRESS, consumer=consumer, topic=topic)
    return [Progress(int(number), int(offset), _utc(at)) for number, offset, at in rows]


def oldest_dead_letter(client: Client, topic: str) -> datetime | None:
    """When the oldest record that is missing from the views was written; None without any."""
    rows = _rows(client, _OLDEST_DEAD_LETTER, topic=topic)
    return _utc(rows[0][0]) if rows else None


def visible_events(
    client: Client, keys: Sequence[tuple[UUID, int]], consumer: str, topic: str
) -> set[tuple[str, int]]:
    """Which of these events are in all views.

    An event is in `payment_events` before it is in the totals, and in the progress after that.
    """
    payments = sorted({payment_id for payment_id, _ in keys})
    rows = _rows(client, _VISIBLE, payments=payments, events=list(keys))
    reached = {each.partition: each.last_offset for each in progress_of(client, consumer, topic)}
    return {
        (str(payment_id), int(seq))
        for payment_id, seq, partition, offset in rows
        if offset <= reached.get(partition, -1)
    }


def _rows(client: Client, question: str, **parameters: Any) -> Sequence[Any]:
    answer: Sequence[Any] = client.query(question, parameters=parameters).result_rows
    return answer


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
