"""What the ClickHouse views show: every view and column, its type, its unit and its meaning.

The one source of the views' SQL (`schemas.clickhouse.generate`), of the comments that `DESCRIBE`
prints, of the tables in docs/reference/views.md, and of what the reader may read. The raw tables
behind the views are in `0001_tables.sql`; their rows are in `schemas.views`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.clickhouse.view import RAW_SUFFIX, Amount, Column, View

TEXT = "String"
WORD = "LowCardinality(String)"
MICROSECONDS = "DateTime64(6, 'UTC')"
MILLISECONDS = "DateTime64(3, 'UTC')"


def _column(name: str, type_: str, meaning: str, expression: str = "") -> Column:
    return Column(name=name, type=type_, meaning=meaning, expression=expression)


def _amount(name: str, meaning: str, expression: str = "") -> Amount:
    return Amount(name=name, meaning=meaning, expression=expression)


_CURRENCY = _column("currency", WORD, "ISO 4217 code, such as EUR")
# Rows of one key never lie in two partitions, so each partition can be deduplicated by itself.
_BY_PARTITION = "do_not_merge_across_partitions_select_final = 1"

PAYMENT_EVENTS = View(
    name="payment_events",
    shows="One row per event: the row of PostgreSQL's payments, whole, and where it came from.",
    key=("payment_id", "seq"),
    settings=_BY_PARTITION,
    contents=(
        _column("payment_id", "UUID", "the payment, or the payout"),
        _column("seq", "UInt32", "position in the payment's history: 1, 2, 3 … without gaps"),
        _column("event_type", WORD, "what happened: created, captured, refunded, paid, …"),
        _column("status", WORD, "state of the charge, or of the payout, after the event"),
        _column(
            "fulfilment",
            WORD,
            "state of the goods after the event: open, shipped, delivered; none for a payout",
        ),
        _column("dispute", WORD, "state of the dispute after the event: none, open, won, lost"),
        _column("direction", WORD, "in: from a buyer; out: to a seller"),
        _column("order_id", TEXT, "the order; for a payout its payment_id as text"),
        _column("seller_id", TEXT, "the order's seller, or the seller who is paid out"),
        _column("buyer_id", TEXT, "the buyer; empty for a payout"),
        _CURRENCY,
        _amount("amount", "amount of this event, never negative; zero when it has none"),
        _amount("commission", "the platform's share of it: planned, taken, or given back"),
        _amount("logistics_fee", "the logistics fee's share of it: planned, taken, or given back"),
        _amount("order_amount", "amount of the whole order, or of the payout"),
        _amount("authorized", "held by the buyer's bank for this order; zero if nothing ever was"),
        _amount("captured", "taken from the buyer for this order so far"),
        _amount("refunded", "given back so far, by refunds and lost disputes"),
        _amount("released", "part of the seller's share that has matured so far"),
        _amount("reserved", "requested refunds and open disputes that are not decided yet"),
        _amount("pending", "the seller's share that is not payable yet"),
        _amount("available_delta", "signed: what the event does to the seller's payable balance"),
        _amount(
            "suspense",
            "signed: what the event does to the money at the PSP that no order has a place for",
        ),
        _column(
            "psp",
            WORD,
            "payment service provider of the attempt, or where a stray was; or payout provider",
        ),
        _column("psp_reference", TEXT, "the provider's id for it; empty when there is none yet"),
        _column("method", WORD, "card, bank_transfer, …"),
        _column("idempotency_key", TEXT, "idempotency key of the request that caused the event"),
        _column(
            "schema_version",
            "UInt16",
            "version of the row's meaning; older rows keep the version they were written with",
        ),
        _column("details", TEXT, "JSON; its fields depend on event_type"),
        _column("occurred_at", MICROSECONDS, "when it happened in the world; UTC"),
        _column("recorded_at", MICROSECONDS, "when it was appended to PostgreSQL; UTC"),
        _column("kafka_partition", "UInt32", "Kafka partition of the record"),
        _column("kafka_offset", "UInt64", "Kafka offset of the record; the highest one wins"),
        _column("txid", "UInt32", "PostgreSQL's transaction id, modulo 2^32; 0 when unknown"),
        _column("lsn", "UInt64", "PostgreSQL's log position; says nothing about order"),
        _column("op", WORD, "c: a change; r: a row of a snapshot"),
        _column("committed_at", MILLISECONDS, "when PostgreSQL committed the event; UTC"),
    ),
)

LEDGER_ENTRIES = View(
    name="ledger_entries",
    shows="One row per posting of double-entry bookkeeping; the postings of an event sum to zero.",
    key=("account_id", "currency", "day", "payment_id", "seq", "leg", "account_type"),
    settings=_BY_PARTITION,
    contents=(
        _column("account_type", WORD, "kind of account, such as seller_pending or bank"),
        _column("account_id", TEXT, "seller or provider that the account belongs to"),
        _CURRENCY,
        _column("day", "Date", "UTC day of the event"),
        _column("payment_id", "UUID", "payment or payout of the event"),
        _column("seq", "UInt32", "position of the event in the payment's history"),
        _column("leg", "UInt8", "number of the posting within the event, from 0"),
        _column("event_type", WORD, "what happened: captured, released, refunded, …"),
        _amount("amount", "signed: debit positive, credit negative"),
    ),
)

BUYER_ORDERS = View(
    name="buyer_orders",
    shows="One row per order of a payment: its latest state.",
    key=("buyer_id", "order_id", "payment_id"),
    contents=(
        _column("buyer_id", TEXT, "the buyer"),
        _column("order_id", TEXT, "the order"),
        _column("payment_id", "UUID", "payment that pays for the order"),
        _column("seq", "UInt32", "position of the latest event; the highest one wins"),
        _column("seller_id", TEXT, "the seller"),
        _CURRENCY,
        _column("status", WORD, "state of the charge"),
        _column("fulfilment", WORD, "state of the goods: open, shipped, delivered"),
        _column("dispute", WORD, "state of the dispute: none, open, won, lost"),
        _amount("amount", "amount of the whole order"),
        _amount("captured", "taken from the buyer so far"),
        _amount("refunded", "given back so far, by refunds and lost disputes"),
        _amount("reserved", "requested refunds and open disputes that are not decided yet"),
        _column("psp", WORD, "payment service provider"),
        _column("method", WORD, "card, bank_transfer, …"),
        _column("updated_at", MICROSECONDS, "when the latest event happened; UTC"),
        _column(
            "refund_state",
            TEXT,
            "none, partial, or full: all that was captured was given back",
            "multiIf(refunded_minor = 0, 'none', refunded_minor < captured_minor, 'partial',"
            " 'full')",
        ),
    ),
)

SELLER_REVENUE = View(
    name="seller_revenue",
    shows="One row per seller, currency and UTC day: what the seller earned, from ledger_entries.",
    key=("seller_id", "currency", "day"),
    contents=(
        _column("seller_id", TEXT, "the seller"),
        _CURRENCY,
        _column("day", "Date", "UTC day"),
        _amount("gross", "captured from buyers"),
        _amount("refunds", "given back by refunds"),
        _amount("chargebacks", "given back by lost disputes"),
        _amount("commission", "the platform's, net of what refunds and chargebacks gave back"),
        _amount(
            "logistics_fee", "the logistics fees, net of what refunds and chargebacks gave back"
        ),
        _amount("net", "the seller's: gross - refunds - chargebacks - commission - logistics_fee"),
        _amount("pending_delta", "what the day did to the seller's pending balance"),
        _amount("available_delta", "what the day did to the payable balance, payouts included"),
        _column("capture_count", "UInt64", "number of captures"),
        _column("refund_count", "UInt64", "number of refunds"),
        _column("chargeback_count", "UInt64", "number of lost disputes"),
        _column("entry_count", "UInt64", "number of entries added up; the highest one wins"),
    ),
)

# Both halves are grouped as a whole, so that a condition on the seller reaches both tables.
_BALANCE_PARTS = f"""(
    SELECT
        seller_id,
        currency,
        pending_delta_minor AS pending_part,
        available_delta_minor AS available_part,
        toInt128(0) AS in_payout_part,
        toInt128(0) AS paid_out_part,
        entry_count AS entry_part,
        toUInt64(0) AS payout_event_part
    FROM seller_revenue{RAW_SUFFIX} FINAL
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
    grouped=True,
    contents=(
        _column("seller_id", TEXT, "the seller"),
        _CURRENCY,
        _amount("pending", "not payable yet", "sum(pending_part)"),
        _amount(
            "available",
            "payable; negative when a refund came after a payout",
            "sum(available_part)",
        ),
        _amount("in_payout", "in payouts that are requested or submitted", "sum(in_payout_part)"),
        _amount("paid_out", "in payouts that were paid and did not return", "sum(paid_out_part)"),
        _column(
            "entry_count",
            "UInt64",
            "number of entries that pending and available add up",
            "sum(entry_part)",
        ),
        _column(
            "payout_event_count",
            "UInt64",
            "number of payout events that in_payout and paid_out follow from",
            "sum(payout_event_part)",
        ),
    ),
)

