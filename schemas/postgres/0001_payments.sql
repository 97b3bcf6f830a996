-- The one table that is the truth: one row is one event; rows are appended, never changed.
--
-- What a row must satisfy together with the rows before it stands in the guards (0004); what they
-- leave open of a row by itself stands here, as CHECKs with names. Text compares by byte
-- (COLLATE "C"), so that order and equality are the same on every machine.

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

    PRIMARY KEY (payment_id, seq),

    CONSTRAINT payments_buyer_id CHECK (
        CASE WHEN direction = 'out' THEN buyer_id IS NULL
        ELSE buyer_id IS NOT NULL AND octet_length(buyer_id) BETWEEN 1 AND 128
            AND buyer_id !~ '[^!-~]' END
    ),
    CONSTRAINT payments_order_id CHECK (
        CASE WHEN direction = 'out' THEN order_id = payment_id::text
        ELSE octet_length(order_id) BETWEEN 1 AND 128 AND order_id !~ '[^!-~]' END
    ),
    CONSTRAINT payments_seller_id CHECK (
        octet_length(seller_id) BETWEEN 1 AND 128 AND seller_id !~ '[^!-~]'
    ),
    CONSTRAINT payments_currency CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payments_psp CHECK (octet_length(psp) BETWEEN 1 AND 64 AND psp !~ '[^!-~]'),
    CONSTRAINT payments_psp_reference CHECK (
        octet_length(psp_reference) BETWEEN 1 AND 255 AND psp_reference !~ '[^!-~]'
    ),
    CONSTRAINT payments_method CHECK (octet_length(method) BETWEEN 1 AND 64 AND method !~ '[^!-~]'),
    CONSTRAINT payments_idempotency_key CHECK (
        octet_length(idempotency_key) BETWEEN 1 AND 255 AND idempotency_key !~ '[^!-~]'
    ),
    CONSTRAINT payments_schema_version CHECK (schema_version BETWEEN 1 AND 32767),
    CONSTRAINT payments_details CHECK (
        jsonb_typeof(details) = 'object' AND pg_column_size(details) <= 65536
    ),
    -- What the views' dates can hold; also refuses 'infinity'.
    CONSTRAINT payments_occurred_at CHECK (
        occurred_at >= '1970-01-01 00:00:00+00'::timestamptz
        AND occurred_at < '2100-01-01 00:00:00+00'::timestamptz
    ),

    CONSTRAINT payments_amount_minor CHECK (amount_minor <= 1000000000000000),
    CONSTRAINT payments_commission_minor CHECK (commission_minor >= 0),
    CONSTRAINT payments_logistics_fee_minor CHECK (logistics_fee_minor >= 0),
    CONSTRAINT payments_shares_within_amount CHECK (
        commission_minor + logistics_fee_minor <= amount_minor
    ),
    CONSTRAINT payments_captures_within_order CHECK (captured_minor <= order_amount_minor),
    CONSTRAINT payments_refunds_within_captures CHECK (
        refunded_minor + reserved_minor <= captured_minor
    ),
    CONSTRAINT payments_reserved_minor CHECK (reserved_minor >= 0),
    CONSTRAINT payments_pending_minor CHECK (pending_minor >= 0)
) PARTITION BY HASH (payment_id);

COMMENT ON TABLE public.payments IS
    'Append-only: one row is one event of one order of a payment, or of a payout. '
    'Amounts are minor units of currency.';

CREATE TABLE public.payments_p00 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 0);
CREATE TABLE public.payments_p01 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 1);
CREATE TABLE public.payments_p02 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 2);
CREATE TABLE public.payments_p03 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 3);
CREATE TABLE public.payments_p04 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 4);
CREATE TABLE public.payments_p05 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 5);
CREATE TABLE public.payments_p06 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 6);
CREATE TABLE public.payments_p07 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 7);
CREATE TABLE public.payments_p08 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 8);
CREATE TABLE public.payments_p09 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 9);
CREATE TABLE public.payments_p10 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 10);
CREATE TABLE public.payments_p11 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 11);
CREATE TABLE public.payments_p12 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 12);
CREATE TABLE public.payments_p13 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 13);
CREATE TABLE public.payments_p14 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 14);
CREATE TABLE public.payments_p15 PARTITION OF public.payments FOR VALUES WITH (MODULUS 16, REMAINDER 15);

-- A seller's payable balance is the sum of these; the payout guard reads nothing but this index.
CREATE INDEX payments_available ON public.payments (seller_id, currency)
    INCLUDE (available_delta_minor) WHERE available_delta_minor <> 0;
