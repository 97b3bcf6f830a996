-- Statistics of what no plan depends on, made cheap. Rows are found by the keys of unique indexes
-- and by time, so a tenth of the usual sample tells a plan all it needs. With the usual one,
-- ANALYZE came again with every tenth of growth and cost a third of all the CPU of appending.
--
-- Parent and partitions: a setting of the parent reaches those that exist.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT attname FROM pg_attribute
        WHERE attrelid = 'public.payments'::regclass AND attnum > 0 AND NOT attisdropped
    LOOP
        EXECUTE format('ALTER TABLE public.payments ALTER COLUMN %I SET STATISTICS 10', name);
    END LOOP;
    FOR name IN SELECT inhrelid::regclass FROM pg_inherits
        WHERE inhparent = 'public.payments'::regclass
    LOOP
        EXECUTE format(
            'ALTER TABLE %s SET (autovacuum_analyze_scale_factor = 0.2,'
            ' autovacuum_analyze_threshold = 10000)', name);
    END LOOP;
END $$;
