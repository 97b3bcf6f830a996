-- Tables of the views. Every statement can be run again: a runner that died half-way, or two at
-- once, leave the same schema behind.
--
-- All are ReplacingMergeTree: a row written again replaces itself. Rows of one key always lie in
-- one partition, because a table is partitioned only by what is part of, or fixed by, its key.

-- One row per event, whole, with its place in the topic and in PostgreSQL.
-- Version kafka_offset: Debezium may emit an event again under a later offset.
-- ZSTD takes half the bytes of LZ4 here, and the columns that grow with time (in which events of a
-- payment lie close together) a fifth when stored as differences; it costs no CPU worth measuring.
CREATE TABLE IF NOT EXISTS payment_events
(
    payment_id UUID,
    seq UInt32,
    event_type LowCardinality(String),
    status LowCardinality(String),
    fulfilment LowCardinality(String),
    dispute LowCardinality(String),
    direction LowCardinality(String),
    order_id String,
    seller_id String,
    buyer_id String,
    currency LowCardinality(String),
    amount_minor Int64,
    commission_minor Int64,
    logistics_fee_minor Int64,
    order_amount_minor Int64,
    captured_minor Int64,
    refunded_minor Int64,
    released_minor Int64,
    reserved_minor Int64,
    pending_minor Int64,
    available_delta_minor Int64,
    psp LowCardinality(String),
    psp_reference String,
    method LowCardinality(String),
    idempotency_key String,
    schema_version UInt16,
    details String,
    occurred_at DateTime64(6, 'UTC'),
    recorded_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    txid UInt32,
    lsn UInt64 CODEC(Delta, ZSTD(1)),
    op LowCardinality(String),
    committed_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(kafka_offset)
PARTITION BY toYear(occurred_at)
ORDER BY (payment_id, seq)
SETTINGS default_compression_codec = 'ZSTD(1)';

-- One row per posting. No version: rows of one key are equal by construction.
-- Small granules: refreshing a seller's day reads little else (10 times faster than 8192).
CREATE TABLE IF NOT EXISTS ledger_entries
(
    account_type LowCardinality(String),
    account_id String,
    currency LowCardinality(String),
    day Date,
    payment_id UUID,
    seq UInt32,
    leg UInt8,
    event_type LowCardinality(String),
    amount_minor Int64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYear(day)
ORDER BY (account_type, account_id, currency, day, payment_id, seq, leg)
SETTINGS index_granularity = 1024;

-- One row per order of a payment: its latest state. Not partitioned: no time is part of the key.
CREATE TABLE IF NOT EXISTS buyer_orders
(
    buyer_id String,
    order_id String,
    payment_id UUID,
    seq UInt32,
    seller_id String,
    currency LowCardinality(String),
    status LowCardinality(String),
    fulfilment LowCardinality(String),
    dispute LowCardinality(String),
    amount_minor Int64,
    captured_minor Int64,
    refunded_minor Int64,
    reserved_minor Int64,
    psp LowCardinality(String),
    method LowCardinality(String),
    updated_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (buyer_id, order_id, payment_id)
SETTINGS index_granularity = 1024;

-- One row per seller, currency and UTC day, computed from ledger_entries. Version entry_count: of
-- two workers that refreshed one key at once, the one that counted more saw both their entries.
CREATE TABLE IF NOT EXISTS seller_revenue
(
    seller_id String,
    currency LowCardinality(String),
    day Date,
    gross_minor Int64,
    refunds_minor Int64,
    chargebacks_minor Int64,
    commission_minor Int64,
    logistics_fee_minor Int64,
    net_minor Int64,
    pending_delta_minor Int64,
    available_delta_minor Int64,
    capture_count UInt64,
    refund_count UInt64,
    chargeback_count UInt64,
    entry_count UInt64
)
ENGINE = ReplacingMergeTree(entry_count)
ORDER BY (seller_id, currency, day)
SETTINGS index_granularity = 1024;

-- One row per payout: its latest state.
CREATE TABLE IF NOT EXISTS payouts
(
    seller_id String,
    payout_id UUID,
    seq UInt32,
    currency LowCardinality(String),
    amount_minor Int64,
    status LowCardinality(String),
    provider LowCardinality(String),
    provider_reference String,
    method LowCardinality(String),
    updated_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (seller_id, payout_id)
SETTINGS index_granularity = 1024;

-- One row per difference between our books and a provider's.
CREATE TABLE IF NOT EXISTS reconciliation_log
(
    case_id String,
    version UInt64,
    provider LowCardinality(String),
    provider_reference String,
    category LowCardinality(String),
    payment_id Nullable(UUID),
    order_id String,
    seller_id String,
    currency LowCardinality(String),
    expected_minor Int64,
    actual_minor Int64,
    resolution_status LowCardinality(String),
    resolved_by String,
    note String,
    found_at DateTime64(6, 'UTC'),
    updated_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(version)
ORDER BY case_id;

-- One row per record that could not be folded, whole.
CREATE TABLE IF NOT EXISTS dead_letters
(
    topic LowCardinality(String),
    partition UInt32,
    kafka_offset UInt64,
    reason LowCardinality(String),
    error String,
    raw_key String,
    raw_value String CODEC(ZSTD(3)),
    is_null Bool,
    recorded_at DateTime64(3, 'UTC'),
    consumer LowCardinality(String),
    parked_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(parked_at)
ORDER BY (topic, partition, kafka_offset);

-- How far each consumer has come.
CREATE TABLE IF NOT EXISTS pipeline_progress
(
    consumer LowCardinality(String),
    topic LowCardinality(String),
    partition UInt32,
    last_offset UInt64,
    committed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(last_offset)
ORDER BY (consumer, topic, partition);
