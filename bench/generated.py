"""Generates millions of payments in ClickHouse within minutes, as SQL that ClickHouse executes.

It needs no PostgreSQL and no Kafka. It serves measurements that depend only on the amount of data:
bytes at rest and query times. The rows equal those of the fold: a payment of one order and five
events from created to released, and a payout of three events for every `PAYMENTS_PER_PAYOUT`
payments. `tests/integration/test_generated.py` compares them with the fold and runs
`purser verify`'s checks on them.

By default the times are those of live traffic with a million payments a day. A payment's events
reach the topic days apart, between the events of other payments. That compresses worse than history
imported payment by payment, and resembles years of traffic. A `Shape` gives other times, sellers
and currencies: `bench.day_load` puts everything into one day.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date

from clickhouse_connect.driver.client import Client

from schemas.views import BUYER_ORDERS, PAYMENT_EVENTS, PAYOUTS
from sinks.clickhouse import INSERT_SETTINGS, ClickHouseSink
from sinks.client import connect
from sinks.roll_up import RollUp
from sinks.settings import ClickHouseSettings

EVENTS_PER_PAYMENT = 5
EVENTS_PER_PAYOUT = 3
PAYMENTS_PER_PAYOUT = 100
PAYMENTS_PER_DAY = 1_000_000
SELLERS = 20_000
BUYERS = 1_000_000
FIRST_DAY = date(2026, 3, 1)

_MEAN_AMOUNT_MINOR = 4_000
_CHUNK_PAYMENTS = 100_000
_SECOND, _DAY = 1_000_000, 86_400_000_000
STAGING = "generated_events"
"""While a chunk is inserted, this table holds its rows of `payment_events`."""

_ORDER = f"""
SELECT
    {{first:UInt64}} + number * {{step:UInt64}} AS n,
    lower(hex(sipHash128(n, {{kind:String}}, {{seed:UInt64}}))) AS random_hex,
    toUUID(concat(substring(random_hex, 1, 8), '-', substring(random_hex, 9, 4),
        '-5', substring(random_hex, 14, 3), '-a', substring(random_hex, 18, 3),
        '-', substring(random_hex, 21, 12))) AS payment_id,
    sipHash64(n, 'amount', {{seed:UInt64}}) AS random_1,
    sipHash64(n, 'people', {{seed:UInt64}}) AS random_2,
    sipHash64(n, 'times', {{seed:UInt64}}) AS random_3,
    concat('order-', toString({{seed:UInt64}}), '-', toString(n)) AS order_id,
    printf({{seller:String}}, toUInt32({{sellers:UInt32}}
        * pow((random_2 % 1000003) / 1000003, {{skew:Float64}}))) AS seller_id,
    concat('buyer-', toString(random_1 % {BUYERS})) AS buyer_id,
    {{currencies:Array(String)}} AS currencies,
    currencies[1 + random_2 % length(currencies)] AS currency,
    100 + toInt64(-{_MEAN_AMOUNT_MINOR} * log((1 + random_1 % 999983) / 999984)) AS amount,
    intDiv(amount, 10) AS commission,
    intDiv(amount, 20) AS logistics,
    amount - commission - logistics AS share,
    -- Microseconds: even arrivals, then a delay for each event, both with some jitter.
    {{delays:Array(Int64)}} AS delays,
    {{jitters:Array(Int64)}} AS jitters,
    toInt64(n * {{gap:Int64}} + random_3 % jitters[1]) AS created,
    arrayMap((delay, jitter, part) ->
        created + delay + if(delay = 0, 0, toInt64(intDiv(random_3, part) % jitter)),
        delays, jitters, [1, 7, 11, 13, 17]) AS times
