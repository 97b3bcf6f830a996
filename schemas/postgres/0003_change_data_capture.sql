-- What Debezium reads, and the heartbeat row that keeps its replication slot moving.

-- Without writes to a published table, Debezium would never confirm WAL of an idle database, and
-- the slot would retain it for ever.
CREATE TABLE public.heartbeat (
    id      smallint    PRIMARY KEY DEFAULT 1 CONSTRAINT heartbeat_single_row CHECK (id = 1),
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Publish through the root: sixteen partitions become one topic, and a snapshot reads each row
-- once. `update` is for the heartbeat; `payments` has only inserts. Delete and truncate never
-- occur.
CREATE PUBLICATION purser FOR TABLE public.payments, public.heartbeat
    WITH (publish = 'insert, update', publish_via_partition_root = true);
