"""Migrate ClickHouse's schema to the version that this code expects, and check it.

ClickHouse has no transactions around DDL, so every statement can be repeated. Two concurrent
runners do the same work twice, and after a crash the next run repeats the migration that was not
recorded yet. `schema_migrations` records each applied migration with its checksum. Applied files
must not be edited.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

import schemas.clickhouse
from schemas.errors import SchemaVersionError
from schemas.postgres.migrations import Migration, load, still_to_apply
from sinks.client import AUTHENTICATION, PASSING, connect, one_line, translated
from sinks.settings import Address, ClickHouseSettings

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String,
    checksum String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
"""


def known_migrations() -> tuple[Migration, ...]:
    """Return the migrations of `schemas/clickhouse`, in order."""
    return load(Path(schemas.clickhouse.__path__[0]))


def migrate(clickhouse_url: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Create the database if necessary and apply missing migrations; returns their names in order.

    Raises:
        SchemaVersionError: the database is newer than this code, or an applied migration was
            edited, and nothing was changed; or a migration was refused, and may be half done.
        ServiceUnavailable, ConfigurationError, WriteRefused: see `sinks.client`.
    """
    known = known_migrations() if migrations is None else tuple(migrations)
    settings = ClickHouseSettings.load(clickhouse_url)
    address = settings.address()
    _create_database(settings, address)
    client = connect(settings)
    applied_now = []
    try:
        with translated(address):
            client.command(_CREATE_TABLE)
            for migration in _pending(_applied(client), known):
                _run(client, migration)
                # A crash before this record repeats the migration, which changes nothing.
                client.command(
                    "INSERT INTO schema_migrations (name, checksum)"
                    " SELECT {name:String}, {checksum:String}",
                    parameters={"name": migration.name, "checksum": migration.checksum},
                )
                applied_now.append(migration.name)
    finally:
        client.close()
    return applied_now


def check_schema(clickhouse_url: str, migrations: Sequence[Migration] | None = None) -> None:
    """Return if the schema is exactly the one this code expects; changes nothing.

    The user needs SELECT on `schema_migrations`, which the analysts' user lacks.

    Raises:
        SchemaVersionError: missing, behind, newer, or an applied migration was edited.
        ServiceUnavailable, ConfigurationError: see `sinks.client`.
    """
    known = known_migrations() if migrations is None else tuple(migrations)
    settings = ClickHouseSettings.load(clickhouse_url)
    client = connect(settings)
    try:
        with translated(settings.address()):
            pending = _pending(_applied(client), known)
    finally:
        client.close()
    if pending:
        raise SchemaVersionError(
            f"ClickHouse's schema is behind: {pending[0].name} is missing; run `purser migrate`"
        )


def statements(sql: str) -> list[str]:
    """Return the statements of a migration; each ends with a semicolon at the end of a line."""
    parts = (part.strip() for part in sql.split(";\n"))
    return [part for part in parts if _without_comments(part)]


def _run(client: Client, migration: Migration) -> None:
    """Run a migration's statements; raises SchemaVersionError if one is refused."""
    for statement in statements(migration.sql):
        try:
            client.command(statement)
        except DatabaseError as error:
            if error.code is None or error.code in PASSING | AUTHENTICATION:
                raise
            raise SchemaVersionError(
                f"ClickHouse migration {migration.name} was refused: {one_line(error)};"
                " correct the cause and run `purser migrate` again; every statement can be repeated"
            ) from error


def _without_comments(statement: str) -> str:
    lines = (line.split("--")[0].strip() for line in statement.splitlines())
    return "".join(lines).strip(";")


def _create_database(settings: ClickHouseSettings, address: Address) -> None:
    client = connect(settings, database="default")
    try:
        with translated(address):
            named = {"database": address.database}
            exists = client.command(
                "SELECT count() FROM system.databases WHERE name = {database:String}",
                parameters=named,
            )
            if not exists:
                client.command(
                    "CREATE DATABASE IF NOT EXISTS {database:Identifier}", parameters=named
                )
    finally:
        client.close()


def _applied(client: Client) -> Mapping[str, str]:
    """Return the applied migrations, name -> checksum, in order."""
    rows = client.query("SELECT name, checksum FROM schema_migrations FINAL ORDER BY name")
    return dict(rows.result_rows)


def _pending(applied: Mapping[str, str], known: Sequence[Migration]) -> tuple[Migration, ...]:
    """Return the migrations that are left to apply.

    Raises:
        SchemaVersionError: an applied migration is unknown here or was edited.
    """
    return still_to_apply(
        applied,
        known,
        server="ClickHouse",
        folder="schemas/clickhouse",
        or_else=", or take the new schema as docs/how-to/upgrade-views.md tells",
    )
