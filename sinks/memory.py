"""An in-memory sink for tests, with the same guarantees as ClickHouse's.

Of several rows with one key it keeps the one with the highest version, and of equal versions the
later one, like ReplacingMergeTree. It computes the totals in Python, independently of the SQL,
which it thereby checks.
"""

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from schemas.accounts import SELLER_ACCOUNTS, AccountType
from schemas.clickhouse.totals import counted_in, events_of
from schemas.effects import Revenue
from schemas.views import (
    LEDGER_ENTRIES,
    SELLER_REVENUE,
    TABLES,
    Columns,
    LedgerEntryRow,
    RevenueKey,
    SellerRevenueRow,
    Table,
    rows_of,
)

Row = tuple[Any, ...]


class MemorySink:
    """A `ViewSink` that can be inspected with `rows(table)`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[Table, dict[Row, Row]] = {table: {} for table in TABLES.values()}

    def write(self, batch: Mapping[Table, Columns]) -> None:
        """Store each row under its key unless a row with a higher version exists."""
        with self._lock:
            for table, columns in batch.items():
                self._keep(table, columns)

    def note_minutes(self, minutes: Iterable[datetime]) -> None:
        """Do nothing: totals are computed when they are read."""

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def rows(self, table: Table) -> list[Row]:
        """Return what a reader of the view would see, in the order of the keys."""
        with self._lock:
            kept = self._totals() if table is SELLER_REVENUE else self._rows[table]
            return [kept[key] for key in sorted(kept)]

    def _totals(self) -> dict[Row, Row]:
        """Compute the totals of all keys."""
        entries: dict[RevenueKey, list[LedgerEntryRow]] = {}
        for row in self._rows[LEDGER_ENTRIES].values():
            entry = LedgerEntryRow(*row)
            if entry.account_type in SELLER_ACCOUNTS:
                key = RevenueKey(entry.account_id, entry.currency, entry.day)
                entries.setdefault(key, []).append(entry)
        return {key: totals_of(key, of_key) for key, of_key in entries.items()}

    def _keep(self, table: Table, columns: Columns) -> None:
        kept = self._rows[table]
        key_at = [table.columns.index(name) for name in table.key]
        version_at = table.columns.index(table.version) if table.version is not None else None
        for row in rows_of(table, columns):
            key = tuple(row[position] for position in key_at)
            known = kept.get(key)
            if known is None or version_at is None or known[version_at] <= row[version_at]:
                kept[key] = row


def totals_of(key: RevenueKey, entries: list[LedgerEntryRow]) -> SellerRevenueRow:
    """Return one row of `seller_revenue` from all entries of its key."""

    def of_account(account_type: AccountType) -> int:
        return -sum(e.amount_minor for e in entries if e.account_type == account_type)

    def of_column(column: Revenue) -> int:
        events = events_of(column)
        return sum(e.amount_minor for e in entries if e.event_type in events)

    def count(column: Revenue) -> int:
        events = counted_in(column)
        return len({(e.payment_id, e.seq) for e in entries if e.event_type in events})

    gross = -of_column(Revenue.GROSS)
    refunds = of_column(Revenue.REFUNDS)
    chargebacks = of_column(Revenue.CHARGEBACKS)
    commission = of_account(AccountType.PLATFORM_COMMISSION)
    logistics_fee = of_account(AccountType.PLATFORM_LOGISTICS)
    return SellerRevenueRow(
        seller_id=key.seller_id,
        currency=key.currency,
        day=key.day,
        gross_minor=gross,
        refunds_minor=refunds,
        chargebacks_minor=chargebacks,
        commission_minor=commission,
        logistics_fee_minor=logistics_fee,
        net_minor=gross - refunds - chargebacks - commission - logistics_fee,
        pending_delta_minor=of_account(AccountType.SELLER_PENDING),
        available_delta_minor=of_account(AccountType.SELLER_AVAILABLE),
        capture_count=count(Revenue.GROSS),
        refund_count=count(Revenue.REFUNDS),
        chargeback_count=count(Revenue.CHARGEBACKS),
        entry_count=len(entries),
    )