PAYOUTS = View(
    name="payouts",
    shows="One row per payout: its latest state.",
    key=("seller_id", "payout_id"),
    contents=(
        _column("seller_id", TEXT, "the seller who is paid"),
        _column("payout_id", "UUID", "the payout"),
        _column("seq", "UInt32", "position of the latest event; the highest one wins"),
        _CURRENCY,
        _amount("amount", "amount of the payout"),
        _column("status", WORD, "requested, submitted, paid, failed, cancelled, returned"),
        _column("provider", WORD, "payout provider"),
        _column("provider_reference", TEXT, "the provider's id for it; empty when there is none"),
        _column("method", WORD, "bank_transfer, …"),
        _column("updated_at", MICROSECONDS, "when the latest event happened; UTC"),
    ),
)

RECONCILIATION_LOG = View(
    name="reconciliation_log",
    shows="One row per difference between our books and a provider's.",
    key=("case_id",),
    contents=(
        _column("case_id", TEXT, "the case"),
        _column("version", "UInt64", "version of the case; the highest one wins"),
        _column("provider", WORD, "provider whose statement differs"),
        _column("provider_reference", TEXT, "the provider's id for the thing"),
        _column("category", WORD, "kind of difference"),
        _column(
            "payment_id", "Nullable(UUID)", "the payment; null when we have no matching record"
        ),
        _column("order_id", TEXT, "the order; empty when we do not know it"),
        _column("seller_id", TEXT, "the seller; empty when we do not know it"),
        _CURRENCY,
        _amount("expected", "what our books say"),
        _amount("actual", "what the provider says"),
        _column("resolution_status", WORD, "state of the case"),
        _column("resolved_by", TEXT, "who closed the case; empty while it is open"),
        _column("note", TEXT, "note for people"),
        _column("found_at", MICROSECONDS, "when the difference was found; UTC"),
        _column("updated_at", MICROSECONDS, "when the case last changed; UTC"),
        _amount("difference", "actual - expected", "toInt128(actual_minor) - expected_minor"),
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
        _column("topic", WORD, "Kafka topic of the record"),
        _column("partition", "UInt32", "Kafka partition of the record"),
        _column("kafka_offset", "UInt64", "Kafka offset of the record"),
        _column("reason", WORD, "kind of failure, for programs"),
        _column("error", TEXT, "what was wrong, for people"),
        _column("raw_key", TEXT, "the record's key, byte for byte"),
        _column("raw_value", TEXT, "the record's value, byte for byte"),
        _column("is_null", "Bool", "whether the record had no value"),
        _column("recorded_at", MILLISECONDS, "the record's time in Kafka; UTC"),
        _column("consumer", WORD, "consumer group that could not fold the record"),
        _column("parked_at", MICROSECONDS, "when the record was parked; the latest one wins; UTC"),
        _column(
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
        _column("topic", WORD, "Kafka topic of the record"),
        _column("partition", "UInt32", "Kafka partition of the record"),
        _column("kafka_offset", "UInt64", "Kafka offset of the record"),
        _column("redriven_at", MICROSECONDS, "when it was tried; UTC"),
        _column("redriven_by", TEXT, "who tried it: user@host, or what --by said"),
        _column("parked_at", MICROSECONDS, "parked_at of the dead letter that was judged; UTC"),
        _column("outcome", WORD, "redriven: its rows are written; still_dead: it cannot be folded"),
        _column(
            "reason",
            WORD,
            "why it is still dead: as in dead_letters, or write_refused; else empty",
        ),
        _column("error", TEXT, "the same, for people"),
        _column("payment_id", "Nullable(UUID)", "payment of the event; null when still dead"),
        _column("seq", "UInt32", "position of the event in its payment; 0 when still dead"),
        _column("row_count", "UInt32", "number of rows written"),
    ),
)

PIPELINE_PROGRESS = View(
    name="pipeline_progress",
    shows="One row per consumer and Kafka partition: how far the consumer has come.",
    key=("consumer", "topic", "partition"),
    contents=(
        _column("consumer", WORD, "consumer group"),
        _column("topic", WORD, "Kafka topic that it reads"),
        _column("partition", "UInt32", "Kafka partition"),
        _column("last_offset", "UInt64", "offset of the last record that is in the views"),
        _column("committed_at", MILLISECONDS, "when PostgreSQL committed that record; UTC"),
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
            PAYOUTS,
            RECONCILIATION_LOG,
            DEAD_LETTERS,
            DEAD_LETTER_REDRIVES,
            PIPELINE_PROGRESS,
        )
    }
)
"""Every view by name, in the order of the documentation: all that the reader may read."""
