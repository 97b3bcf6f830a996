-- What lets `purser verify --since` read the days it asks for instead of all history: rows are
-- appended nearly in the order in which things happened, so a few kilobytes say which blocks of
-- the table can hold a day. An import of old history widens single ranges and harms nothing.
CREATE INDEX payments_occurred_at ON public.payments
    USING brin (occurred_at) WITH (pages_per_range = 32, autosummarize = on);
