-- What grows with every payment takes less room: chosen by measurement, see docs/capacity.md.
--
-- A codec holds for parts written from now on; those that exist are rewritten as they merge, so
-- the statements change nothing that is there, and can be run again.

-- The legs of an event side by side: a payment's 16 random bytes, which nothing can compress, are
-- then stored three times instead of six. `account_type` moves to the end, where it decides nothing
-- any more (account, payment, seq and leg do already). The refresh of `seller_revenue` asks for an
-- account, a currency and a day: now these lead the key.
--
-- A sorting key cannot be altered. This makes the table anew beside the old one, from its rows, and
-- puts it in its place at once; run again, or by two at once, it does the same. What is written to
-- the old table meanwhile goes with it: stop the views worker first, as for every migration.
CREATE OR REPLACE TABLE ledger_entries
(
    account_type LowCardinality(String),
    account_id String CODEC(ZSTD(3)),
    currency LowCardinality(String),
    day Date,
    payment_id UUID,
    seq UInt32,
    leg UInt8,
    event_type LowCardinality(String),
    amount_minor Int64 CODEC(T64('bit'), ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYear(day)
ORDER BY (account_id, currency, day, payment_id, seq, leg, account_type)
SETTINGS index_granularity = 1024, default_compression_codec = 'ZSTD(1)'
AS SELECT * FROM ledger_entries;

-- Ids repeat within a payment, seldom exactly: level 3 finds the repetitions that level 1 misses.
-- T64 leaves out the bits that no amount of a block has. GCD: most sources tell whole milliseconds
-- or seconds. Each is the best of eleven combinations for live traffic or, where the difference is
-- small there, for imported history.
ALTER TABLE payment_events
    MODIFY COLUMN order_id CODEC(ZSTD(3)),
    MODIFY COLUMN seller_id CODEC(ZSTD(3)),
    MODIFY COLUMN buyer_id CODEC(ZSTD(3)),
    MODIFY COLUMN amount_minor CODEC(T64('bit'), ZSTD(1)),
    MODIFY COLUMN commission_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN logistics_fee_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN captured_minor CODEC(ZSTD(3)),
    MODIFY COLUMN pending_minor CODEC(ZSTD(3)),
    MODIFY COLUMN available_delta_minor CODEC(ZSTD(3)),
    MODIFY COLUMN psp_reference CODEC(ZSTD(3)),
    MODIFY COLUMN idempotency_key CODEC(ZSTD(3)),
    MODIFY COLUMN occurred_at CODEC(GCD, Delta, ZSTD(1)),
    MODIFY COLUMN recorded_at CODEC(Delta, T64, ZSTD(1)),
    MODIFY COLUMN txid CODEC(T64('bit'), ZSTD(1));

ALTER TABLE buyer_orders
    MODIFY SETTING default_compression_codec = 'ZSTD(1)';

ALTER TABLE buyer_orders
    MODIFY COLUMN updated_at CODEC(GCD, T64, ZSTD(1));

ALTER TABLE seller_revenue
    MODIFY SETTING default_compression_codec = 'ZSTD(1)';

ALTER TABLE seller_revenue
    MODIFY COLUMN seller_id CODEC(ZSTD(3)),
    MODIFY COLUMN day CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN gross_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN commission_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN logistics_fee_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN net_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN pending_delta_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN available_delta_minor CODEC(T64, ZSTD(1)),
    MODIFY COLUMN capture_count CODEC(T64, ZSTD(1)),
    MODIFY COLUMN entry_count CODEC(T64, ZSTD(1));

ALTER TABLE payouts
    MODIFY SETTING default_compression_codec = 'ZSTD(1)';
