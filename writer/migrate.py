"""Migrate PostgreSQL's schema to the version that this code expects, and check it.

Several runners may start at the same time: one migrates, the others wait and find nothing left to
do. A migration and its record run in one transaction, so a crash leaves only whole migrations, and
the next run continues after them. `public.purser_migrations` records each applied migration with
its checksum. Applied files must not be edited.
"""

import time
from collections.abc import Mapping, Sequence

import psycopg

from schemas.dsn import EXPECTED, is_readable, what_postgres_says
from schemas.errors import ConfigurationError, SchemaVersionError, ServiceUnavailable
from schemas.postgres.migrations import Migration, load, still_to_apply
from writer.postgres_errors import translate

LOCK_KEY = 0x70757273_00000001  # "purs": one lock per database, for all roles
LOCK_WAIT_SECONDS = 120
TABLE_LOCK_SECONDS = 2
"""How long one attempt waits for a table: every later query waits behind it."""
TABLE_LOCK_PAUSE_SECONDS = 1.0
CONNECT_SECONDS = 10
CLIENT_CHECK_SECONDS = 2

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS public.purser_migrations (
    name       text        PRIMARY KEY,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


def migrate(admin_dsn: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply missing migrations as the owner; returns the names applied now, in order.

    Raises:
        SchemaVersionError: the database is newer than this code, an applied migration was edited,
            or a migration was refused; the migrations applied before it stay.
        ConfigurationError: the DSN cannot be parsed, or the login is refused.
        ServiceUnavailable: no connection; or another runner held the lock, or a reader a table, for
            too long.
    """
    known = load() if migrations is None else tuple(migrations)
    applied_now = []
    try:
        with _connect(admin_dsn) as session:
            session.execute(f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'")
            # The server notices a runner killed in a long migration and releases its lock.
            session.execute(f"SET client_connection_check_interval = '{CLIENT_CHECK_SECONDS}s'")
            # A session lock, so it is released if the runner is killed.
            session.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
            session.execute(_CREATE_TABLE)
            for migration in _pending(_applied(session), known):
                _apply(session, migration)
                applied_now.append(migration.name)
    except psycopg.errors.LockNotAvailable as error:
        raise ServiceUnavailable(
            f"another migration held the lock for {LOCK_WAIT_SECONDS} s; wait for it or end it"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaVersionError(
            f"cannot migrate PostgreSQL: {what_postgres_says(error)}; connect as the owner,"
            " purser_owner"
        ) from error
    except psycopg.OperationalError as error:
        raise translate(error) from error
    return applied_now


def check_schema(dsn: str, migrations: Sequence[Migration] | None = None) -> None:
    """Return if the schema is exactly the one this code expects; every Purser role may check.

    Raises:
        SchemaVersionError: missing, behind, newer, or an applied migration was edited.
        ConfigurationError: the DSN cannot be parsed, or the login is refused.
        ServiceUnavailable: no connection.
    """
    known = load() if migrations is None else tuple(migrations)
    try:
        with _connect(dsn) as session:
            applied = _applied(session)
    except psycopg.errors.UndefinedTable:
        raise SchemaVersionError(
            "PostgreSQL has no Purser schema; create it with `purser migrate`"
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaVersionError(
            f"PostgreSQL does not let us read its schema version ({what_postgres_says(error)}); run"
            " `purser migrate`, and connect as purser_writer or purser_reader"
        ) from error
    except psycopg.OperationalError as error:
        raise translate(error) from error
    if pending := _pending(applied, known):
        raise SchemaVersionError(
            f"PostgreSQL's schema is behind: {pending[0].name} is missing; run `purser migrate`"
        )


def _connect(dsn: str) -> psycopg.Connection:
    if not is_readable(dsn):
        raise ConfigurationError(f"the PostgreSQL DSN {EXPECTED}")
    return psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS)


def _applied(session: psycopg.Connection) -> Mapping[str, str]:
    """Return the applied migrations, name -> checksum, in order."""
    rows = session.execute("SELECT name, checksum FROM public.purser_migrations ORDER BY name")
    return dict(rows)


def _pending(applied: Mapping[str, str], known: Sequence[Migration]) -> tuple[Migration, ...]:
    """Return the migrations that are left to apply.

    Raises:
        SchemaVersionError: an applied migration is unknown here, edited, or follows a missing one.
    """
    left = still_to_apply(applied, known, server="PostgreSQL", folder="schemas/postgres")
    if left and applied and left[0].name < max(applied):
        raise SchemaVersionError(
            f"migration {left[0].name} is missing but a later one was applied; restore"
            " public.purser_migrations from a backup"
        )
    return left


def _apply(session: psycopg.Connection, migration: Migration) -> None:
    """Run and record one migration, both or neither; retries while its tables are locked.

    A migration that waited for as long as a long reader holds a table would block every writer
    meanwhile.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return _apply_once(session, migration)
        except psycopg.errors.LockNotAvailable as error:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"migration {migration.name} did not get its tables within"
                    f" {LOCK_WAIT_SECONDS} s and was undone; end the sessions that lock them,"
                    " such as a `purser verify`, then migrate again"
                ) from error
        time.sleep(TABLE_LOCK_PAUSE_SECONDS)


def _apply_once(session: psycopg.Connection, migration: Migration) -> None:
    try:
        with session.transaction():
            session.execute(f"SET LOCAL lock_timeout = '{TABLE_LOCK_SECONDS}s'")
            session.execute(migration.sql.encode())
            session.execute(
                "INSERT INTO public.purser_migrations (name, checksum) VALUES (%s, %s)",
                [migration.name, migration.checksum],
            )
    except psycopg.OperationalError:
        raise  # a server error, not the migration's; the caller translates it
    except psycopg.Error as error:
        hint = f"; {error.diag.message_hint}" if error.diag.message_hint else ""
        raise SchemaVersionError(
            f"migration {migration.name} was refused and undone: {what_postgres_says(error)}{hint}"
        ) from error
