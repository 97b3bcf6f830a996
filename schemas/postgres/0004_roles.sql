-- Permissions: each role has only what it needs, and PUBLIC has nothing.
--
-- Usually an operator or the local stack has created the roles already, with passwords. Missing
-- roles are created here without a login, if the current user may create roles.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['purser_writer', 'purser_cdc', 'purser_reader'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            -- Roles belong to the whole server: another database's migration may have been faster.
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % does not exist and % may not create it', wanted, current_user
                    USING ERRCODE = 'insufficient_privilege',
                    HINT = pg_catalog.format(
                        'As a superuser run CREATE ROLE %I LOGIN PASSWORD ..., then migrate again.',
                        wanted);
        END;
    END LOOP;
END
$$;

-- Functions with which any login could write to the log without a right on a table: logical
-- messages, which Debezium reads, and large objects. They belong to the superuser, so the owner
-- cannot revoke them. The local stack has done so; elsewhere the hint says how.
DO $$
DECLARE
    functions text;
    statement text;
BEGIN
    FOR attempt IN 1 .. 2 LOOP
        SELECT pg_catalog.string_agg(DISTINCT function.oid::regprocedure::text, ', ')
            INTO functions
            FROM pg_catalog.pg_proc AS function, pg_catalog.unnest(
                ARRAY['public', 'purser_writer', 'purser_cdc', 'purser_reader']) AS role
            WHERE pronamespace = 'pg_catalog'::regnamespace
                AND proname IN
                    ('pg_logical_emit_message', 'lo_creat', 'lo_create', 'lo_from_bytea')
                AND pg_catalog.has_function_privilege(role, function.oid, 'EXECUTE');
        EXIT WHEN functions IS NULL;
        statement := pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, purser_writer,'
            ' purser_cdc, purser_reader', functions);
        IF attempt = 2 THEN
            RAISE EXCEPTION 'every login may write to the log that Debezium reads, with %', functions
                USING ERRCODE = 'insufficient_privilege',
                HINT = pg_catalog.format(
                    'As a superuser run %s in this database, then migrate again.', statement);
        END IF;
        BEGIN
            EXECUTE statement;  -- only a warning if the current user may execute but not revoke
        EXCEPTION
            WHEN insufficient_privilege THEN NULL;
        END;
    END LOOP;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON public.payments, public.heartbeat, public.purser_migrations FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO purser_writer, purser_cdc, purser_reader;

GRANT SELECT, INSERT ON public.payments TO purser_writer;
GRANT SELECT ON public.payments TO purser_reader, purser_cdc;
GRANT SELECT, INSERT, UPDATE ON public.heartbeat TO purser_cdc;
GRANT SELECT ON public.heartbeat TO purser_reader;
-- Each role checks at its start that the schema is the one its code expects.
GRANT SELECT ON public.purser_migrations TO purser_writer, purser_reader, purser_cdc;