FROM numbers({{count:UInt64}})
"""
_EVENT_COLUMNS = ", ".join(PAYMENT_EVENTS.columns)
_PAYMENTS = f"""
INSERT INTO {STAGING} ({_EVENT_COLUMNS})
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
    if({{placed:UInt8}}, random_3 % 6, 0) AS kafka_partition,
    if({{placed:UInt8}}, intDiv(place, 6), 0) AS kafka_offset,
    if({{placed:UInt8}}, (1000 + place) % 4294967296, 0) AS txid,
    if({{placed:UInt8}}, place * 1100 + sipHash64(seq, n) % 700, 0) AS lsn,
    if({{placed:UInt8}}, 'c', 'r') AS op,
    toDateTime64(recorded_at, 3, 'UTC') + toIntervalMillisecond(1) AS committed_at
FROM
(
    SELECT *, seq,
        -- How many events came before: of each kind, those of the payments that were old enough.
        toUInt64(arraySum((delay, jitter) -> least(greatest(
                intDiv(times[seq] - if(delay = 0, 0, delay + intDiv(jitter, 2)), {{gap:Int64}}), 0),
            {{total:Int64}}), delays, jitters)) AS place
    FROM ({_ORDER}) ARRAY JOIN [1, 2, 3, 4, 5] AS seq
)
"""
# A payout of one payment's share, after its release: so no seller's balance is overdrawn.
_PAYOUTS = f"""
INSERT INTO {STAGING} ({_EVENT_COLUMNS})
SELECT
    payment_id,
    seq,
    ['requested', 'submitted', 'paid'][seq] AS event_type,
    event_type AS status,
    'none' AS fulfilment,
    'none' AS dispute,
    'out' AS direction,
    toString(payment_id) AS payout, seller_id, '' AS buyer_id, currency,
    share AS amount_minor,
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
    {{start:DateTime64(6, 'UTC')}}
        + toIntervalMicrosecond({{payout_delay:Int64}} + times[seq]) AS occurred_at,
    occurred_at + toIntervalMicrosecond(1500 + sipHash64(n, seq) % 9000) AS recorded_at,
    if({{placed:UInt8}}, random_3 % 6, 0) AS kafka_partition,
    if({{placed:UInt8}}, intDiv(n * 3 + seq, 6), 0) AS kafka_offset,
    if({{placed:UInt8}}, (1000 + n) % 4294967296, 0) AS txid,
    if({{placed:UInt8}}, n * 1100 + seq, 0) AS lsn,
    if({{placed:UInt8}}, 'c', 'r') AS op,
    toDateTime64(recorded_at, 3, 'UTC') + toIntervalMillisecond(1) AS committed_at
FROM (SELECT *, seq FROM ({_ORDER}) ARRAY JOIN [1, 2, 3] AS seq)
"""
_LEDGER = """
INSERT INTO ledger_entries_raw
    (account_type, account_id, currency, day, payment_id, seq, leg, event_type, amount_minor,
    recorded_minute)
