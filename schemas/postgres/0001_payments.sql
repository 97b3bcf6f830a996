-- The one table that is the truth: one row is one event; rows are appended, never changed.
--
-- What a row must satisfy, by itself and together with the rows before it, the guards check (0002).
-- Text compares by byte (COLLATE "C"), so that order and equality are the same on every machine.

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
    captured_minor        bigint      NOT NULL,
    refunded_minor        bigint      NOT NULL,
    released_minor        bigint      NOT NULL,
    reserved_minor        bigint      NOT NULL,
    pending_minor         bigint      NOT NULL,
    available_delta_minor bigint      NOT NULL,
    psp                   text        COLLATE "C" NOT NULL,
    psp_reference         text        COLLATE "C",
    method                text        COLLATE "C" NOT NULL,
    idempotency_key       text        COLLATE "C" NOT NULL,
    schema_version        integer     NOT NULL,
    details               jsonb       NOT NULL,
    occurred_at           timestamptz NOT NULL,
    -- The guards overwrite it: when a row was appended is the database's word, nobody else's.
    recorded_at           timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (payment_id, seq)
) PARTITION BY HASH (payment_id);

COMMENT ON TABLE public.payments IS
    'Append-only: one row is one event of one order of a payment, or of a payout. '
    'Amounts are minor units of currency.';

-- Statistics of what no plan depends on, made cheap. Rows are found by the keys of unique indexes
-- and by time, so a tenth of the usual sample, and of the usual frequency, tells a plan all it needs.
-- With the defaults ANALYZE cost a third of all the CPU of appending.
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
        -- Of the parent and, because they exist already, of its partitions.
        EXECUTE format('ALTER TABLE public.payments ALTER COLUMN %I SET STATISTICS 10', name);
    END LOOP;
END
$$;

-- A seller's payable balance is the sum of these; the payout guard reads nothing but this index.
CREATE INDEX payments_available ON public.payments (seller_id, currency)
    INCLUDE (available_delta_minor) WHERE available_delta_minor <> 0;

-- The order's rows in a payment of many: without it, each row of a payment-wide event would read the
-- payment's rows until it finds its order's. Most payments have no row in it, so it costs nothing.
CREATE INDEX payments_long ON public.payments (payment_id, order_id, seq) WHERE seq > 32;

-- What lets `purser verify --since` read the days it asks for instead of all history: rows are
-- appended nearly in the order in which things happened, so a few kilobytes say which blocks of
-- the table can hold a day. An import of old history widens single ranges and harms nothing.
CREATE INDEX payments_occurred_at ON public.payments
    USING brin (occurred_at) WITH (pages_per_range = 32, autosummarize = on);
