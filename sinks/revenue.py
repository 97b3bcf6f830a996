"""How `seller_revenue` is computed from `ledger_entries`, in one place for every sink.

Income is booked on accounts whose id is the seller it comes from, so the totals of one key need
only that key's entries. Credits are negative in the ledger and positive here.
"""

from schemas.accounts import SELLER_ACCOUNTS
from schemas.effects import Revenue, event_types
from schemas.sql_words import quoted

ACCOUNT_TYPES: tuple[str, ...] = tuple(sorted(SELLER_ACCOUNTS))
"""Account types whose id is a seller; a parameter of the statements."""


def events_of(column: Revenue) -> tuple[str, ...]:
    """Return the events that count in a column of the totals; all others only move earnings."""
    return event_types(lambda effect: effect.revenue is column)


def counted_in(column: Revenue) -> tuple[str, ...]:
    """Return the events whose number is the column's count: what takes one back is none."""
    return event_types(lambda effect: effect.revenue is column and effect.refunded >= 0)


def _is(column: Revenue) -> str:
    return f"event_type IN ({quoted(events_of(column))})"


def _count(column: Revenue) -> str:
    return f"uniqExactIf((payment_id, seq), event_type IN ({quoted(counted_in(column))}))"


_TOTALS = f"""
INSERT INTO seller_revenue_raw
SELECT
    account_id AS seller_id,
    currency,
    day,
    -sumIf(amount_minor, {_is(Revenue.GROSS)}) AS gross_minor,
    sumIf(amount_minor, {_is(Revenue.REFUNDS)}) AS refunds_minor,
    sumIf(amount_minor, {_is(Revenue.CHARGEBACKS)}) AS chargebacks_minor,
    -sumIf(amount_minor, account_type = 'platform_commission') AS commission_minor,
    -sumIf(amount_minor, account_type = 'platform_logistics') AS logistics_fee_minor,
    gross_minor - refunds_minor - chargebacks_minor - commission_minor - logistics_fee_minor
        AS net_minor,
    -sumIf(amount_minor, account_type = 'seller_pending') AS pending_delta_minor,
    -sumIf(amount_minor, account_type = 'seller_available') AS available_delta_minor,
    {_count(Revenue.GROSS)} AS capture_count,
    {_count(Revenue.REFUNDS)} AS refund_count,
    {_count(Revenue.CHARGEBACKS)} AS chargeback_count,
    count() AS entry_count
FROM
(
    -- Each entry once, whether merged or not: rows of one key are equal, so any() returns it.
    SELECT
        account_type, account_id, currency, day, payment_id, seq, leg,
        any(ledger_entries_raw.event_type) AS event_type,
        -- A sum has the type of its terms, and Int64 sums wrap silently.
        toInt128(any(ledger_entries_raw.amount_minor)) AS amount_minor
    FROM ledger_entries_raw
    __WHICH__
    GROUP BY account_type, account_id, currency, day, payment_id, seq, leg
)
GROUP BY account_id, currency, day
"""

REFRESH = _TOTALS.replace(
    "__WHICH__",
    """-- Implied by the condition below; repeated per column, because it halves the CPU time.
    PREWHERE account_id IN (SELECT seller_id FROM revenue_keys)
        AND day IN (SELECT day FROM revenue_keys)
    WHERE account_type IN {account_types:Array(String)}
      AND (account_id, currency, day) IN (SELECT seller_id, currency, day FROM revenue_keys)""",
)
"""Statement of the refresh; the external table `revenue_keys` holds the keys."""

KEYS_TABLE = "revenue_keys"
KEYS_STRUCTURE = "seller_id String, currency String, day Date"

REBUILD = _TOTALS.replace(
    "__WHICH__",
    """WHERE account_type IN {account_types:Array(String)}
      AND cityHash64(account_id) % {parts:UInt32} = {part:UInt32}""",
)
"""Statement that computes all totals of one part of the sellers."""

REBUILD_ENTRIES = 4_000_000
"""Most entries of one part: grouping them then takes less than a few hundred MiB."""
