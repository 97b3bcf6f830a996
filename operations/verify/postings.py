"""Questions about the ledger: does each event balance, and are its postings correct?

The postings are derived a second time, not by the fold's rules but from the event's own columns.
The platform's shares follow from the event's sign, the seller's available balance from
`available_delta_minor`, and suspense from `suspense_minor`. Pending is the remainder of the shares,
the receivable that of all legs, so that they sum to zero. Only the events' signs come from the
table of effects.
"""

from operations.verify.columns import CLICKHOUSE_DAY
from operations.verify.event_question import EventQuestion
from operations.verify.wide import wide
from schemas.accounts import AccountType
from schemas.effects import Claim, event_types
from schemas.lifecycle import Direction
from schemas.sql_words import quoted


def _taking(sign: int) -> str:
    """Return pay-in events that take money from the buyer (+1) or give it back (-1)."""
    return quoted(event_types(lambda e: e.captured - e.refunded == sign, Direction.IN))


def _disputing(claim: Claim) -> str:
    """Return events that open a dispute, or end one."""
    return quoted(event_types(lambda effect: effect.dispute is claim, Direction.IN))


def _payouts(side: str, account: AccountType) -> str:
    """Return payout events with this account on the side `debit` or `credit`."""
    return quoted(event_types(lambda e: getattr(e.transfer, side, None) is account, Direction.OUT))


_IN_TRANSIT, _BANK = AccountType.PAYOUT_IN_TRANSIT, AccountType.BANK

_AMOUNTS = f"""
    SELECT
        payment_id, seq, psp, seller_id,
        toString(currency) AS currency_code, {CLICKHOUSE_DAY} AS event_day,
        toString(event_type) AS type, direction = 'in' AS pay_in,
        toUnixTimestamp(toStartOfMinute(recorded_at)) AS minute,
        multiIf(NOT pay_in, 0, type IN ({_taking(+1)}), 1, type IN ({_taking(-1)}), -1, 0)
            AS taken,
        multiIf(NOT pay_in, 0, type IN ({_disputing(Claim.OPENS)}), {wide("amount_minor")},
                type IN ({_disputing(Claim.ENDS)}), -{wide("amount_minor")}, 0) AS disputed,
        if(pay_in, -{wide("suspense_minor")}, 0) AS suspense,
        -taken * {wide("commission_minor")} AS commission,
        -taken * {wide("logistics_fee_minor")} AS logistics,
        -{wide("available_delta_minor")} AS available,
        if(pay_in, -(taken * {wide("amount_minor")} + commission + logistics + available), 0)
            AS pending,
        if(pay_in, -(commission + logistics + available + pending + disputed + suspense), 0)
            AS receivable,
        multiIf(pay_in, 0, type IN ({_payouts("credit", _IN_TRANSIT)}), -{wide("amount_minor")},
                type IN ({_payouts("debit", _IN_TRANSIT)}), amount_minor, 0) AS in_transit,
        multiIf(pay_in, 0, type IN ({_payouts("credit", _BANK)}), -{wide("amount_minor")},
                type IN ({_payouts("debit", _BANK)}), amount_minor, 0) AS bank
    FROM {{table}} WHERE {{events}}
"""

# Account type, column with the account's id, column with the amount.
_LEGS = (
    ("psp_receivable", "psp", "receivable"),
    ("psp_disputed", "psp", "disputed"),
    ("suspense", "psp", "suspense"),
    ("seller_pending", "seller_id", "pending"),
    ("seller_available", "seller_id", "available"),
    ("platform_commission", "seller_id", "commission"),
    ("platform_logistics", "seller_id", "logistics"),
    ("payout_in_transit", "psp", "in_transit"),
    ("bank", "psp", "bank"),
)


def _hash(
    account_type: str, account_id: str, currency: str, day: str, kind: str, leg: str, minute: str
) -> str:
    columns = (account_type, account_id, currency, day, kind, wide(leg), minute)
    return f"cityHash64({', '.join(columns)})"


