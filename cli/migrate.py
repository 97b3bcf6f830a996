"""`purser migrate`: migrates both databases and registers the connector, wherever they run."""

from typing import Annotated

import typer
from pydantic import HttpUrl

from connectors.debezium.settings import DebeziumSettings
from operations.bring_up import migrate_all, register_connector
from operations.console import say
from schemas.dsn import Dsn
from schemas.settings import Bootstrap, Secret, Settings
from sinks.analyst_user import ensure_reader


class MigrateSettings(Settings):
    """Addresses of the servers to migrate; DebeziumSettings say how Connect reaches PostgreSQL."""

    postgres_admin_dsn: Dsn
    clickhouse_url: Secret
    clickhouse_reader_url: Secret | None = None
    kafka_bootstrap: Bootstrap
    connect_url: HttpUrl


def migrate(
    connector: Annotated[
        bool, typer.Option(help="Also register the Debezium connector and wait for it.")
    ] = True,
) -> None:
    """Migrate PostgreSQL and ClickHouse to the schema of this version. Safe to repeat.

    Reads PURSER_POSTGRES_ADMIN_DSN, PURSER_CLICKHOUSE_URL, PURSER_KAFKA_BOOTSTRAP and
    PURSER_CONNECT_URL. PURSER_DEBEZIUM_DATABASE_HOST and _PORT give the address at which Connect
    reaches PostgreSQL. With PURSER_CLICKHOUSE_READER_URL it also creates the analysts' user in
    ClickHouse, which may only read the views. `purser up` does the same for the local stack.

    Example: PURSER_DEBEZIUM_DATABASE_HOST=postgres purser migrate
    """
    settings = MigrateSettings.load()
    migrate_all(
        settings.postgres_admin_dsn.get_secret_value(),
        settings.clickhouse_url.get_secret_value(),
        say,
    )
    if settings.clickhouse_reader_url is not None:
        ensure_reader(
            settings.clickhouse_url.get_secret_value(),
            settings.clickhouse_reader_url.get_secret_value(),
        )
        say("the analysts' user can read the views in ClickHouse")
    if connector:
        connect_url = str(settings.connect_url).rstrip("/")
        register_connector(settings.kafka_bootstrap, connect_url, DebeziumSettings.load(), say)
