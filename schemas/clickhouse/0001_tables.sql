-- The raw tables behind the views. Every statement can be repeated: two concurrent runners, or one
-- that died half-way, leave the same schema.
--
-- All are ReplacingMergeTree: a row that is written again replaces itself. Until ClickHouse has
-- merged the two, a raw table shows both; the views of 0002_views.sql, under the plain names, never
-- do. Rows of one key are always in one partition, because a table is partitioned only by columns
-- that are part of its key or determined by it.
--
-- Codecs are chosen by measurement (docs/capacity.md). ZSTD takes half the bytes of LZ4 here, at no
-- measurable CPU cost. Level 3 for ids: they repeat within a payment, but seldom exactly, and level
-- 3 finds repetitions that level 1 misses. T64 drops the bits that no amount of a block uses.
-- Delta: the column grows with time, and the events of a payment are close together in time. GCD:
-- most sources give whole milliseconds or seconds.
--
-- merge_selector_base = 20: small parts are merged twenty at a time instead of five. ClickHouse
-- treats all parts below 5 MiB as about the same size. With five, every fifth flush rewrote a table
-- of some thousand rows: 43 rows were merged for each row inserted.

-- One row per event, whole, with its position in the topic and in PostgreSQL. Version kafka_offset:
-- Debezium may emit an event again at a later offset.
CREATE TABLE IF NOT EXISTS payment_events_raw
(
    payment_id UUID,
    seq UInt32,
    event_type LowCardinality(String),
    status LowCardinality(String),
    fulfilment LowCardinality(String),
    dispute LowCardinality(String),
    direction LowCardinality(String),
    order_id String CODEC(ZSTD(3)),
    seller_id String CODEC(ZSTD(3)),
    buyer_id String CODEC(ZSTD(3)),
    currency LowCardinality(String),
    amount_minor Int64 CODEC(T64('bit'), ZSTD(1)),
    commission_minor Int64 CODEC(T64, ZSTD(1)),
    logistics_fee_minor Int64 CODEC(T64, ZSTD(1)),
    order_amount_minor Int64,
    authorized_minor Int64,
    captured_minor Int64 CODEC(ZSTD(3)),
    refunded_minor Int64,
    released_minor Int64,
    reserved_minor Int64,
    pending_minor Int64 CODEC(ZSTD(3)),
    available_delta_minor Int64 CODEC(ZSTD(3)),
    suspense_minor Int64,
    psp LowCardinality(String),
    psp_reference String CODEC(ZSTD(3)),
    method LowCardinality(String),
    idempotency_key String CODEC(ZSTD(3)),
    schema_version UInt16,
    details String,
    occurred_at DateTime64(6, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    recorded_at DateTime64(6, 'UTC') CODEC(Delta, T64, ZSTD(1)),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    txid UInt32 CODEC(T64('bit'), ZSTD(1)),
    lsn UInt64 CODEC(Delta, ZSTD(1)),
    op LowCardinality(String),
    committed_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(kafka_offset)
PARTITION BY toYear(occurred_at)
ORDER BY (payment_id, seq)
SETTINGS default_compression_codec = 'ZSTD(1)', merge_selector_base = 20;

-- One row per posting. No version: rows with the same key are equal by construction. Questions name
-- an account, so accounts lead the key. The legs of an event are adjacent: this halves the space of
-- its payment's 16 random bytes, which cannot be compressed. The recording time is in the partition
-- key so that a day of recorded time can be found, and so that asking for none reads nothing.
CREATE TABLE IF NOT EXISTS ledger_entries_raw
(
    account_type LowCardinality(String),
    account_id String CODEC(ZSTD(3)),
    currency LowCardinality(String),
    day Date,
    payment_id UUID,
    seq UInt32,
    leg UInt8,
    event_type LowCardinality(String),
    amount_minor Int64 CODEC(T64('bit'), ZSTD(1)),
    recorded_minute DateTime('UTC') CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY (toYear(day), toYYYYMM(recorded_minute))
ORDER BY (account_id, currency, day, payment_id, seq, leg, account_type)
SETTINGS index_granularity = 1024, default_compression_codec = 'ZSTD(1)', merge_selector_base = 20;

-- The same rows once more, but only of the last days, in the order of their minutes. ClickHouse
-- copies them (0002_views.sql); `sinks.roll_up` drops a day after it is rolled up.
CREATE TABLE IF NOT EXISTS recent_entries_raw
(
    account_type LowCardinality(String),
    account_id String,
    currency LowCardinality(String),
    day Date,
    payment_id UUID,
    seq UInt32,
    leg UInt8,
    event_type LowCardinality(String),
    amount_minor Int64,
    recorded_minute DateTime('UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(recorded_minute)
ORDER BY (recorded_minute, account_id, currency, day, payment_id, seq, leg, account_type)
SETTINGS index_granularity = 1024, merge_selector_base = 20;

-- Sums of entries per account, currency and day of the event, in buckets of recorded time, and what
-- was written into each bucket. schemas/clickhouse/totals.py explains both. Version: for totals the
-- number of entries added up, so of two roll-ups that race, the one that counted more stays. Int128:
-- some nine thousand of the largest amounts do not fit into Int64, whose sums wrap silently.
-- Accounts lead the key for the sake of questions about one seller. All sellers' totals read only
-- what is not over, thanks to partitions: one for the minutes and ten minutes of each hour, one for
-- the hours of each six (30 to 33, above any hour), and one for the six hours of a day and for its
-- notes. A part appears as a whole, so nobody sees a day's note without those of its minutes. The
-- first eight digits are the day, or four the year. A query looks at every part to see whether it
-- can be left out. So once nothing came into a partition for three minutes, it is merged into one,
-- also while other merges run. Not sooner: a minute of the current hour comes every minute.
CREATE TABLE IF NOT EXISTS totals_raw
(
    kind Enum8(
        'total' = 1, 'written' = 2, 'written_late' = 3, 'rolled' = 4, 'rolled_late' = 5),
    level Enum8(
        'minute' = 1, 'ten_minutes' = 2, 'hour' = 3, 'six_hours' = 4, 'day' = 5, 'month' = 6),
    account_id String CODEC(ZSTD(3)),
    currency LowCardinality(String),
    day Date CODEC(Delta, ZSTD(1)),
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)),
    psp_receivable_minor Int128,
    psp_disputed_minor Int128,
    suspense_minor Int128,
    seller_pending_minor Int128,
    seller_available_minor Int128,
    platform_commission_minor Int128,
    platform_logistics_minor Int128,
    payout_in_transit_minor Int128,
    bank_minor Int128,
    psp_fees_minor Int128,
    gross_minor Int128,
    refunds_minor Int128,
    chargebacks_minor Int128,
    capture_count UInt64,
    refund_count UInt64,
    chargeback_count UInt64,
    seller_entry_count UInt64 CODEC(T64, ZSTD(1)),
    version UInt64 CODEC(T64, ZSTD(1)),
    rolled_at DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY multiIf(
    kind = 'total' AND level <= 'ten_minutes', toYYYYMMDD(bucket) * 100 + toHour(bucket),
    kind = 'total' AND level = 'hour', toYYYYMMDD(bucket) * 100 + 30 + intDiv(toHour(bucket), 6),
    level <= 'six_hours' OR kind = 'written' AND level = 'day', toYYYYMMDD(bucket),
    toYear(bucket))
ORDER BY (kind, level, account_id, currency, day, bucket)
SETTINGS index_granularity = 1024, default_compression_codec = 'ZSTD(1)', merge_selector_base = 20,
    min_age_to_force_merge_seconds = 180, min_age_to_force_merge_on_partition_only = 1,
    number_of_free_entries_in_pool_to_execute_optimize_entire_partition = 1;

-- One row per order of a payment: its latest state. Not partitioned: no time is part of the key.
CREATE TABLE IF NOT EXISTS buyer_orders_raw
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
    updated_at DateTime64(6, 'UTC') CODEC(GCD, T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (buyer_id, order_id, payment_id)
SETTINGS index_granularity = 1024, default_compression_codec = 'ZSTD(1)', merge_selector_base = 20;

-- One row per payout: its latest state.
CREATE TABLE IF NOT EXISTS payouts_raw
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
SETTINGS index_granularity = 1024, default_compression_codec = 'ZSTD(1)', merge_selector_base = 20;

-- One row per difference between our books and a provider's.
CREATE TABLE IF NOT EXISTS reconciliation_log_raw
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
CREATE TABLE IF NOT EXISTS dead_letters_raw
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

-- Audit of redrives: who folded which dead letter again, when, and with what result. It is not
-- derived from the topic, so no rebuild may empty, swap or drop it. One row per record and attempt,
-- without a version: writing a row again gives the same row. `parked_at` says which parking of the
-- record was judged: if the record is parked again later, it is open again. Both times come from
-- one clock, the worker's, so that no other machine's clock decides what is open.
CREATE TABLE IF NOT EXISTS dead_letter_redrives_raw
(
    topic LowCardinality(String),
    partition UInt32,
    kafka_offset UInt64,
    redriven_at DateTime64(6, 'UTC'),
    redriven_by String,
    parked_at DateTime64(6, 'UTC'),
    outcome LowCardinality(String),
    reason LowCardinality(String),
    error String,
    payment_id Nullable(UUID),
    seq UInt32,
    row_count UInt32
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, kafka_offset, redriven_at, redriven_by);

-- The progress of each consumer.
CREATE TABLE IF NOT EXISTS pipeline_progress_raw
(
    consumer LowCardinality(String),
    topic LowCardinality(String),
    partition UInt32,
    last_offset UInt64,
    committed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(last_offset)
ORDER BY (consumer, topic, partition)
SETTINGS merge_selector_base = 20;

-- Each topic that a worker has read: Kafka gives a topic that is made anew another id. Two ids of
-- one name say that a topic was lost, and with it what the views had not read.
CREATE TABLE IF NOT EXISTS source_topics
(
    topic LowCardinality(String),
    topic_id String,
    first_read_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, topic_id);
