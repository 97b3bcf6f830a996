"""The views of totals: what sellers earned and are owed, and what accounts hold.

They add up what is rolled up, and entries that are not yet (`schemas.clickhouse.totals`).
"""

from schemas.accounts import AccountType
from schemas.clickhouse.totals import VIEW_SETTINGS, totals_sql
from schemas.clickhouse.view import CURRENCY, RAW_SUFFIX, TEXT, WORD, View, amount, column
from schemas.sql_words import quoted

_REVENUE = totals_sql(
    (
        *("gross_minor", "refunds_minor", "chargebacks_minor"),
        *("platform_commission_minor", "platform_logistics_minor"),
        *("seller_pending_minor", "seller_available_minor"),
        *("capture_count", "refund_count", "chargeback_count", "seller_entry_count"),
    ),
    key=("account_id", "currency", "day"),
)

# Credits are negative in the ledger, and what we owe or have earned is positive here.
SELLER_REVENUE = View(
    name="seller_revenue",
    shows="One row per seller, currency and UTC day: what the seller earned, from ledger_entries.",
    key=("seller_id", "currency", "day"),
    source=f"{_REVENUE}\nWHERE seller_entry_count > 0",
    settings=VIEW_SETTINGS,
    contents=(
        column("seller_id", TEXT, "the seller", "account_id"),
        CURRENCY,
        column("day", "Date", "UTC day"),
        amount("gross", "captured from buyers"),
        amount("refunds", "given back by refunds"),
        amount("chargebacks", "given back by lost disputes"),
        amount(
            "commission",
            "the platform's, net of what refunds and chargebacks gave back",
            "-platform_commission_minor",
        ),
        amount(
            "logistics_fee",
            "the logistics fees, net of what refunds and chargebacks gave back",
            "-platform_logistics_minor",
        ),
        amount(
            "net",
            "the seller's: gross - refunds - chargebacks - commission - logistics_fee",
            "gross_minor - refunds_minor - chargebacks_minor - commission_minor"
            " - logistics_fee_minor",
        ),
        amount(
            "pending_delta",
            "what the day did to the seller's pending balance",
            "-seller_pending_minor",
        ),
        amount(
            "available_delta",
            "what the day did to the payable balance, payouts included",
            "-seller_available_minor",
        ),
        column("capture_count", "UInt64", "number of captures"),
        column("refund_count", "UInt64", "number of refunds"),
        column("chargeback_count", "UInt64", "number of lost disputes"),
        column("entry_count", "UInt64", "number of entries added up", "seller_entry_count"),
    ),
)

_SELLERS_NOW = totals_sql(
    ("seller_pending_minor", "seller_available_minor", "seller_entry_count"),
    key=("account_id", "currency"),
    months=True,
)
# Both halves are grouped as a whole, so that a condition on the seller reaches both tables.
_BALANCE_PARTS = f"""(
    SELECT
        account_id AS seller_id,
        currency,
        -seller_pending_minor AS pending_part,
        -seller_available_minor AS available_part,
        toInt128(0) AS in_payout_part,
        toInt128(0) AS paid_out_part,
        seller_entry_count AS entry_part,
        toUInt64(0) AS payout_event_part
    FROM {_SELLERS_NOW}
    WHERE seller_entry_count > 0
    UNION ALL
    SELECT
        seller_id,
        currency,
        toInt128(0),
        toInt128(0),
        toInt128(if(status IN ('requested', 'submitted'), amount_minor, 0)),
        toInt128(if(status = 'paid', amount_minor, 0)),
        toUInt64(0),
        toUInt64(seq)
    FROM payouts{RAW_SUFFIX} FINAL
)"""

SELLER_BALANCES = View(
    name="seller_balances",
    shows="One row per seller and currency: what we owe the seller now.",
    key=("seller_id", "currency"),
    source=_BALANCE_PARTS,
    settings=VIEW_SETTINGS,
    grouped=True,
    contents=(
        column("seller_id", TEXT, "the seller"),
        CURRENCY,
        amount("pending", "not payable yet", "sum(pending_part)"),
        amount(
            "available",
            "payable; negative when a refund came after a payout",
            "sum(available_part)",
        ),
        amount("in_payout", "in payouts that are requested or submitted", "sum(in_payout_part)"),
        amount("paid_out", "in payouts that were paid and did not return", "sum(paid_out_part)"),
        column(
            "entry_count",
            "UInt64",
            "number of entries that pending and available add up",
            "sum(entry_part)",
        ),
        column(
            "payout_event_count",
            "UInt64",
            "number of payout events that in_payout and paid_out follow from",
            "sum(payout_event_part)",
        ),
    ),
)

_ACCOUNT_SUMS = tuple(f"{account_type}_minor" for account_type in AccountType)
_ACCOUNT_MEASURES = (*_ACCOUNT_SUMS, "version")


def _by_account(totals: str, columns: str, amount: str) -> str:
    """Return a subquery: a row for each account type whose sum is not zero."""
    return f"""(
    SELECT toLowCardinality(kind) AS account_type, {columns}, account_sum AS {amount},
        version AS entry_count
    FROM {totals}
    ARRAY JOIN [{quoted(AccountType)}] AS kind, [{", ".join(_ACCOUNT_SUMS)}] AS account_sum
    WHERE account_sum != 0
)"""


_ACCOUNT_CONTENTS = (
    column("account_type", WORD, "kind of account, such as seller_pending or bank"),
    column("account_id", TEXT, "seller or provider that the account belongs to"),
    CURRENCY,
)

ACCOUNT_DAYS = View(
    name="account_days",
    shows="One row per account, currency and UTC day: the sum of the day's postings.",
    key=("account_type", "account_id", "currency", "day"),
    source=_by_account(
        totals_sql(_ACCOUNT_MEASURES, key=("account_id", "currency", "day")),
        "account_id, currency, day",
        "amount_minor",
    ),
    settings=VIEW_SETTINGS,
    contents=(
        *_ACCOUNT_CONTENTS,
        column("day", "Date", "UTC day of the events"),
        amount(
            "amount", "signed: debit positive, credit negative; days that sum to zero have no row"
        ),
        column(
            "entry_count",
            "UInt64",
            "number of the day's entries of this account_id, of all its account types",
        ),
    ),
)

ACCOUNT_BALANCES = View(
    name="account_balances",
    shows="One row per account and currency: the sum of all its postings.",
    key=("account_type", "account_id", "currency"),
    source=_by_account(
        totals_sql(_ACCOUNT_MEASURES, key=("account_id", "currency"), months=True),
        "account_id, currency",
        "balance_minor",
    ),
    settings=VIEW_SETTINGS,
    contents=(
        *_ACCOUNT_CONTENTS,
        amount("balance", "signed: debit positive, credit negative; never zero"),
        column(
            "entry_count",
            "UInt64",
            "number of all entries of this account_id, of all its account types",
        ),
    ),
)
