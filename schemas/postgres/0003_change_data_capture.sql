-- What Debezium reads, and the row by which it keeps its replication slot moving.

-- Without writes to a published table a quiet database would never let Debezium confirm WAL, and
-- the slot would hold it for ever.
CREATE TABLE public.heartbeat (
    id      smallint    PRIMARY KEY DEFAULT 1 CONSTRAINT heartbeat_single_row CHECK (id = 1),
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Through the root: sixteen partitions become one topic, and a snapshot reads each row once.
-- `update` is for the heartbeat; `payments` has inserts only. No delete, no truncate exists here.
CREATE PUBLICATION purser FOR TABLE public.payments, public.heartbeat
    WITH (publish = 'insert, update', publish_via_partition_root = true);
