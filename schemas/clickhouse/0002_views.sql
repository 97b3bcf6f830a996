-- The views, under the plain names: each row once, in its latest version, at any moment. These are
-- what people read; the raw tables behind them are for programs of ours.

CREATE OR REPLACE VIEW payment_events AS
SELECT * FROM payment_events_raw FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW ledger_entries AS
SELECT * FROM ledger_entries_raw FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- refund_state: none, partial, or full (all that was captured was given back).
CREATE OR REPLACE VIEW buyer_orders AS
SELECT
    *,
    multiIf(
        refunded_minor = 0, 'none',
        refunded_minor < captured_minor, 'partial',
        'full'
    ) AS refund_state
FROM buyer_orders_raw FINAL;

CREATE OR REPLACE VIEW seller_revenue AS
SELECT * FROM seller_revenue_raw FINAL;

CREATE OR REPLACE VIEW payouts AS
SELECT * FROM payouts_raw FINAL;

CREATE OR REPLACE VIEW reconciliation_log AS
SELECT *, actual_minor - expected_minor AS difference_minor
FROM reconciliation_log_raw FINAL;

CREATE OR REPLACE VIEW pipeline_progress AS
SELECT * FROM pipeline_progress_raw FINAL;

CREATE OR REPLACE VIEW dead_letter_redrives AS
SELECT * FROM dead_letter_redrives_raw FINAL;

-- Whether the record is still missing from the views: state. A condition on the position reaches
-- both tables' indexes.
CREATE OR REPLACE VIEW dead_letters AS
SELECT
    letters.*,
    if(redrives.redriven_parked_at >= letters.parked_at, 'redriven', 'open') AS state
FROM dead_letters_raw AS letters FINAL
LEFT JOIN
(
    SELECT topic, partition, kafka_offset, max(parked_at) AS redriven_parked_at
    FROM dead_letter_redrives_raw
    WHERE outcome = 'redriven'
    GROUP BY topic, partition, kafka_offset
) AS redrives
ON redrives.topic = letters.topic
    AND redrives.partition = letters.partition
    AND redrives.kafka_offset = letters.kafka_offset;

-- What we owe each seller, by currency: not payable yet, payable, on its way, arrived.
-- Both halves are grouped as a whole, so that a condition on the seller reaches both tables.
CREATE OR REPLACE VIEW seller_balances AS
SELECT
    seller_id,
    currency,
    sum(pending) AS pending_minor,
    sum(available) AS available_minor,
    sum(in_payout) AS in_payout_minor,
    sum(paid_out) AS paid_out_minor
FROM
(
    SELECT
        seller_id,
        currency,
        pending_delta_minor AS pending,
        available_delta_minor AS available,
        toInt64(0) AS in_payout,
        toInt64(0) AS paid_out
    FROM seller_revenue_raw FINAL
    UNION ALL
    SELECT
        seller_id,
        currency,
        toInt64(0) AS pending,
        toInt64(0) AS available,
        if(status IN ('requested', 'submitted'), amount_minor, 0) AS in_payout,
        if(status = 'paid', amount_minor, 0) AS paid_out
    FROM payouts_raw FINAL
)
GROUP BY seller_id, currency;
