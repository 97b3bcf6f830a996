-- What was pending up to a time, for each partition of the payments topic: so a worker of payments
-- in that starts reads what is new, not what is old (payins/checkpoints.py). It is beside the table
-- of which it speaks, so that a backup has both of the same time. If it is lost, nothing is: the
-- worker then reads all of `payments`.

CREATE TABLE public.payins_checkpoints (
    rules       text        COLLATE "C" NOT NULL, -- of the code: other code must not rely on it
    partitions  integer     NOT NULL,             -- how many the topic has
    partition   integer     NOT NULL,
    complete_to timestamptz NOT NULL,
    pending     uuid[]      NOT NULL,

    PRIMARY KEY (rules, partitions, partition)
);

COMMENT ON TABLE public.payins_checkpoints IS
    'What is open in a payment of the partition is open in a payment of `pending`, or a row '
    'recorded after complete_to has opened it.';

GRANT SELECT, INSERT, UPDATE ON public.payins_checkpoints TO purser_writer;
