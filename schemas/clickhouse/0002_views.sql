-- The tables as they are to be read: each row once, in its latest version. A table itself shows
-- rows that were written twice until ClickHouse has merged them.

CREATE OR REPLACE VIEW payment_events_v AS
SELECT * FROM payment_events FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW ledger_entries_v AS
SELECT * FROM ledger_entries FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- refund_state: none, partial, or full (all that was captured was given back).
CREATE OR REPLACE VIEW buyer_orders_v AS
SELECT
    *,
    multiIf(
        refunded_minor = 0, 'none',
        refunded_minor < captured_minor, 'partial',
        'full'
    ) AS refund_state
FROM buyer_orders FINAL;

CREATE OR REPLACE VIEW seller_revenue_v AS
SELECT * FROM seller_revenue FINAL;

CREATE OR REPLACE VIEW payouts_v AS
SELECT * FROM payouts FINAL;

CREATE OR REPLACE VIEW reconciliation_log_v AS
SELECT *, actual_minor - expected_minor AS difference_minor
FROM reconciliation_log FINAL;

CREATE OR REPLACE VIEW dead_letters_v AS
SELECT * FROM dead_letters FINAL;

CREATE OR REPLACE VIEW pipeline_progress_v AS
SELECT * FROM pipeline_progress FINAL;

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
    FROM seller_revenue FINAL
    UNION ALL
    SELECT
        seller_id,
        currency,
        toInt64(0) AS pending,
        toInt64(0) AS available,
        if(status IN ('requested', 'submitted'), amount_minor, 0) AS in_payout,
        if(status = 'paid', amount_minor, 0) AS paid_out
    FROM payouts FINAL
)
GROUP BY seller_id, currency;
