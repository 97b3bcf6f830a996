"""Bring PostgreSQL's schema to what this code knows, and check that it is there.

Several runners may start at once: one migrates, the others wait and find nothing left to do. Each
migration is one transaction together with the note that it was applied, so a crash leaves whole
migrations behind and the next run goes on. What was applied is remembered with its checksum in
`public.purser_migrations`; applied files are history and must not be edited.
"""

import time
from collections.abc import Mapping, Sequence

import psycopg
from psycopg.conninfo import conninfo_to_dict

from schemas.errors import ConfigurationError, SchemaVersionError, ServiceUnavailable
from schemas.postgres.migrations import Migration, load
from writer.postgres_errors import one_line, translate

LOCK_KEY = 0x70757273_00000001  # "purs": one lock per database, whatever the role
LOCK_WAIT_SECONDS = 120
TABLE_LOCK_SECONDS = 2
"""How long a migration waits for a table at a time: all who come after it wait behind it."""
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
    """Apply what is missing, as the owner; returns the names applied now, in order.

    Raises:
        SchemaVersionError: the database is newer than this code, an applied migration was edited,
            or a migration was refused; what was applied before it stays.
        ConfigurationError: the DSN cannot be read, or the login is refused.
        ServiceUnavailable: no connection, or another runner held the lock too long, or a reader
            a table.
    """
    known = load() if migrations is None else tuple(migrations)
    applied_now = []
    try:
        with _connect(admin_dsn) as session:
            session.execute(f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'")
            # A runner that is killed in a long migration is noticed, and its lock given up.
            session.execute(f"SET client_connection_check_interval = '{CLIENT_CHECK_SECONDS}s'")
            # Held by the session, so it goes with a runner that is killed.
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
            f"cannot migrate PostgreSQL: {one_line(error)}; connect as the owner, purser_owner"
        ) from error
    except psycopg.OperationalError as error:
        raise translate(error) from error
    return applied_now


def check_schema(dsn: str, migrations: Sequence[Migration] | None = None) -> None:
    """Return when the schema is exactly the one this code knows; any role of ours may ask.

    Raises:
        SchemaVersionError: missing, behind, newer, or an applied migration was edited.
        ConfigurationError: the DSN cannot be read, or the login is refused.
        ServiceUnavailable: no connection.
    """
    known = load() if migrations is None else tuple(migrations)
    try:
        with _connect(dsn) as session:
            applied = _applied(session)
    except psycopg.errors.UndefinedTable:
        raise SchemaVersionError(
            "PostgreSQL has no schema of ours; create it with `purser migrate`"
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaVersionError(
            f"PostgreSQL does not let us read its schema version ({one_line(error)}); run"
            " `purser migrate`, and connect as purser_writer or purser_reader"
        ) from error
    except psycopg.OperationalError as error:
        raise translate(error) from error
    if pending := _pending(applied, known):
        raise SchemaVersionError(
            f"PostgreSQL's schema is behind: {pending[0].name} is missing; run `purser migrate`"
        )


def _connect(dsn: str) -> psycopg.Connection:
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # Not `from error`: its text may hold a part of the password.
        raise ConfigurationError(
            "the PostgreSQL DSN cannot be read; write postgresql://user:password@host:port/database"
        ) from None
    return psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS)


def _applied(session: psycopg.Connection) -> Mapping[str, str]:
    """Name -> checksum of what was applied, in order."""
    rows = session.execute("SELECT name, checksum FROM public.purser_migrations ORDER BY name")
    return dict(rows)


def _pending(applied: Mapping[str, str], known: Sequence[Migration]) -> tuple[Migration, ...]:
    """What is left to apply.

    Raises:
        SchemaVersionError: an applied migration is unknown here, edited, or follows a missing one.
    """
    by_name = {migration.name: migration for migration in known}
    for name, checksum in applied.items():
        if name not in by_name:
            raise SchemaVersionError(
                f"PostgreSQL's schema is newer than this code: it has {name}; run the version of"
                " Purser that brought it, or a later one"
            )
        if by_name[name].checksum != checksum:
            raise SchemaVersionError(
                f"migration {name} was applied with other content than schemas/postgres has now;"
                " restore the file and put the change into a new migration"
            )
    left = tuple(migration for migration in known if migration.name not in applied)
    if left and applied and left[0].name < max(applied):
        raise SchemaVersionError(
            f"migration {left[0].name} is missing but a later one was applied; restore"
            " public.purser_migrations from a backup"
        )
    return left


def _apply(session: psycopg.Connection, migration: Migration) -> None:
    """Run one migration and note it, both or neither; again while its tables are not to be had.

    One that waited for a table as long as a long reader has it would stop every writer meanwhile.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return _apply_once(session, migration)
        except psycopg.errors.LockNotAvailable as error:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"migration {migration.name} did not get its tables within"
                    f" {LOCK_WAIT_SECONDS} s and was undone; end what has them for so long, such as"
                    " a `purser verify`, then migrate again"
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
        raise  # the server, not the migration: translated by our caller
    except psycopg.Error as error:
        hint = f"; {error.diag.message_hint}" if error.diag.message_hint else ""
        raise SchemaVersionError(
            f"migration {migration.name} was refused and undone: {one_line(error)}{hint}"
        ) from error