SELECT
    posting.1, posting.2, currency, toDate(occurred_at), payment_id, seq, leg - 1, event_type,
    posting.3, toStartOfMinute(recorded_at)
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
_ORDERS = f"""
INSERT INTO buyer_orders_raw ({", ".join(BUYER_ORDERS.columns)})
SELECT
    buyer_id, order_id, payment_id, seq, seller_id, currency, status, fulfilment, dispute,
    order_amount_minor, captured_minor, refunded_minor, reserved_minor, psp, method, occurred_at
FROM generated_events WHERE direction = 'in' AND seq = 5
"""
_PAYOUT_ROWS = f"""
INSERT INTO payouts_raw ({", ".join(PAYOUTS.columns)})
SELECT
    seller_id, payment_id, seq, currency, order_amount_minor, status, psp, psp_reference, method,
    occurred_at
FROM generated_events WHERE direction = 'out' AND seq = 3
"""
_EVENTS = f"""
INSERT INTO payment_events_raw ({_EVENT_COLUMNS}) SELECT {_EVENT_COLUMNS} FROM {STAGING}
"""
_MINUTES = "SELECT DISTINCT recorded_minute FROM ledger_entries_raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Who sells, in which currencies, and when; times are in microseconds.

    - `skew`: sellers have numbers below `sellers`, and the higher it is, the more sell the first.
    - `seller`: a format of the seller's number.
    - `currencies`: one of these each; a frequent one is there several times.
    - `gap`: between the arrivals of two payments.
    - `delays`, `jitters`: of the five events after the arrival, the least and what chance adds.
    - `payout_delay`: from a payment's arrival until its payout is requested.
    - `placed`: whether the rows have a made-up position in the topic. Without one, they are like
      those of a replay from PostgreSQL, and the positions of other rows keep their meaning.
    """

    first_day: date = FIRST_DAY
    sellers: int = SELLERS
    skew: float = 2.0
    seller: str = "seller-%d"
    currencies: Sequence[str] = ("EUR", "EUR", "USD", "GBP")
    gap: int = _DAY // PAYMENTS_PER_DAY
    delays: Sequence[int] = (0, 400_000, 2 * _SECOND, _DAY, 14 * _DAY)
    jitters: Sequence[int] = (_SECOND, 1_500_000, 3 * _SECOND, 36_000 * _SECOND, 3_600 * _SECOND)
    payout_delay: int = 15 * _DAY
    placed: bool = True


def nothing() -> None:
    """Do nothing with the staged rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Generates the rows of `total` payments and their payouts, some at a time."""

    client: Client
    total: int
    seed: int = 1
    shape: Shape = field(default_factory=Shape)

    def payments(self, first: int, count: int, on_staged: Callable[[], None] = nothing) -> None:
        """Insert `count` payments from number `first` on, in several inserts per table.

        `on_staged` is called before each chunk is inserted, while `STAGING` holds its events.
        """
        for start in range(first, first + count, _CHUNK_PAYMENTS):
            several = min(_CHUNK_PAYMENTS, first + count - start)
            with self._staging():
                self._stage(_PAYMENTS, "payment", start, several, step=1)
                payouts = several // PAYMENTS_PER_PAYOUT
                self._stage(_PAYOUTS, "payout", start, payouts, step=PAYMENTS_PER_PAYOUT)
                on_staged()
                for statement in (_LEDGER, _ORDERS, _PAYOUT_ROWS, _EVENTS):
                    self.client.command(statement, settings=INSERT_SETTINGS)

    @contextmanager
    def _staging(self) -> Iterator[None]:
        self.client.command(f"DROP TABLE IF EXISTS {STAGING}")
        self.client.command(f"CREATE TABLE {STAGING} AS payment_events_raw ENGINE = Memory")
        try:
            yield
        finally:
            self.client.command(f"DROP TABLE {STAGING}")

    def _stage(self, statement: str, kind: str, first: int, count: int, *, step: int) -> None:
        shape = self.shape
        parameters = {
            "seed": self.seed,
            "kind": kind,
            "first": first,
            "step": step,
            "count": count,
            "total": self.total,
            "start": f"{shape.first_day} 00:00:00.000000",
            "seller": shape.seller,
            "sellers": shape.sellers,
            "skew": shape.skew,
            "currencies": list(shape.currencies),
            "gap": shape.gap,
            "delays": list(shape.delays),
            "jitters": list(shape.jitters),
            "payout_delay": shape.payout_delay,
            "placed": int(shape.placed),
        }
        self.client.command(statement, parameters=parameters, settings=INSERT_SETTINGS)


def complete_totals(settings: ClickHouseSettings) -> None:
    """Roll up the totals of everything that was inserted, as the views worker does."""
    with (
        closing(connect(settings)) as client,
        closing(ClickHouseSink(settings)) as sink,
        closing(RollUp(settings)) as roll_up,
    ):
        minutes = client.query(_MINUTES).result_rows
        sink.note_minutes(minute.replace(tzinfo=UTC) for (minute,) in minutes)
        roll_up.finish()
