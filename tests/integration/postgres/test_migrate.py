"""Migrations: once, together, interrupted, edited, and by code that is older than the schema."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from schemas.errors import ConfigurationError, PurserError, SchemaVersionError, ServiceUnavailable
from schemas.postgres.migrations import Migration, load
from tests.integration.postgres.database import Database, insert
from tests.integration.postgres.rows import Book
from tests.waiting import wait_until
from writer.migrate import check_schema, migrate

pytestmark = pytest.mark.integration

NAMES = [migration.name for migration in load()]
WAIT_SECONDS = 30
POLL_SECONDS = 0.05

MIGRATE_SLOWLY = """
import sys
from schemas.postgres.migrations import Migration
from writer.migrate import migrate
migrate(sys.argv[1], [
    Migration.of("0001_first", "CREATE TABLE public.first ()"),
    Migration.of("0002_second", "CREATE TABLE public.second (); SELECT pg_sleep(60);"),
])
"""


def _tables(database: Database) -> set[str]:
    with psycopg.connect(database.owner) as session:
        rows = session.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p')"
        ).fetchall()
    return {str(name) for (name,) in rows}


def _execute(database: Database, statement: str) -> None:
    with psycopg.connect(database.owner, autocommit=True) as session:
        session.execute(statement.encode())


def test_the_schema_is_made_once(empty_database: Database) -> None:
    assert migrate(empty_database.owner) == NAMES
    assert migrate(empty_database.owner) == []
    for role in ("owner", "writer", "reader", "cdc"):
        check_schema(empty_database.dsn(role))


def test_two_runners_at_once_share_the_work(empty_database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, [empty_database.owner] * 4))
    assert sorted(name for names in applied for name in names) == NAMES
    check_schema(empty_database.writer)


def test_a_runner_killed_half_way_leaves_whole_migrations(empty_database: Database) -> None:
    runner = subprocess.Popen([sys.executable, "-c", MIGRATE_SLOWLY, empty_database.owner])
    try:
        _wait_until_asleep(empty_database)
        os.kill(runner.pid, signal.SIGKILL)
    finally:
        runner.kill()
        runner.wait()
    # The next runner waits for the lock of the dead one: the server notices within seconds.
    first = Migration.of("0001_first", "CREATE TABLE public.first ()")
    second = Migration.of("0002_second", "CREATE TABLE public.second ()")
    assert migrate(empty_database.owner, [first, second]) == ["0002_second"]
    assert _tables(empty_database) == {"first", "second", "purser_migrations"}


def _wait_until_asleep(database: Database) -> None:
    sleeping = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE wait_event = 'PgSleep' AND datname = current_database()"
    )
    with psycopg.connect(database.superuser, autocommit=True) as session:
        wait_until(lambda: session.execute(sleeping).fetchone(), "the migration begins")


def test_a_migration_that_is_refused_is_undone(empty_database: Database) -> None:
    good = Migration.of("0001_good", "CREATE TABLE public.good ()")
    bad = Migration.of("0002_bad", "CREATE TABLE public.bad (); SELECT nonsense;")
    with pytest.raises(SchemaVersionError, match=r"0002_bad was refused and undone: .*nonsense"):
        migrate(empty_database.owner, [good, bad])
    assert _tables(empty_database) == {"good", "purser_migrations"}


ADD_COLUMN = Migration.of("9999_add_column", "ALTER TABLE public.payments ADD COLUMN extra text")


def test_a_migration_that_must_wait_for_a_reader_stops_no_writer(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writer.migrate.TABLE_LOCK_SECONDS", 1)
    migrate(empty_database.owner)
    with (
        psycopg.connect(empty_database.reader) as reader,
        psycopg.connect(empty_database.writer, autocommit=True) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        reader.execute("SELECT count(*) FROM payments")  # a long one: its transaction stays open
        migrating = pool.submit(migrate, empty_database.owner, [*load(), ADD_COLUMN])
        _wait_until_waiting(empty_database)
        # It waits behind the migration, until that one lets go and tries again.
        writer.execute("SET statement_timeout = '20s'")
        insert(writer, Book().create())
        assert not migrating.done()
        reader.rollback()
        assert migrating.result(WAIT_SECONDS) == ["9999_add_column"]
        insert(writer, Book().create() | {"extra": "x"})


def test_a_migration_that_never_gets_its_table_says_so(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty_database.owner)
    monkeypatch.setattr("writer.migrate.TABLE_LOCK_SECONDS", 0.1)
    monkeypatch.setattr("writer.migrate.LOCK_WAIT_SECONDS", 1)
    with psycopg.connect(empty_database.reader) as reader:
        reader.execute("SELECT count(*) FROM payments")
        with pytest.raises(ServiceUnavailable, match="9999_add_column did not get its tables"):
            migrate(empty_database.owner, [*load(), ADD_COLUMN])
    check_schema(empty_database.writer)  # undone


def _wait_until_waiting(database: Database) -> None:
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'payments'::regclass"
    with psycopg.connect(database.superuser, autocommit=True) as session:
        wait_until(lambda: session.execute(waiting).fetchone(), "the migration waits")


def test_a_newer_schema_is_refused(empty_database: Database) -> None:
    migrate(empty_database.owner)
    newer = "INSERT INTO public.purser_migrations (name, checksum) VALUES ('9999_future', 'x')"
    _execute(empty_database, newer)
    for act in (lambda: migrate(empty_database.owner), lambda: check_schema(empty_database.writer)):
        with pytest.raises(SchemaVersionError, match=r"newer than this code: it has 9999_future"):
            act()


def test_an_edited_migration_is_refused(empty_database: Database) -> None:
    migrate(empty_database.owner)
    edited = [*load()[:-1], Migration.of(NAMES[-1], load()[-1].sql + "-- edited")]
    for act in (
        lambda: migrate(empty_database.owner, edited),
        lambda: check_schema(empty_database.writer, edited),
    ):
        with pytest.raises(SchemaVersionError, match=rf"{NAMES[-1]} was applied with other"):
            act()


def test_a_schema_that_is_behind_is_refused_and_migrated(empty_database: Database) -> None:
    migrate(empty_database.owner)
    later = Migration.of("0099_later", "CREATE TABLE public.later ()")
    with pytest.raises(SchemaVersionError, match=r"behind: 0099_later is missing"):
        check_schema(empty_database.writer, [*load(), later])
    assert migrate(empty_database.owner, [*load(), later]) == ["0099_later"]


def test_a_hole_in_the_history_is_refused(empty_database: Database) -> None:
    migrate(empty_database.owner)
    _execute(empty_database, f"DELETE FROM public.purser_migrations WHERE name = '{NAMES[1]}'")
    with pytest.raises(SchemaVersionError, match=rf"{NAMES[1]} is missing but a later one"):
        migrate(empty_database.owner)


def test_a_missing_schema_is_refused(empty_database: Database) -> None:
    with pytest.raises(SchemaVersionError, match="no Purser schema"):
        check_schema(empty_database.writer)


def test_only_the_owner_migrates(empty_database: Database) -> None:
    with pytest.raises(SchemaVersionError, match="connect as the owner"):
        migrate(empty_database.writer)


def test_functions_that_write_to_the_log_must_be_revoked_first(empty_database: Database) -> None:
    """They belong to the superuser. The migration refuses, and its hint helps."""
    with psycopg.connect(empty_database.superuser, autocommit=True) as superuser:
        superuser.execute("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC")
        superuser.execute(
            "GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean)"
            " TO purser_reader"
        )
        with pytest.raises(SchemaVersionError, match="0004_roles was refused") as caught:
            migrate(empty_database.owner)
        hint = re.search(r"As a superuser run (REVOKE .*) in this database", str(caught.value))
        assert hint is not None
        superuser.execute(hint[1].encode())
    assert migrate(empty_database.owner) == NAMES[3:]


def test_a_superuser_s_migration_revokes_them_itself(empty_database: Database) -> None:
    with psycopg.connect(empty_database.superuser, autocommit=True) as superuser:
        superuser.execute("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC")
    assert migrate(empty_database.superuser) == NAMES
    with (
        psycopg.connect(empty_database.reader) as reader,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        reader.execute("SELECT lo_create(0)")


def test_a_wrong_password_is_a_clear_error_without_the_password(database: Database) -> None:
    dsn = make_conninfo(database.writer, password="guessed-wrong")
    for act in (lambda: check_schema(dsn), lambda: migrate(dsn)):
        with pytest.raises(PurserError, match="password authentication failed") as caught:
            act()
        assert "guessed-wrong" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_server_that_is_down_is_a_clear_error() -> None:
    dsn = "postgresql://purser_writer@127.0.0.1:1/purser"
    for act in (lambda: check_schema(dsn), lambda: migrate(dsn)):
        with pytest.raises(ServiceUnavailable, match="refused"):
            act()


def test_the_guards_can_be_applied_on_top_of_themselves(empty_database: Database) -> None:
    """As they will be when a rule changes: the same file, generated again, next number."""
    migrate(empty_database.owner)
    (guards,) = [migration for migration in load() if migration.name.endswith("_guards")]
    again = Migration.of("0098_guards", guards.sql)
    with psycopg.connect(empty_database.writer) as session:
        insert(session, Book().create())
    assert migrate(empty_database.owner, [*load(), again]) == ["0098_guards"]
    with psycopg.connect(empty_database.writer) as session:
        insert(session, Book().create())
        with pytest.raises(psycopg.Error, match="seq"):
            session.execute(
                "INSERT INTO payments SELECT (jsonb_populate_record(payments,"
                " '{\"seq\": 9}')).* FROM payments LIMIT 1"
            )


def test_a_dsn_that_cannot_be_read_is_a_clear_error_without_its_text() -> None:
    for act in (lambda: check_schema("user=a password=b secret"), lambda: migrate("nonsense")):
        with pytest.raises(
            ConfigurationError, match="DSN is not a PostgreSQL connection string"
        ) as caught:
            act()
        assert "secret" not in str(caught.value)
