-- The source of truth: one row is one event. Rows are appended and never changed.
--
-- The guards (0002) check what a row must satisfy, by itself and together with earlier rows. Text
-- is compared by byte (COLLATE "C"), so that order and equality are the same on every machine.

CREATE TABLE public.payments (
    payment_id            uuid        NOT NULL,
    seq                   integer     NOT NULL,
    event_type            text        COLLATE "C" NOT NULL,
    status                text        COLLATE "C" NOT NULL,
    fulfilment            text        COLLATE "C" NOT NULL,
    dispute               text        COLLATE "C" NOT NULL,
    direction             text        COLLATE "C" NOT NULL,
    order_id              text        COLLATE "C" NOT NULL,
    seller_id             text        COLLATE "C" NOT NULL,
    buyer_id              text        COLLATE "C",
    currency              text        COLLATE "C" NOT NULL,
    amount_minor          bigint      NOT NULL,
    commission_minor      bigint      NOT NULL,
    logistics_fee_minor   bigint      NOT NULL,
    order_amount_minor    bigint      NOT NULL,
    authorized_minor      bigint      NOT NULL,
    captured_minor        bigint      NOT NULL,
    refunded_minor        bigint      NOT NULL,
    released_minor        bigint      NOT NULL,
    reserved_minor        bigint      NOT NULL,
    pending_minor         bigint      NOT NULL,
    available_delta_minor bigint      NOT NULL,
    suspense_minor        bigint      NOT NULL,
    psp                   text        COLLATE "C" NOT NULL,
    psp_reference         text        COLLATE "C",
    method                text        COLLATE "C" NOT NULL,
    idempotency_key       text        COLLATE "C" NOT NULL,
    schema_version        integer     NOT NULL,
    details               jsonb       NOT NULL,
    occurred_at           timestamptz NOT NULL,
    -- The guards overwrite it: only the database decides when a row was appended.
    recorded_at           timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (payment_id, seq)
) PARTITION BY HASH (payment_id);

COMMENT ON TABLE public.payments IS
    'Append-only: one row is one event of one order of a payment, or of a payout. '
    'Amounts are minor units of currency.';

-- Cheap statistics, because no plan depends on them. Rows are found by time and by the keys of
-- unique indexes, so a tenth of the usual sample size and frequency is enough. With the defaults,
-- ANALYZE took a third of all the CPU time of appending.
DO $$
DECLARE
    name text;
BEGIN
    FOR partition IN 0 .. 15 LOOP
        EXECUTE format(
            'CREATE TABLE public.payments_p%s PARTITION OF public.payments
                FOR VALUES WITH (MODULUS 16, REMAINDER %s)
                WITH (autovacuum_analyze_scale_factor = 0.2, autovacuum_analyze_threshold = 10000)',
            to_char(partition, 'FM00'), partition);
    END LOOP;
    FOR name IN
        SELECT attname FROM pg_catalog.pg_attribute
            WHERE attrelid = 'public.payments'::regclass AND attnum > 0
    LOOP
        -- For the parent and, because they exist already, its partitions.
        EXECUTE format('ALTER TABLE public.payments ALTER COLUMN %I SET STATISTICS 10', name);
    END LOOP;
END
$$;

-- A seller's available balance is the sum of these; the payout guard reads only this index.
CREATE INDEX payments_available ON public.payments (seller_id, currency)
    INCLUDE (available_delta_minor) WHERE available_delta_minor <> 0;

-- An order's rows in a payment with many. Without it, each row of a payment-wide event would read
-- the payment's rows until it finds its order's. Most payments have no row in it, so it costs
-- nothing.
CREATE INDEX payments_long ON public.payments (payment_id, order_id, seq) WHERE seq > 32;

-- Lets `purser verify --since` read only the days it asks for instead of all history, and `purser
-- status` only the newest events. Rows are appended almost in the order in which things happened,
-- so a few kilobytes say which blocks of the table can contain a time. An import of old history
-- widens single ranges of occurred_at, which does no harm. A range is a megabyte: with two billion
-- rows all ranges are looked through in a fifth of a second.
CREATE INDEX payments_times ON public.payments
    USING brin (occurred_at, recorded_at) WITH (pages_per_range = 128, autosummarize = on);
