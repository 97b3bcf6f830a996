"""Generates millions of payments in ClickHouse within minutes, as SQL that ClickHouse executes.

It needs no PostgreSQL and no Kafka. It serves measurements that depend only on the amount of data:
bytes at rest and query times. The rows equal those of the fold: a payment of one order and five
events from created to released, and a payout of three events for every `PAYMENTS_PER_PAYOUT`
payments. `tests/integration/test_generated.py` compares them with the fold and runs
`purser verify`'s checks on them.

The times are those of live traffic with a million payments a day. A payment's events reach the
topic days apart, between the events of other payments. That compresses worse than history imported
payment by payment, and resembles years of traffic.
"""

from dataclasses import dataclass
from datetime import date

from clickhouse_connect.driver.client import Client

from schemas.views import RevenueKey
from sinks.clickhouse import INSERT_SETTINGS, ClickHouseSink
from sinks.revenue import ACCOUNT_TYPES

EVENTS_PER_PAYMENT = 5
EVENTS_PER_PAYOUT = 3
PAYMENTS_PER_PAYOUT = 100
PAYMENTS_PER_DAY = 1_000_000
SELLERS = 20_000
BUYERS = 1_000_000
FIRST_DAY = date(2026, 3, 1)

_MEAN_AMOUNT_MINOR = 4_000
_CHUNK_PAYMENTS = 100_000
_PAYOUT_SEED = 1 << 32  # so that payouts get different ids
_STAGING = "generated_events"