_EXPECTED_HASH = " + ".join(
    f"if({amount} = 0, 0, "
    f"{_hash(repr(account), account_id, 'currency_code', 'event_day', 'type', amount, 'minute')})"
    for account, account_id, amount in _LEGS
)
_EXPECTED_COUNT = " + ".join(f"({amount} != 0)" for _, _, amount in _LEGS)
_FOUND_HASH = _hash(
    "toString(account_type)",
    "account_id",
    "toString(currency)",
    "toDate(day)",
    "toString(event_type)",
    "amount_minor",
    "toUnixTimestamp(recorded_minute)",
)
_EXPECTED_TEXTS = ", ".join(
    f"if({amount} = 0, '', concat('{account}:', {account_id}, ' ', toString({amount}), ' ',"
    " currency_code, ' ', toString(event_day), ' ', type, ' ',"
    " toString(toDateTime(minute, 'UTC'))))"
    for account, account_id, amount in _LEGS
)

POSTINGS = EventQuestion(
    name="ledger_entries",
    proves="every event has exactly the postings that follow from it, and no others exist",
    problem="",
    key=("payment_id", "seq"),
    others_day="day",
    sql=f"""
    SELECT
        toString(id) AS payment_id, seq,
        sum(legs) AS expected, sum(entries) AS found,
        max(is_event) AS has_event,
        -- The sums of the hashes are modulo 2^64. That is as good as one hash: an amount that
        -- differs changes its entry's hash, and the entries are counted beside.
        expected != found OR sum(expected_hash) != sum(found_hash) AS differs,
        has_event AND found >= expected AS definite
    FROM (
        SELECT payment_id AS id, toUInt32(seq) AS seq,
            toInt64({_EXPECTED_COUNT}) AS legs, toUInt64({_EXPECTED_HASH}) AS expected_hash,
            toInt64(0) AS entries, toUInt64(0) AS found_hash, toUInt8(1) AS is_event
        FROM ({_AMOUNTS})
        UNION ALL
        SELECT payment_id, toUInt32(seq), 0, 0, 1, {_FOUND_HASH}, 0
        FROM ledger_entries_raw FINAL WHERE {{others}}
    )
    GROUP BY id, seq
    """,
    details=f"""
    SELECT toString(id) AS payment_id, seq,
        arrayStringConcat(arraySort(groupArrayArray(expected)), ', ') AS e_postings,
        arrayStringConcat(arraySort(groupArrayArray(found)), ', ') AS f_postings
    FROM (
        SELECT payment_id AS id, toUInt32(seq) AS seq,
            arrayFilter(text -> text != '', [{_EXPECTED_TEXTS}]) AS expected,
            emptyArrayString() AS found
        FROM ({_AMOUNTS})
        UNION ALL
        SELECT payment_id, toUInt32(seq), [], [concat(toString(account_type), ':', account_id, ' ',
            toString(amount_minor), ' ', toString(currency), ' ', toString(day), ' ',
            toString(event_type), ' ', toString(recorded_minute))]
        FROM ledger_entries_raw FINAL WHERE {{others}}
    )
    GROUP BY id, seq
    """,
)

BALANCE = EventQuestion(
    name="postings_balance",
    proves="the postings of every event sum to zero in each currency",
    problem="unbalanced",
    key=("payment_id", "seq", "currency"),
    others_day="day",
    names_event=False,
    # An event's legs are one insert. If only half of them were seen, a second look sees all.
    sql=f"""
    SELECT toString(id) AS payment_id, toUInt32(seq) AS seq, toString(code) AS currency,
        1 AS expected, 0 AS found, sum(amount) != 0 AS differs, 0 AS definite
    FROM (
        SELECT payment_id AS id, seq, currency AS code, {wide("amount_minor")} AS amount
        FROM ledger_entries_raw FINAL WHERE {{others}}
    )
    GROUP BY id, seq, code
    """,
    details=f"""
    SELECT toString(id) AS payment_id, toUInt32(seq) AS seq, toString(code) AS currency,
        {wide("0")} AS e_sum_minor, sum(amount) AS f_sum_minor
    FROM (
        SELECT payment_id AS id, seq, currency AS code, {wide("amount_minor")} AS amount
        FROM ledger_entries_raw FINAL WHERE {{others}}
    )
    GROUP BY id, seq, code
    """,
)
