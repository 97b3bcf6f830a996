"""The rows of the ClickHouse views, as the fold creates them and the sinks write them.

There is one NamedTuple per table, whose fields are the table's columns in their order. `TABLES`
gives each table's name, its deduplication key and the column whose highest value wins. Amounts are
signed 64-bit minor units; totals of them are 128 bits wide. Every row is a pure function of one
event and its position in the topic, so writing a row again changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from schemas.clickhouse.view import RAW_SUFFIX as RAW_SUFFIX
from schemas.columns import Columns as Columns  # views and their columns go together


class PaymentEventRow(NamedTuple):
    """One event with all columns and its origin; key `(payment_id, seq)`.

    `op` is Debezium's `c` or `r`; `txid` is PostgreSQL's 32-bit transaction id (0 when unknown).
    """

    payment_id: UUID
    seq: int
    event_type: str
    status: str
    fulfilment: str
    dispute: str
    direction: str
    order_id: str
    seller_id: str
    buyer_id: str
    currency: str
    amount_minor: int
    commission_minor: int
    logistics_fee_minor: int
    order_amount_minor: int
    authorized_minor: int
    captured_minor: int
    refunded_minor: int
    released_minor: int
    reserved_minor: int
    pending_minor: int
    available_delta_minor: int
    suspense_minor: int
    psp: str
    psp_reference: str
    method: str
    idempotency_key: str
    schema_version: int
    details: str
    occurred_at: datetime
    recorded_at: datetime
    kafka_partition: int
    kafka_offset: int
    txid: int
    lsn: int
    op: str
    committed_at: datetime


class LedgerEntryRow(NamedTuple):
    """One posting; key `(account_id, currency, day, payment_id, seq, leg, account_type)`.

    Debit is positive, credit negative; `day` is the event's UTC date. `recorded_minute` is the
    start of the UTC minute in which PostgreSQL recorded the event.
    """

    account_type: str
    account_id: str
    currency: str
    day: date
    payment_id: UUID
    seq: int
    leg: int
    event_type: str
    amount_minor: int
    recorded_minute: datetime


class BuyerOrderRow(NamedTuple):
    """One order's latest state; key `(buyer_id, order_id, payment_id)`, highest `seq` wins.

    A buyer whose payment failed may pay for the same order with another payment, so the payment is
    part of the key.
    """

    buyer_id: str
    order_id: str
    payment_id: UUID
    seq: int
    seller_id: str
    currency: str
    status: str
    fulfilment: str
    dispute: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    reserved_minor: int
    psp: str
    method: str
    updated_at: datetime


class PayoutRow(NamedTuple):
    """One payout's latest state; key `(seller_id, payout_id)`, highest `seq` wins."""

    seller_id: str
    payout_id: UUID
    seq: int
    currency: str
    amount_minor: int
    status: str
    provider: str
    provider_reference: str
    method: str
    updated_at: datetime


class ProgressRow(NamedTuple):
    """The progress of one consumer in one partition; highest `last_offset` wins.

    `committed_at` is the PostgreSQL commit time of the last event written.
    """

    consumer: str
    topic: str
    partition: int
    last_offset: int
    committed_at: datetime


class DeadLetterRow(NamedTuple):
    """One whole record that could not be folded; key `(topic, partition, kafka_offset)`.

    `raw_key` and `raw_value` are the record's bytes (a ClickHouse String holds any bytes). If the
    record had no value, `raw_value` is empty and `is_null` is set.
    """

    topic: str
    partition: int
    kafka_offset: int
    reason: str
    error: str
    raw_key: bytes
    raw_value: bytes
    is_null: bool
    recorded_at: datetime
    consumer: str
    parked_at: datetime


class ReconciliationRow(NamedTuple):
    """One difference between our books and a provider's; key `case_id`, highest `version` wins.

    `payment_id` is None if the provider reports something that we do not know.
    """

    case_id: str
    version: int
    provider: str
    provider_reference: str
    category: str
    payment_id: UUID | None
    order_id: str
    seller_id: str
    currency: str
    expected_minor: int
    actual_minor: int
    resolution_status: str
    resolved_by: str
    note: str
    found_at: datetime
    updated_at: datetime


