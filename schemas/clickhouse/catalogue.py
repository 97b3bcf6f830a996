"""What the ClickHouse views show: every view and column, its type, its unit and its meaning.

The one source of the views' SQL (`schemas.clickhouse.generate`), of the comments that `DESCRIBE`
prints, of the tables in docs/reference/views.md, and of what the reader may read. The raw tables
behind the views are in `0001_tables.sql`; their rows are in `schemas.views`. Views of totals are in
`schemas.clickhouse.totals_views`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.clickhouse.totals_views import (
    ACCOUNT_BALANCES,
    ACCOUNT_DAYS,
    SELLER_BALANCES,
    SELLER_REVENUE,
)
from schemas.clickhouse.view import (
    CURRENCY,
    MICROSECONDS,
    MILLISECONDS,
    RAW_SUFFIX,
    TEXT,
    WORD,
    View,
    amount,
    column,
)

# Rows of one key never lie in two partitions, so each partition can be deduplicated by itself.
_BY_PARTITION = "do_not_merge_across_partitions_select_final = 1"

PAYMENT_EVENTS = View(
    name="payment_events",
    shows="One row per event: the row of PostgreSQL's payments, whole, and where it came from.",
    key=("payment_id", "seq"),
    settings=_BY_PARTITION,
    contents=(
        column("payment_id", "UUID", "the payment, or the payout"),
        column("seq", "UInt32", "position in the payment's history: 1, 2, 3 … without gaps"),
        column("event_type", WORD, "what happened: created, captured, refunded, paid, …"),
        column("status", WORD, "state of the charge, or of the payout, after the event"),
        column(
            "fulfilment",
            WORD,
            "state of the goods after the event: open, shipped, delivered; none for a payout",
        ),
        column("dispute", WORD, "state of the dispute after the event: none, open, won, lost"),
        column("direction", WORD, "in: from a buyer; out: to a seller"),
        column("order_id", TEXT, "the order; for a payout its payment_id as text"),
        column("seller_id", TEXT, "the order's seller, or the seller who is paid out"),
        column("buyer_id", TEXT, "the buyer; empty for a payout"),
        CURRENCY,
        amount("amount", "amount of this event, never negative; zero when it has none"),
        amount("commission", "the platform's share of it: planned, taken, or given back"),
        amount("logistics_fee", "the logistics fee's share of it: planned, taken, or given back"),
        amount("order_amount", "amount of the whole order, or of the payout"),
        amount("authorized", "held by the buyer's bank for this order; zero if nothing ever was"),
        amount("captured", "taken from the buyer for this order so far"),
        amount("refunded", "given back so far, by refunds and lost disputes"),
        amount("released", "part of the seller's share that has matured so far"),
        amount("reserved", "requested refunds and open disputes that are not decided yet"),
        amount("pending", "the seller's share that is not payable yet"),
        amount("available_delta", "signed: what the event does to the seller's payable balance"),
        amount(
            "suspense",
            "signed: what the event does to the money at the PSP that no order has a place for",
        ),
        column(
            "psp",
            WORD,
            "payment service provider of the attempt, or where a stray was; or payout provider",
        ),
        column("psp_reference", TEXT, "the provider's id for it; empty when there is none yet"),
        column("method", WORD, "card, bank_transfer, …"),
        column("idempotency_key", TEXT, "idempotency key of the request that caused the event"),
        column(
            "schema_version",
            "UInt16",
            "version of the row's meaning; older rows keep the version they were written with",
        ),
        column("details", TEXT, "JSON; its fields depend on event_type"),
        column("occurred_at", MICROSECONDS, "when it happened in the world; UTC"),
        column("recorded_at", MICROSECONDS, "when it was appended to PostgreSQL; UTC"),
        column("kafka_partition", "UInt32", "Kafka partition of the record"),
        column("kafka_offset", "UInt64", "Kafka offset of the record; the highest one wins"),
        column("txid", "UInt32", "PostgreSQL's transaction id, modulo 2^32; 0 when unknown"),
        column("lsn", "UInt64", "PostgreSQL's log position; says nothing about order"),
        column("op", WORD, "c: a change; r: a row of a snapshot"),
        column("committed_at", MILLISECONDS, "when PostgreSQL committed the event; UTC"),
    ),
)

LEDGER_ENTRIES = View(
    name="ledger_entries",
    shows="One row per posting of double-entry bookkeeping; the postings of an event sum to zero.",
    key=("account_id", "currency", "day", "payment_id", "seq", "leg", "account_type"),
    settings=_BY_PARTITION,
    contents=(
        column("account_type", WORD, "kind of account, such as seller_pending or bank"),
        column("account_id", TEXT, "seller or provider that the account belongs to"),
        CURRENCY,
        column("day", "Date", "UTC day of the event"),
        column("payment_id", "UUID", "payment or payout of the event"),
        column("seq", "UInt32", "position of the event in the payment's history"),
        column("leg", "UInt8", "number of the posting within the event, from 0"),
        column("event_type", WORD, "what happened: captured, released, refunded, …"),
        amount("amount", "signed: debit positive, credit negative"),
        column("recorded_minute", "DateTime('UTC')", "minute in which the event was recorded; UTC"),
    ),
)

BUYER_ORDERS = View(
    name="buyer_orders",
    shows="One row per order of a payment: its latest state.",
    key=("buyer_id", "order_id", "payment_id"),
    contents=(
        column("buyer_id", TEXT, "the buyer"),
        column("order_id", TEXT, "the order"),
        column("payment_id", "UUID", "payment that pays for the order"),
        column("seq", "UInt32", "position of the latest event; the highest one wins"),
        column("seller_id", TEXT, "the seller"),
        CURRENCY,
        column("status", WORD, "state of the charge"),
        column("fulfilment", WORD, "state of the goods: open, shipped, delivered"),
        column("dispute", WORD, "state of the dispute: none, open, won, lost"),
        amount("amount", "amount of the whole order"),
        amount("captured", "taken from the buyer so far"),
        amount("refunded", "given back so far, by refunds and lost disputes"),
        amount("reserved", "requested refunds and open disputes that are not decided yet"),
        column("psp", WORD, "payment service provider"),
        column("method", WORD, "card, bank_transfer, …"),
        column("updated_at", MICROSECONDS, "when the latest event happened; UTC"),
        column(
            "refund_state",
            TEXT,
            "none, partial, or full: all that was captured was given back",
            "multiIf(refunded_minor = 0, 'none', refunded_minor < captured_minor, 'partial',"
            " 'full')",
        ),
    ),
)

PAYOUTS = View(
    name="payouts",
    shows="One row per payout: its latest state.",
    key=("seller_id", "payout_id"),
    contents=(
        column("seller_id", TEXT, "the seller who is paid"),
        column("payout_id", "UUID", "the payout"),
        column("seq", "UInt32", "position of the latest event; the highest one wins"),
        CURRENCY,
        amount("amount", "amount of the payout"),
        column("status", WORD, "requested, submitted, paid, failed, cancelled, returned"),
        column("provider", WORD, "payout provider"),
        column("provider_reference", TEXT, "the provider's id for it; empty when there is none"),
        column("method", WORD, "bank_transfer, …"),
        column("updated_at", MICROSECONDS, "when the latest event happened; UTC"),
    ),
)

RECONCILIATION_LOG = View(
    name="reconciliation_log",
    shows="One row per difference between our books and a provider's.",
    key=("case_id",),
    contents=(
        column("case_id", TEXT, "the case"),
        column("version", "UInt64", "version of the case; the highest one wins"),
        column("provider", WORD, "provider whose statement differs"),
        column("provider_reference", TEXT, "the provider's id for the thing"),
        column("category", WORD, "kind of difference"),
        column("payment_id", "Nullable(UUID)", "the payment; null when we have no matching record"),
        column("order_id", TEXT, "the order; empty when we do not know it"),
        column("seller_id", TEXT, "the seller; empty when we do not know it"),
        CURRENCY,
        amount("expected", "what our books say"),
        amount("actual", "what the provider says"),
        column("resolution_status", WORD, "state of the case"),
        column("resolved_by", TEXT, "who closed the case; empty while it is open"),
        column("note", TEXT, "note for people"),
        column("found_at", MICROSECONDS, "when the difference was found; UTC"),
        column("updated_at", MICROSECONDS, "when the case last changed; UTC"),
        amount("difference", "actual - expected", "toInt128(actual_minor) - expected_minor"),
    ),
)

# A condition on the position reaches both tables' indexes.
_LETTERS = f"""dead_letters{RAW_SUFFIX} AS letters FINAL
LEFT JOIN
(
    SELECT topic, partition, kafka_offset, max(parked_at) AS redriven_parked_at
    FROM dead_letter_redrives{RAW_SUFFIX}
    WHERE outcome = 'redriven'
    GROUP BY topic, partition, kafka_offset
) AS redrives
ON redrives.topic = letters.topic
    AND redrives.partition = letters.partition
    AND redrives.kafka_offset = letters.kafka_offset"""

DEAD_LETTERS = View(
    name="dead_letters",
    shows="One row per record that could not be folded, whole.",
    key=("topic", "partition", "kafka_offset"),
    source=_LETTERS,
    of="letters",
    contents=(
        column("topic", WORD, "Kafka topic of the record"),
        column("partition", "UInt32", "Kafka partition of the record"),
        column("kafka_offset", "UInt64", "Kafka offset of the record"),
        column("reason", WORD, "kind of failure, for programs"),
        column("error", TEXT, "what was wrong, for people"),
        column("raw_key", TEXT, "the record's key, byte for byte"),
        column("raw_value", TEXT, "the record's value, byte for byte"),
        column("is_null", "Bool", "whether the record had no value"),
        column("recorded_at", MILLISECONDS, "the record's time in Kafka; UTC"),
        column("consumer", WORD, "consumer group that could not fold the record"),
        column("parked_at", MICROSECONDS, "when the record was parked; the latest one wins; UTC"),
        column(
            "state",
            TEXT,
            "redriven or open",
            "if(redrives.redriven_parked_at >= letters.parked_at, 'redriven', 'open')",
        ),
    ),
)

DEAD_LETTER_REDRIVES = View(
    name="dead_letter_redrives",
    shows="One row per attempt to redrive a dead letter: an audit, never rebuilt.",
    key=("topic", "partition", "kafka_offset", "redriven_at", "redriven_by"),
    contents=(
        column("topic", WORD, "Kafka topic of the record"),
        column("partition", "UInt32", "Kafka partition of the record"),
        column("kafka_offset", "UInt64", "Kafka offset of the record"),
        column("redriven_at", MICROSECONDS, "when it was tried; UTC"),
        column("redriven_by", TEXT, "who tried it: user@host, or what --by said"),
        column("parked_at", MICROSECONDS, "parked_at of the dead letter that was judged; UTC"),
        column("outcome", WORD, "redriven: its rows are written; still_dead: it cannot be folded"),
        column(
            "reason",
            WORD,
            "why it is still dead: as in dead_letters, or write_refused; else empty",
        ),
        column("error", TEXT, "the same, for people"),
        column("payment_id", "Nullable(UUID)", "payment of the event; null when still dead"),
        column("seq", "UInt32", "position of the event in its payment; 0 when still dead"),
        column("row_count", "UInt32", "number of rows written"),
    ),
)

PIPELINE_PROGRESS = View(
    name="pipeline_progress",
    shows="One row per consumer and Kafka partition: how far the consumer has come.",
    key=("consumer", "topic", "partition"),
    contents=(
        column("consumer", WORD, "consumer group"),
        column("topic", WORD, "Kafka topic that it reads"),
        column("partition", "UInt32", "Kafka partition"),
        column("last_offset", "UInt64", "offset of the last record that is in the views"),
        column("committed_at", MILLISECONDS, "when PostgreSQL committed that record; UTC"),
    ),
)

VIEWS: Mapping[str, View] = MappingProxyType(
    {
        view.name: view
        for view in (
            PAYMENT_EVENTS,
            LEDGER_ENTRIES,
            BUYER_ORDERS,
            SELLER_REVENUE,
            SELLER_BALANCES,
            ACCOUNT_DAYS,
            ACCOUNT_BALANCES,
            PAYOUTS,
            RECONCILIATION_LOG,
            DEAD_LETTERS,
            DEAD_LETTER_REDRIVES,
            PIPELINE_PROGRESS,
        )
    }
)
"""Every view by name, in the order of the documentation: all that the reader may read."""