_ORDER = f"""
SELECT
    number AS n,
    lower(hex(sipHash128(number, {{seed:UInt64}}))) AS random_hex,
    toUUID(concat(substring(random_hex, 1, 8), '-', substring(random_hex, 9, 4),
        '-5', substring(random_hex, 14, 3), '-a', substring(random_hex, 18, 3),
        '-', substring(random_hex, 21, 12))) AS payment_id,
    sipHash64(n, 'amount', {{seed:UInt64}}) AS random_1,
    sipHash64(n, 'people', {{seed:UInt64}}) AS random_2,
    sipHash64(n, 'times', {{seed:UInt64}}) AS random_3,
    concat('order-', toString({{seed:UInt64}}), '-', toString(n)) AS order_id,
    concat('seller-', toString(toUInt32({SELLERS} * pow((random_2 % 1000003) / 1000003, 2))))
        AS seller_id,
    concat('buyer-', toString(random_1 % {BUYERS})) AS buyer_id,
    ['EUR', 'EUR', 'USD', 'GBP'][1 + random_2 % 4] AS currency,
    100 + toInt64(-{_MEAN_AMOUNT_MINOR} * log((1 + random_1 % 999983) / 999984)) AS amount,
    intDiv(amount, 10) AS commission,
    intDiv(amount, 20) AS logistics,
    amount - commission - logistics AS share,
    -- Microseconds: even arrivals with some jitter; a day and a fortnight with more of it.
    toInt64(n * {{gap:Int64}} + random_3 % 1000000) AS created,
    [created,
     created + 400000 + intDiv(random_3, 7) % 1500000,
     created + 2000000 + intDiv(random_3, 11) % 3000000,
     created + 86400000000 + intDiv(random_3, 13) % 36000000000,
     created + 1209600000000 + intDiv(random_3, 17) % 3600000000] AS times
FROM numbers({{first:UInt64}}, {{count:UInt64}})
"""
_PAYMENTS = f"""
INSERT INTO generated_events
SELECT
    payment_id,
    seq,
    ['created', 'authorized', 'captured', 'shipped', 'released'][seq] AS event_type,
    ['created', 'authorized', 'captured', 'captured', 'captured'][seq] AS status,
    if(seq < 4, 'open', 'shipped') AS fulfilment,
    'none' AS dispute,
    'in' AS direction,
    order_id, seller_id, buyer_id, currency,
    [amount, amount, amount, 0, share][seq] AS amount_minor,
    if(seq IN (1, 3), commission, 0) AS commission_minor,
    if(seq IN (1, 3), logistics, 0) AS logistics_fee_minor,
    amount AS order_amount_minor,
    if(seq < 2, 0, amount) AS authorized_minor,
    if(seq < 3, 0, amount) AS captured_minor,
    0 AS refunded_minor,
    if(seq < 5, 0, share) AS released_minor,
    0 AS reserved_minor,
    if(seq IN (3, 4), share, 0) AS pending_minor,
    if(seq = 5, share, 0) AS available_delta_minor,
    0 AS suspense_minor,
    'stripe' AS psp,
    if(seq = 1, '', concat('pi_', base64Encode(unhex(substring(random_hex, 1, 32))))) AS reference,
    ['card', 'card', 'card', 'wallet', 'bank_transfer'][1 + random_1 % 5] AS method,
    concat('checkout-', toString({{seed:UInt64}}), '-', toString(n),
        ['', '/1', '/2', '/3', '/4'][seq]) AS idempotency_key,
    1 AS schema_version,
    '{{}}' AS details,
    {{start:DateTime64(6, 'UTC')}} + toIntervalMicrosecond(times[seq]) AS occurred_at,
    occurred_at + toIntervalMicrosecond(1500 + sipHash64(n, seq) % 9000) AS recorded_at,
    random_3 % 6 AS kafka_partition,
    intDiv(place, 6) AS kafka_offset,
    (1000 + place) % 4294967296 AS txid,
    place * 1100 + sipHash64(seq, n) % 700 AS lsn,
    'c' AS op,
    toDateTime64(recorded_at, 3, 'UTC') + toIntervalMillisecond(1) AS committed_at
FROM
(
    SELECT *, seq,
        -- How many events came before: of each kind, those of the payments that were old enough.
        toUInt64(arraySum(age -> least(greatest(intDiv(times[seq] - age, {{gap:Int64}}), 0),
            {{total:Int64}}), [0, 1150000, 3500000, 104400000000, 1211400000000])) AS place
    FROM ({_ORDER}) ARRAY JOIN [1, 2, 3, 4, 5] AS seq
)
"""
_PAYOUTS = f"""
INSERT INTO generated_events
SELECT
    payment_id,
    seq,
    ['requested', 'submitted', 'paid'][seq] AS event_type,
    event_type AS status,
    'none' AS fulfilment,
    'none' AS dispute,
    'out' AS direction,
    toString(payment_id) AS payout, seller_id, '' AS buyer_id, currency,
    amount * {PAYMENTS_PER_PAYOUT // 2} AS amount_minor,
    0, 0,
    amount_minor AS order_amount_minor,
    0, 0, 0, 0, 0, 0,
    if(seq = 1, -amount_minor, 0) AS available_delta_minor,
    0 AS suspense_minor,
    'tipalti' AS psp,
    if(seq = 1, '', toString(n)) AS reference,
    'bank_transfer' AS method,
    concat('payout-', toString({{seed:UInt64}}), '-', toString(n), ['', '/1', '/2'][seq]) AS key,
    1 AS schema_version,
    '{{}}' AS details,
    {{start:DateTime64(6, 'UTC')}} + toIntervalDay(15) + toIntervalMicrosecond(times[seq])
        AS occurred_at,
    occurred_at + toIntervalMicrosecond(1500 + sipHash64(n, seq) % 9000) AS recorded_at,
    random_3 % 6 AS kafka_partition,
    intDiv(n * 3 + seq, 6) AS kafka_offset,
    (1000 + n) % 4294967296 AS txid,
    n * 1100 + seq AS lsn,
    'c' AS op,
    toDateTime64(recorded_at, 3, 'UTC') + toIntervalMillisecond(1) AS committed_at
FROM (SELECT *, seq FROM ({_ORDER}) ARRAY JOIN [1, 2, 3] AS seq)
"""
_LEDGER = """
INSERT INTO ledger_entries_raw
    (account_type, account_id, currency, day, payment_id, seq, leg, event_type, amount_minor)
SELECT
    posting.1, posting.2, currency, toDate(occurred_at), payment_id, seq, leg - 1, event_type,
    posting.3
FROM
(
    SELECT *, arrayFilter(entry -> entry.3 != 0, multiIf(
        event_type = 'captured', [
            ('psp_receivable', toString(psp), amount_minor),
            ('seller_pending', seller_id, -pending_minor),
            ('platform_commission', seller_id, -commission_minor),
            ('platform_logistics', seller_id, -logistics_fee_minor)],
        event_type = 'released', [
            ('seller_pending', seller_id, amount_minor),
            ('seller_available', seller_id, -amount_minor)],
        event_type = 'requested', [
            ('seller_available', seller_id, amount_minor),
            ('payout_in_transit', toString(psp), -amount_minor)],
        event_type = 'paid', [
            ('payout_in_transit', toString(psp), amount_minor),
            ('bank', toString(psp), -amount_minor)],
        [])) AS legs
    FROM generated_events
)
ARRAY JOIN legs AS posting, arrayEnumerate(legs) AS leg
"""
_ORDERS = """
INSERT INTO buyer_orders_raw
SELECT
    buyer_id, order_id, payment_id, seq, seller_id, currency, status, fulfilment, dispute,
    order_amount_minor, captured_minor, refunded_minor, reserved_minor, psp, method, occurred_at
FROM generated_events WHERE direction = 'in' AND seq = 5
"""
_PAYOUT_ROWS = """
INSERT INTO payouts_raw
SELECT
    seller_id, payment_id, seq, currency, order_amount_minor, status, psp, psp_reference, method,
    occurred_at
FROM generated_events WHERE direction = 'out' AND seq = 3
"""
_EVENTS = "INSERT INTO payment_events_raw SELECT * FROM generated_events"
_KEYS = """
SELECT DISTINCT account_id, currency, day FROM ledger_entries_raw
WHERE account_type IN {account_types:Array(String)} AND day = {day:Date}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Generates the rows of `total` payments and their payouts, some at a time."""

    client: Client
    total: int
    seed: int = 1
    per_day: int = PAYMENTS_PER_DAY
    first_day: date = FIRST_DAY

    def payments(self, first: int, count: int) -> None:
        """Insert `count` payments from number `first` on, in several inserts per table."""
        for start in range(first, first + count, _CHUNK_PAYMENTS):
            several = min(_CHUNK_PAYMENTS, first + count - start)
            self.client.command(f"DROP TABLE IF EXISTS {_STAGING}")
            self.client.command(f"CREATE TABLE {_STAGING} AS payment_events_raw ENGINE = Memory")
            try:
                self._insert(_PAYMENTS, self.seed, start, several)
                payouts = several // PAYMENTS_PER_PAYOUT
                self._insert(_PAYOUTS, self.seed + _PAYOUT_SEED, start, payouts)
                for statement in (_LEDGER, _ORDERS, _PAYOUT_ROWS, _EVENTS):
                    self.client.command(statement, settings=INSERT_SETTINGS)
            finally:
                self.client.command(f"DROP TABLE {_STAGING}")

    def revenue(self, sink: ClickHouseSink) -> None:
        """Compute the totals of every seller and day, as the views worker does."""
        days = self.client.query("SELECT DISTINCT day FROM ledger_entries_raw ORDER BY day")
        for (day,) in days.result_rows:
            keys = self.client.query(
                _KEYS, parameters={"account_types": list(ACCOUNT_TYPES), "day": day}
            )
            sink.refresh_revenue(RevenueKey(*row) for row in keys.result_rows)

    def _insert(self, statement: str, seed: int, first: int, count: int) -> None:
        parameters = {
            "seed": seed,
            "first": first,
            "count": count,
            "total": self.total,
            "gap": 86_400_000_000 // self.per_day,
            "start": f"{self.first_day} 00:00:00.000000",
        }
        self.client.command(statement, parameters=parameters, settings=INSERT_SETTINGS)