class SellerRevenueRow(NamedTuple):
    """What one seller earned in one currency on one UTC day; key `(seller_id, currency, day)`.

    Computed from the entries of the key in `ledger_entries`. `commission_minor` and
    `logistics_fee_minor` are net of what refunds and lost disputes gave back, and `net = gross -
    refunds - chargebacks - commission - logistics fee`. The two deltas are the day's changes of the
    seller's balances, payouts included. `entry_count` is the number of entries counted.
    """

    seller_id: str
    currency: str
    day: date
    gross_minor: int
    refunds_minor: int
    chargebacks_minor: int
    commission_minor: int
    logistics_fee_minor: int
    net_minor: int
    pending_delta_minor: int
    available_delta_minor: int
    capture_count: int
    refund_count: int
    chargeback_count: int
    entry_count: int


class RevenueKey(NamedTuple):
    """The key of `seller_revenue`; `day` is a UTC date."""

    seller_id: str
    currency: str
    day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One view: its row type, the columns that identify a row, and the version column.

    Of two rows with the same key, the one with the higher version stays. Without a version column,
    rows with the same key are equal by construction. `name` is the view that people read, which
    shows each row once. Programs write `raw`, the table behind it, and read it with FINAL.
    `computed_in` names the tables of a view whose rows ClickHouse computes itself.
    """

    name: str
    row_type: type[tuple[Any, ...]]
    key: tuple[str, ...]
    version: str | None = None
    computed_in: tuple[str, ...] = ()

    @property
    def raw(self) -> str:
        """The table behind the view; it may contain a row twice until ClickHouse merges it."""
        assert not self.computed_in, f"{self.name} is computed; nothing writes its rows"
        return f"{self.name}{RAW_SUFFIX}"

    @property
    def stored_in(self) -> tuple[str, ...]:
        """All tables behind the view, in the order in which a replay exchanges them."""
        return self.computed_in or (self.raw,)

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in table order."""
        fields: tuple[str, ...] = self.row_type._fields  # type: ignore[attr-defined]
        return fields


def columns_of(rows: Sequence[tuple[Any, ...]]) -> Columns:
    """Convert rows to columns."""
    return list(zip(*rows, strict=True))


def rows_of(table: Table, columns: Columns) -> list[tuple[Any, ...]]:
    """Convert columns to rows of the table's row type."""
    return [table.row_type(*values) for values in zip(*columns, strict=True)]


PAYMENT_EVENTS = Table(
    name="payment_events",
    row_type=PaymentEventRow,
    key=("payment_id", "seq"),
    # Debezium may emit an event again at a later offset; the last copy is kept.
    version="kafka_offset",
)
LEDGER_ENTRIES = Table(
    name="ledger_entries",
    row_type=LedgerEntryRow,
    key=("account_id", "currency", "day", "payment_id", "seq", "leg", "account_type"),
)
BUYER_ORDERS = Table(
    name="buyer_orders",
    row_type=BuyerOrderRow,
    key=("buyer_id", "order_id", "payment_id"),
    version="seq",
)
PAYOUTS = Table(name="payouts", row_type=PayoutRow, key=("seller_id", "payout_id"), version="seq")
PIPELINE_PROGRESS = Table(
    name="pipeline_progress",
    row_type=ProgressRow,
    key=("consumer", "topic", "partition"),
    version="last_offset",
)
DEAD_LETTERS = Table(
    name="dead_letters",
    row_type=DeadLetterRow,
    key=("topic", "partition", "kafka_offset"),
    version="parked_at",
)
RECONCILIATION_LOG = Table(
    name="reconciliation_log",
    row_type=ReconciliationRow,
    key=("case_id",),
    version="version",
)
RECENT_ENTRIES = f"recent_entries{RAW_SUFFIX}"
"""Table of the entries recorded lately, in the order of their minutes: a copy by ClickHouse."""
TOTALS = f"totals{RAW_SUFFIX}"
"""Table of the totals that are rolled up from entries; see `schemas.clickhouse.totals`."""

SELLER_REVENUE = Table(
    name="seller_revenue",
    row_type=SellerRevenueRow,
    key=("seller_id", "currency", "day"),
    computed_in=(RECENT_ENTRIES, TOTALS),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            PAYMENT_EVENTS,
            LEDGER_ENTRIES,
            BUYER_ORDERS,
            PAYOUTS,
            PIPELINE_PROGRESS,
            DEAD_LETTERS,
            RECONCILIATION_LOG,
        )
    }
)
"""Tables to which rows are written; ClickHouse computes `SELLER_REVENUE` from `LEDGER_ENTRIES`."""
